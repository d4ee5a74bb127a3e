//! Writes the data of each kind of dispatch, as Discord's API documents it.

mod channel;
mod commerce;
pub(super) mod guild;
mod interaction;
pub(super) mod member;
mod message;
mod message_parts;
mod misc;
mod moderation;
mod reaction;
mod scheduled;
mod thread;
mod voice;

pub(super) use misc::ready;

use rand::RngExt as _;

use super::{
    event::Event,
    kind::EventKind,
    profile::{Guild, User},
    recent::Said,
    snowflake::{Mint, Random},
    write::Json,
};
use crate::model::UnixMillis;

/// What a payload is written from: a guild at a moment.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) guild: Guild,
    pub(super) now: UnixMillis,
    pub(super) bot: u64,
    pub(super) random: &'a mut Random,
    pub(super) mint: &'a mut Mint,
    /// The message that it is about; a new one leaves itself here.
    pub(super) said: Option<Said>,
}

impl Scene<'_> {
    /// A new id of this moment.
    fn new_id(&mut self) -> u64 {
        self.mint.id(self.now)
    }

    /// The id of something made a little while ago.
    fn recent_id(&mut self) -> u64 {
        let then = self.lately(RECENT);
        self.mint.id(then)
    }

    /// A random number.
    fn any(&mut self) -> u64 {
        self.random.random()
    }

    /// A random number below `end`, which must not be 0.
    fn below(&mut self, end: u32) -> u32 {
        self.random.random_range(0..end)
    }

    /// True once in `n` times.
    fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    /// Someone of the guild. A few people do most of what happens.
    fn someone(&mut self) -> User {
        let active = u64::from(self.guild.members).isqrt() * 2 + 1;
        let pick = self.any();
        self.guild.any_member(if pick >> 62 == 0 { pick } else { pick % active })
    }

    /// The place of a text channel, busy ones more often.
    fn text_channel(&mut self) -> u32 {
        let pick = self.any();
        self.guild.text_channel(pick)
    }

    /// The message that this is about; where none is remembered, one that might have been.
    fn said(&mut self) -> Said {
        if let Some(said) = self.said {
            return said;
        }
        let place = self.text_channel();
        Said {
            guild: self.guild.id,
            channel: self.guild.channel(place),
            id: self.recent_id(),
            author: self.someone(),
        }
    }

    /// Some moment of the last `millis` milliseconds.
    fn lately(&mut self, millis: u64) -> UnixMillis {
        let ago = self.random.random_range(0..millis);
        UnixMillis(self.now.0.saturating_sub(ago))
    }

    /// Some moment of the next `millis` milliseconds.
    fn soon(&mut self, millis: u64) -> UnixMillis {
        let away = self.random.random_range(0..millis);
        UnixMillis(self.now.0.saturating_add(away))
    }
}

/// How far "a little while" goes back: an hour.
const RECENT: u64 = 3_600_000;

/// Milliseconds of a day.
const DAY: u64 = 86_400_000;

/// Room that most payloads fit into.
const ROOM: usize = 2_048;

/// Writes an event of the kind.
pub(super) fn write(kind: EventKind, scene: &mut Scene<'_>) -> Event {
    let mut json = Json::with_room(ROOM);
    json.open();
    members(kind, &mut json, scene);
    json.close();
    Event::new(kind, json)
}

