//! One shard's part of the world.

use rand::{RngExt as _, SeedableRng as _};

use super::{
    WorldOptions,
    event::Event,
    kind::EventKind,
    members::{self, MembersQuery},
    mix::Mix,
    payload::{self, Scene, guild},
    population::{Population, draw_guild},
    profile::{Guild, bot_id},
    recent::{Recent, Said},
    snowflake::{Mint, Random, scramble},
    write::Json,
};
use crate::model::{GuildId, ShardId, ShardTotal, UnixMillis};

/// One shard's guilds and what happens in them: deterministic from the options and the shard.
#[derive(Debug)]
pub struct ShardWorld {
    shard: ShardId,
    total: ShardTotal,
    bot: u64,
    population: Population,
    random: Random,
    mint: Mint,
    recent: Recent,
    mix: Mix,
}

impl ShardWorld {
    /// Draws the shard's guilds: proportional to their number, whatever the bot's is.
    #[must_use]
    pub fn new(options: &WorldOptions, shard: ShardId) -> Self {
        let seed = scramble(options.seed ^ scramble(0x6576_656e_7473 + u64::from(shard.0)));
        Self {
            shard,
            total: options.total,
            bot: bot_id(options.seed).0,
            population: Population::draw(options, shard),
            random: Random::seed_from_u64(seed),
            mint: Mint::new(shard),
            recent: Recent::default(),
            mix: Mix::new(shard == ShardId(0), u64::MAX),
        }
    }

    /// The guilds that the bot is in, in ascending order; those in an outage are among them.
    pub fn guild_ids(&self) -> impl Iterator<Item = GuildId> {
        self.population.guilds().iter().map(|guild| guild.id)
    }

    /// How many guilds the bot is in, those in an outage included.
    #[must_use]
    pub fn guild_count(&self) -> usize {
        self.population.guilds().len()
    }

    /// How many of them are in an outage.
    #[must_use]
    pub const fn unavailable_count(&self) -> usize {
        self.population.unavailable()
    }

    /// The members of all guilds, those in an outage included.
    #[must_use]
    pub const fn member_count(&self) -> u64 {
        self.population.members()
    }

    /// GUILD_CREATE of the `nth` guild in the order of [`Self::guild_ids`], which joins and leaves shift. A guild in an
    /// outage is sent as unavailable.
    ///
    /// # Panics
    ///
    /// Where there are fewer guilds.
    #[must_use]
    pub fn guild_create(&self, nth: usize) -> Event {
        self.render_guild(&self.population.guilds()[nth])
    }

    /// The guilds that the bot is in, as they are now.
    pub fn guilds(&self) -> impl Iterator<Item = Guild> {
        self.population.guilds().iter().copied()
    }

    /// GUILD_CREATE of a guild as it was when it was taken from [`Self::guilds`].
    #[must_use]
    pub fn guild_create_of(&self, guild: &Guild) -> Event {
        self.render_guild(guild)
    }

    /// What happens next, of everything.
    pub fn next_event(&mut self, now: UnixMillis) -> Event {
        self.next_event_for(u64::MAX, now)
    }

    /// What happens next that a session with one of these intents gets to see.
    ///
    /// Where every guild is in an outage, one comes back. A shard without guilds has little to tell: its bot's user
    /// changes.
    pub fn next_event_for(&mut self, intents: u64, now: UnixMillis) -> Event {
        if self.mix.wanted() != intents {
            self.mix = Mix::new(self.shard == ShardId(0), intents);
        }
        let kind = self.mix.draw(&mut self.random);
        let up = self.guild_count() - self.unavailable_count();
        if up > 0 || kind.is_direct() {
            return self.event_of(kind, now);
        }
        if self.unavailable_count() > 0 && EventKind::GuildCreate.reaches(intents) {
            return self.guild_comes();
        }
        self.event_of(EventKind::UserUpdate, now)
    }

