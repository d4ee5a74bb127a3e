//! What a guild and a user look like. Nothing is stored: everything follows from their ids.

use super::snowflake::{WORLD_END, scramble, snowflake_at, time_of};
use crate::model::{ApplicationId, GuildId, UnixMillis};

/// One guild of the population.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Guild {
    /// Its id, from which everything else follows.
    pub id: GuildId,
    /// How many members it has.
    pub members: u32,
    /// In an outage.
    pub unavailable: bool,
}

/// What is derived from an id; each has numbers of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Facet {
    Name = 1,
    Icon,
    Channel,
    Role,
    Emoji,
    Sticker,
    Thread,
    Member,
    Rule,
    Scheduled,
    Integration,
    Sound,
}

/// Discord's numbers of the kinds of channels.
pub(super) mod channel_type {
    pub(in super::super) const TEXT: u8 = 0;
    pub(in super::super) const VOICE: u8 = 2;
    pub(in super::super) const CATEGORY: u8 = 4;
    pub(in super::super) const ANNOUNCEMENT: u8 = 5;
    pub(in super::super) const STAGE: u8 = 13;
    pub(in super::super) const FORUM: u8 = 15;
}

/// Channels stand in groups of this many: a category, text channels, and a voice channel at the end.
const CHANNEL_GROUP: u32 = 8;

/// People who use the simulated Discord: a power of two, so that an odd stride visits each once.
const USERS: u32 = 1 << 24;

impl Guild {
    /// The number of a facet's `n`th thing.
    pub(super) const fn facet(&self, facet: Facet, n: u32) -> u64 {
        scramble(self.id.0 ^ scramble((facet as u64) << 32 | n as u64))
    }

    /// The id of a facet's `n`th thing, made at some time in the guild's life.
    pub(super) const fn facet_id(&self, facet: Facet, n: u32) -> u64 {
        let (born, number) = (self.born(), self.facet(facet, n));
        let life = WORLD_END.0.saturating_sub(born.0) + 1;
        snowflake_at(UnixMillis(born.0 + (number >> 22) % life), number)
    }

    /// When it was created.
    pub(super) const fn born(&self) -> UnixMillis {
        time_of(self.id.0)
    }

    /// When the bot joined it.
    pub(super) const fn joined(&self) -> UnixMillis {
        time_of(self.facet_id(Facet::Member, u32::MAX))
    }

    /// How many of something a guild of this size has: `few` in the smallest, `many` in one of a million members, and
    /// slowly more in between.
    fn scaled(&self, few: u32, many: u32) -> u32 {
        let decades = f64::from(self.members).log10() / 6.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and `many`"
        )]
        let more = (f64::from(many - few) * decades.powi(2)) as u32;
        few + more
    }

    /// Channels, categories among them.
    pub(super) fn channels(&self) -> u32 {
        self.scaled(8, 80)
    }

    /// Roles, `@everyone` among them.
    pub(super) fn roles(&self) -> u32 {
        self.scaled(4, 60)
    }

    pub(super) fn emojis(&self) -> u32 {
        self.scaled(0, 80)
    }

    /// Threads that are open.
    pub(super) fn threads(&self) -> u32 {
        self.scaled(0, 20)
    }

    pub(super) fn stickers(&self) -> u32 {
        self.scaled(0, 12)
    }

    pub(super) fn sounds(&self) -> u32 {
        self.scaled(0, 8)
    }

    pub(super) fn scheduled_events(&self) -> u32 {
        self.scaled(0, 4)
    }

    /// Members who are in voice channels when a session begins: the first so many.
    pub(super) fn in_voice(&self) -> u32 {
        self.scaled(0, 30).min(self.members)
    }

    pub(super) const fn channel_type(n: u32) -> u8 {
        match n % CHANNEL_GROUP {
            0 => channel_type::CATEGORY,
            5 if n == 5 => channel_type::ANNOUNCEMENT,
            6 if n % 16 == 14 => channel_type::FORUM,
            6 => channel_type::VOICE,
            7 if n % 32 == 31 => channel_type::STAGE,
            _ => channel_type::TEXT,
        }
    }

    /// The `n`th channel's id. The first two were made with the guild.
    pub(super) const fn channel(&self, n: u32) -> u64 {
        if n < 2 { self.id.0 + 1 + n as u64 } else { self.facet_id(Facet::Channel, n) }
    }

    /// The category that the `n`th channel stands in.
    pub(super) const fn category(n: u32) -> u32 {
        n - n % CHANNEL_GROUP
    }

    /// The place of a text channel; low numbers of `pick` are busy channels.
    pub(super) fn text_channel(&self, pick: u64) -> u32 {
        // A product of two uniform draws leans towards the first groups, as traffic does towards few channels.
        let groups = u64::from(self.channels() / CHANNEL_GROUP).max(1);
        let group = ((pick & 0xffff) * ((pick >> 16) & 0xffff) * groups) >> 32;
        let within = 1 + (pick >> 32) % 4;
        u32::try_from(group).unwrap_or(0) * CHANNEL_GROUP + u32::try_from(within).unwrap_or(1)
    }

    /// The place of a voice channel.
    pub(super) fn voice_channel(&self, pick: u64) -> u32 {
        let groups = u64::from((self.channels() / CHANNEL_GROUP).div_ceil(2)).max(1);
        u32::try_from(pick % groups).unwrap_or(0) * 2 * CHANNEL_GROUP + 6
    }

    /// The `n`th role's id; the 0th is `@everyone`, whose id is the guild's.
    pub(super) const fn role(&self, n: u32) -> u64 {
        if n == 0 { self.id.0 } else { self.facet_id(Facet::Role, n) }
    }

    /// The `n`th member; the 0th owns the guild. No two members are the same user.
    pub(super) const fn member(&self, n: u32) -> User {
        let start = self.facet(Facet::Member, 0);
        let stride = (start >> 32) as u32 | 1;
        User { number: (start as u32).wrapping_add(n.wrapping_mul(stride)) % USERS }
    }

    /// The member whose user id this is: the way back from [`Self::member`].
    pub(super) fn find_member(&self, id: u64) -> Option<User> {
        // The number's lower bits stand in the id; the few above them are tried.
        let low = id as u32 & LOW;
        let user = (0..=USERS / (LOW + 1))
            .map(|high| User { number: high * (LOW + 1) + low })
            .find(|user| user.number < USERS && user.id() == id)?;
        let start = self.facet(Facet::Member, 0);
        let stride = (start >> 32) as u32 | 1;
        let n = user.number.wrapping_sub(start as u32).wrapping_mul(inverse(stride)) % USERS;
        (n < self.members).then_some(user)
    }

    /// A member, by any number.
    pub(super) const fn any_member(&self, pick: u64) -> User {
        self.member((pick % if self.members == 0 { 1 } else { self.members as u64 }) as u32)
    }
}