#[expect(clippy::too_many_lines, reason = "one arm for each kind, so that none can be forgotten")]
fn members(kind: EventKind, json: &mut Json, scene: &mut Scene<'_>) {
    use EventKind as Kind;
    match kind {
        Kind::MessageCreate => message::create(json, scene),
        Kind::MessageUpdate => message::update(json, scene),
        Kind::MessageDelete => message::delete(json, scene),
        Kind::MessageDeleteBulk => message::delete_bulk(json, scene),
        Kind::TypingStart => message::typing_start(json, scene),
        Kind::ReactionAdd => reaction::add(json, scene),
        Kind::ReactionRemove => reaction::remove(json, scene),
        Kind::ReactionRemoveAll => reaction::remove_all(json, scene),
        Kind::ReactionRemoveEmoji => reaction::remove_emoji(json, scene),
        Kind::MessagePollVoteAdd | Kind::MessagePollVoteRemove => reaction::vote(json, scene),
        Kind::VoiceStateUpdate => voice::state_update(json, scene),
        Kind::VoiceServerUpdate => voice::server_update(json, scene),
        Kind::MemberUpdate => member::update(json, scene),
        Kind::MemberAdd => member::add(json, scene),
        Kind::MemberRemove => member::remove(json, scene),
        Kind::MemberChunk => member::chunk_of_one(json, scene),
        Kind::PresenceUpdate => member::presence(json, scene),
        Kind::InteractionCreate => interaction::create(json, scene),
        Kind::ThreadCreate => thread::create(json, scene),
        Kind::ThreadUpdate => thread::update(json, scene),
        Kind::ThreadDelete => thread::delete(json, scene),
        Kind::ThreadListSync => thread::list_sync(json, scene),
        Kind::ThreadMemberUpdate => thread::member_update(json, scene),
        Kind::ThreadMembersUpdate => thread::members_update(json, scene),
        Kind::ChannelCreate | Kind::ChannelDelete => channel::come_and_go(json, scene),
        Kind::ChannelUpdate => channel::update(json, scene),
        Kind::ChannelPinsUpdate => channel::pins_update(json, scene),
        Kind::WebhooksUpdate => channel::webhooks_update(json, scene),
        Kind::RoleCreate => guild::role_create(json, scene),
        Kind::RoleUpdate => guild::role_update(json, scene),
        Kind::RoleDelete => guild::role_delete(json, scene),
        Kind::GuildCreate => guild::create(json, &scene.guild, scene.bot),
        Kind::GuildUpdate => guild::base(json, &scene.guild),
        Kind::GuildDelete => json.id("id", scene.guild.id.0),
        Kind::GuildEmojisUpdate => guild::emojis_update(json, scene),
        Kind::GuildStickersUpdate => guild::stickers_update(json, scene),
        Kind::GuildAuditLogEntryCreate => moderation::audit_log_entry(json, scene),
        Kind::BanAdd | Kind::BanRemove => moderation::ban(json, scene),
        Kind::AutoModerationRuleCreate
        | Kind::AutoModerationRuleUpdate
        | Kind::AutoModerationRuleDelete => moderation::rule(json, scene),
        Kind::AutoModerationActionExecution => moderation::execution(json, scene),
        Kind::GuildIntegrationsUpdate => json.id("guild_id", scene.guild.id.0),
        Kind::IntegrationCreate | Kind::IntegrationUpdate => misc::integration(json, scene),
        Kind::IntegrationDelete => misc::integration_delete(json, scene),
        Kind::InviteCreate => misc::invite_create(json, scene),
        Kind::InviteDelete => misc::invite_delete(json, scene),
        Kind::GuildScheduledEventCreate
        | Kind::GuildScheduledEventUpdate
        | Kind::GuildScheduledEventDelete => scheduled::event(json, scene),
        Kind::GuildScheduledEventUserAdd | Kind::GuildScheduledEventUserRemove => {
            scheduled::event_user(json, scene);
        }
        Kind::StageInstanceCreate | Kind::StageInstanceUpdate | Kind::StageInstanceDelete => {
            voice::stage_instance(json, scene);
        }
        Kind::SoundboardSoundCreate | Kind::SoundboardSoundUpdate => voice::sound(json, scene),
        Kind::SoundboardSoundDelete => voice::sound_delete(json, scene),
        Kind::SoundboardSoundsUpdate => voice::sounds_update(json, scene),
        Kind::VoiceChannelEffectSend => voice::effect(json, scene),
        Kind::CommandPermissionsUpdate => interaction::permissions(json, scene),
        Kind::RateLimited => misc::rate_limited(json, scene),
        Kind::Ready => misc::ready_of_one_guild(json, scene),
        Kind::Resumed => misc::resumed(json),
        Kind::UserUpdate => member::bot_user(json, scene.bot),
        Kind::EntitlementCreate => commerce::entitlement(json, scene, None),
        Kind::EntitlementUpdate => commerce::entitlement(json, scene, Some(false)),
        Kind::EntitlementDelete => commerce::entitlement(json, scene, Some(true)),
        Kind::SubscriptionCreate | Kind::SubscriptionUpdate => {
            commerce::subscription(json, scene, false);
        }
        Kind::SubscriptionDelete => commerce::subscription(json, scene, true),
        Kind::DirectMessageCreate => message::create_direct(json, scene),
        Kind::DirectMessageUpdate => message::update_direct(json, scene),
        Kind::DirectMessageDelete => message::delete_direct(json, scene),
        Kind::DirectTypingStart => message::typing_start_direct(json, scene),
        Kind::DirectReactionAdd => reaction::add_direct(json, scene),
        Kind::DirectReactionRemove => reaction::remove_direct(json, scene),
        Kind::DirectPollVoteAdd | Kind::DirectPollVoteRemove => reaction::vote_direct(json, scene),
        Kind::DirectInteractionCreate => interaction::create_direct(json, scene),
    }
}