    /// Lets something of the kind happen. Joins, leaves and outages change the population, and so do members who come
    /// and go.
    ///
    /// On a shard without a guild that is up, it happens in one that the bot is not in.
    pub fn event_of(&mut self, kind: EventKind, now: UnixMillis) -> Event {
        if kind == EventKind::GuildCreate {
            return self.guild_comes();
        }
        if kind == EventKind::GuildDelete {
            return self.guild_goes();
        }
        let said = if kind.is_about_message() { self.recent.any(&mut self.random) } else { None };
        let said_in = said.and_then(|said| self.population.find(said.guild));
        let place = said_in
            .filter(|place| !self.population.guilds()[*place].unavailable)
            .or_else(|| self.population.busy(&mut self.random));
        let guild = match place {
            Some(place) => self.population.guilds()[place],
            None => draw_guild(&mut self.random, self.shard, self.total),
        };
        // The last member, the owner, stays.
        let kind = match kind {
            EventKind::MemberRemove if guild.members <= 1 => EventKind::MemberAdd,
            kind => kind,
        };
        let mut scene = Scene {
            guild,
            now,
            bot: self.bot,
            random: &mut self.random,
            mint: &mut self.mint,
            said: said.filter(|said| said.guild == guild.id),
        };
        let event = payload::write(kind, &mut scene);
        let said = scene.said;
        self.take_note(kind, place, said);
        event
    }

    /// What an event changes in the world.
    fn take_note(&mut self, kind: EventKind, place: Option<usize>, said: Option<Said>) {
        match (kind, said, place) {
            (EventKind::MessageCreate, Some(said), _) => self.recent.remember(said),
            (EventKind::MessageDelete | EventKind::MessageDeleteBulk, Some(said), _) => {
                self.recent.forget(said.id);
            }
            (EventKind::MemberAdd, _, Some(place)) => self.population.members_change(place, 1),
            (EventKind::MemberRemove, _, Some(place)) => self.population.members_change(place, -1),
            _ => {}
        }
    }

    /// READY of a new session: all guilds, each still unavailable.
    #[must_use]
    pub fn ready(&self, session_id: &str, resume_gateway_url: &str) -> Event {
        let mut json = Json::with_room(GUILD_ROOM);
        json.open();
        let session = (session_id, resume_gateway_url);
        payload::ready(&mut json, self.bot, (self.shard, self.total), self.guild_ids(), session);
        json.close();
        Event::new(EventKind::Ready, json)
    }

    /// One chunk of the answer to REQUEST_GUILD_MEMBERS, from 0; `None` past the last, and for a guild that is not the
    /// shard's. Chunks are written one at a time, since a large guild has a thousand.
    #[must_use]
    pub fn members_chunk(&self, query: &MembersQuery, index: u32) -> Option<Event> {
        let guild = self.population.guilds()[self.population.find(query.guild)?];
        let chunk = members::chunk(&guild, query, index)?;
        let mut json = Json::with_room(GUILD_ROOM);
        json.open();
        payload::member::chunk(&mut json, &guild, &chunk, index);
        if let Some(nonce) = &query.nonce {
            json.string("nonce", nonce);
        }
        json.close();
        Some(Event::new(EventKind::MemberChunk, json))
    }

    /// An outage ends; where there is none, the bot joins a guild.
    fn guild_comes(&mut self) -> Event {
        let place = if let Some(place) = self.population.in_outage() {
            self.population.set_unavailable(place, false);
            place
        } else {
            let guild = draw_guild(&mut self.random, self.shard, self.total);
            self.population.join(guild);
            self.population.find(guild.id).expect("it was joined in the line above")
        };
        self.guild_create(place)
    }

    /// The bot is removed from a guild, or the guild has an outage. Half and half, so that the number of guilds stays
    /// about the same: comings end the outages first.
    fn guild_goes(&mut self) -> Event {
        let mut json = Json::default();
        json.open();
        if let Some(place) = self.population.busy(&mut self.random) {
            json.id("id", self.population.guilds()[place].id.0);
            if self.random.random() {
                json.flag("unavailable", true);
                self.population.set_unavailable(place, true);
            } else {
                self.population.leave(place);
            }
        } else {
            json.id("id", draw_guild(&mut self.random, self.shard, self.total).id.0);
        }
        json.close();
        Event::new(EventKind::GuildDelete, json)
    }

    fn render_guild(&self, guild: &Guild) -> Event {
        let mut json = Json::with_room(GUILD_ROOM);
        json.open();
        if guild.unavailable {
            json.id("id", guild.id.0);
            json.flag("unavailable", true);
        } else {
            guild::create(&mut json, guild, self.bot);
        }
        json.close();
        Event::new(EventKind::GuildCreate, json)
    }
}

/// Room for a middling guild's GUILD_CREATE.
const GUILD_ROOM: usize = 16_384;