/// The bits of a user's number that fit below the time of a snowflake.
const LOW: u32 = (1 << 22) - 1;

/// The number by which an odd one must be multiplied to give 1 (modulo 2³²; each step of Newton's doubles the bits).
const fn inverse(odd: u32) -> u32 {
    let mut inverse = odd;
    let mut step = 0;
    while step < 5 {
        inverse = inverse.wrapping_mul(2_u32.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

/// Someone on Discord.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct User {
    number: u32,
}

impl User {
    /// Any user.
    pub(super) const fn any(pick: u64) -> Self {
        Self { number: (pick % USERS as u64) as u32 }
    }

    /// The user's id. The bits below the time are the number's, and so tell apart whom the time does not.
    pub(super) const fn id(self) -> u64 {
        let number = self.trait_of(0);
        let life = WORLD_END.0 - USER_FIRST;
        snowflake_at(UnixMillis(USER_FIRST + (number >> 20) % life), self.number as u64)
    }

    /// A well mixed number for one of the user's traits.
    pub(super) const fn trait_of(self, which: u32) -> u64 {
        scramble((which as u64) << 32 | self.number as u64)
    }
}

/// Before this moment no user registered.
const USER_FIRST: u64 = 1_431_475_200_000;

/// The bot itself: its user id, which is its application's id too. It follows from the world's seed, so that every
/// shard and the HTTP side name the same.
///
/// ```
/// use apolo::simulator::world::bot_id;
///
/// assert_eq!(bot_id(7), bot_id(7));
/// assert_ne!(bot_id(7), bot_id(8));
/// ```
#[must_use]
pub const fn bot_id(seed: u64) -> ApplicationId {
    let number = scramble(seed ^ 0x626f_745f_6964);
    ApplicationId(snowflake_at(UnixMillis(BOT_FIRST + (number >> 22) % BOT_YEARS), number))
}

/// Bots of today's kind were created between the start of 2019 …
const BOT_FIRST: u64 = 1_546_300_800_000;

/// … and five years later.
const BOT_YEARS: u64 = 5 * 31_556_952_000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn guild(members: u32) -> Guild {
        Guild { id: GuildId(613_425_648_685_547_541), members, unavailable: false }
    }

    #[test]
    fn no_two_members_are_the_same_user() {
        let guild = guild(200_000);

        let ids: BTreeSet<u64> = (0..guild.members).map(|n| guild.member(n).id()).collect();

        assert_eq!(ids.len(), 200_000);
    }

    #[test]
    fn members_are_found_by_their_user_id_and_strangers_are_not() {
        let guild = guild(50_000);

        for n in (0..50_000).step_by(97) {
            let user = guild.member(n);
            assert_eq!(guild.find_member(user.id()), Some(user));
        }
        assert_eq!(guild.find_member(guild.member(50_000).id()), None);
        assert_eq!(guild.find_member(1), None);
    }

    #[test]
    fn what_happens_in_text_channels_happens_in_channels_that_exist() {
        for members in [2, 60, 5_000, 1_000_000] {
            let guild = guild(members);
            for pick in (0..2_000).map(scramble) {
                let text = guild.text_channel(pick);
                let voice = guild.voice_channel(pick);

                assert!(text < guild.channels() && voice < guild.channels());
                assert!(matches!(
                    Guild::channel_type(text),
                    channel_type::TEXT | channel_type::ANNOUNCEMENT
                ));
                assert_eq!(Guild::channel_type(voice), channel_type::VOICE);
            }
        }
    }

    #[test]
    fn nothing_is_older_than_its_guild() {
        let guild = guild(60);

        for n in 0..100 {
            assert!(time_of(guild.channel(n)) >= guild.born());
            assert!(time_of(guild.role(n)) >= guild.born());
        }
    }
}
