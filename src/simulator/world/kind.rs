//! Every kind of dispatch: Discord's name, how often it happens, which intents carry it.

use twilight_model::gateway::Intents;

/// The kinds, as a table: variant, name, weight, intents.
macro_rules! kinds {
    ($($variant:ident $name:literal $weight:literal [$($intent:ident)*];)*) => {
        /// A kind of dispatch. Those that come from guilds and from direct messages alike are two kinds of one name,
        /// since different intents carry them.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum EventKind {
            $(#[doc = concat!("`", $name, "`.")] $variant,)*
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Discord's name of it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Its share in the mix. 0 is never drawn: it happens only in answer to something.
            #[must_use]
            pub const fn weight(self) -> u32 {
                match self { $(Self::$variant => $weight,)* }
            }

            /// The intents of which any one carries it, as bits; 0 where it needs none.
            #[must_use]
            pub const fn intents(self) -> u64 {
                match self { $(Self::$variant => 0 $(| Intents::$intent.bits())*,)* }
            }
        }
    };
}

// Weights are parts of about 100,000 dispatches of a large bot without presences. Messages dominate, then come
// typing, edits, voice, members and reactions; the rest is a thin tail.
kinds! {
    MessageCreate "MESSAGE_CREATE" 51_000 [GUILD_MESSAGES];
    MessageUpdate "MESSAGE_UPDATE" 9_000 [GUILD_MESSAGES];
    MessageDelete "MESSAGE_DELETE" 2_300 [GUILD_MESSAGES];
    MessageDeleteBulk "MESSAGE_DELETE_BULK" 25 [GUILD_MESSAGES];
    TypingStart "TYPING_START" 11_000 [GUILD_MESSAGE_TYPING];
    ReactionAdd "MESSAGE_REACTION_ADD" 5_600 [GUILD_MESSAGE_REACTIONS];
    ReactionRemove "MESSAGE_REACTION_REMOVE" 700 [GUILD_MESSAGE_REACTIONS];
    ReactionRemoveAll "MESSAGE_REACTION_REMOVE_ALL" 15 [GUILD_MESSAGE_REACTIONS];
    ReactionRemoveEmoji "MESSAGE_REACTION_REMOVE_EMOJI" 10 [GUILD_MESSAGE_REACTIONS];
    MessagePollVoteAdd "MESSAGE_POLL_VOTE_ADD" 120 [GUILD_MESSAGE_POLLS];
    MessagePollVoteRemove "MESSAGE_POLL_VOTE_REMOVE" 20 [GUILD_MESSAGE_POLLS];
    VoiceStateUpdate "VOICE_STATE_UPDATE" 6_800 [GUILD_VOICE_STATES];
    VoiceServerUpdate "VOICE_SERVER_UPDATE" 30 [];
    MemberUpdate "GUILD_MEMBER_UPDATE" 4_600 [GUILD_MEMBERS];
    MemberAdd "GUILD_MEMBER_ADD" 1_400 [GUILD_MEMBERS];
    MemberRemove "GUILD_MEMBER_REMOVE" 1_300 [GUILD_MEMBERS];
    MemberChunk "GUILD_MEMBERS_CHUNK" 0 [];
    PresenceUpdate "PRESENCE_UPDATE" 400 [GUILD_PRESENCES];
    InteractionCreate "INTERACTION_CREATE" 2_200 [];
    ThreadCreate "THREAD_CREATE" 260 [GUILDS];
    ThreadUpdate "THREAD_UPDATE" 420 [GUILDS];
    ThreadDelete "THREAD_DELETE" 60 [GUILDS];
    ThreadListSync "THREAD_LIST_SYNC" 20 [GUILDS];
    ThreadMemberUpdate "THREAD_MEMBER_UPDATE" 30 [GUILDS];
    ThreadMembersUpdate "THREAD_MEMBERS_UPDATE" 320 [GUILDS GUILD_MEMBERS];
    ChannelCreate "CHANNEL_CREATE" 240 [GUILDS];
    ChannelUpdate "CHANNEL_UPDATE" 620 [GUILDS];
    ChannelDelete "CHANNEL_DELETE" 230 [GUILDS];
    ChannelPinsUpdate "CHANNEL_PINS_UPDATE" 60 [GUILDS];
    WebhooksUpdate "WEBHOOKS_UPDATE" 90 [GUILD_WEBHOOKS];
    RoleCreate "GUILD_ROLE_CREATE" 40 [GUILDS];
    RoleUpdate "GUILD_ROLE_UPDATE" 180 [GUILDS];
    RoleDelete "GUILD_ROLE_DELETE" 35 [GUILDS];
    GuildCreate "GUILD_CREATE" 12 [GUILDS];
    GuildUpdate "GUILD_UPDATE" 110 [GUILDS];
    GuildDelete "GUILD_DELETE" 12 [GUILDS];
    GuildEmojisUpdate "GUILD_EMOJIS_UPDATE" 60 [GUILD_EMOJIS_AND_STICKERS];
    GuildStickersUpdate "GUILD_STICKERS_UPDATE" 12 [GUILD_EMOJIS_AND_STICKERS];
    GuildAuditLogEntryCreate "GUILD_AUDIT_LOG_ENTRY_CREATE" 620 [GUILD_MODERATION];
    BanAdd "GUILD_BAN_ADD" 70 [GUILD_MODERATION];
    BanRemove "GUILD_BAN_REMOVE" 18 [GUILD_MODERATION];
    AutoModerationRuleCreate "AUTO_MODERATION_RULE_CREATE" 4 [AUTO_MODERATION_CONFIGURATION];
    AutoModerationRuleUpdate "AUTO_MODERATION_RULE_UPDATE" 8 [AUTO_MODERATION_CONFIGURATION];
    AutoModerationRuleDelete "AUTO_MODERATION_RULE_DELETE" 2 [AUTO_MODERATION_CONFIGURATION];
    AutoModerationActionExecution "AUTO_MODERATION_ACTION_EXECUTION" 160 [AUTO_MODERATION_EXECUTION];
    GuildIntegrationsUpdate "GUILD_INTEGRATIONS_UPDATE" 40 [GUILD_INTEGRATIONS];
    IntegrationCreate "INTEGRATION_CREATE" 22 [GUILD_INTEGRATIONS];
    IntegrationUpdate "INTEGRATION_UPDATE" 25 [GUILD_INTEGRATIONS];
    IntegrationDelete "INTEGRATION_DELETE" 15 [GUILD_INTEGRATIONS];
    InviteCreate "INVITE_CREATE" 260 [GUILD_INVITES];
    InviteDelete "INVITE_DELETE" 90 [GUILD_INVITES];
    GuildScheduledEventCreate "GUILD_SCHEDULED_EVENT_CREATE" 10 [GUILD_SCHEDULED_EVENTS];
    GuildScheduledEventUpdate "GUILD_SCHEDULED_EVENT_UPDATE" 16 [GUILD_SCHEDULED_EVENTS];
    GuildScheduledEventDelete "GUILD_SCHEDULED_EVENT_DELETE" 4 [GUILD_SCHEDULED_EVENTS];
    GuildScheduledEventUserAdd "GUILD_SCHEDULED_EVENT_USER_ADD" 60 [GUILD_SCHEDULED_EVENTS];
    GuildScheduledEventUserRemove "GUILD_SCHEDULED_EVENT_USER_REMOVE" 12 [GUILD_SCHEDULED_EVENTS];
    StageInstanceCreate "STAGE_INSTANCE_CREATE" 4 [GUILDS];
    StageInstanceUpdate "STAGE_INSTANCE_UPDATE" 2 [GUILDS];
    StageInstanceDelete "STAGE_INSTANCE_DELETE" 4 [GUILDS];
    SoundboardSoundCreate "GUILD_SOUNDBOARD_SOUND_CREATE" 4 [GUILD_EMOJIS_AND_STICKERS];
    SoundboardSoundUpdate "GUILD_SOUNDBOARD_SOUND_UPDATE" 2 [GUILD_EMOJIS_AND_STICKERS];
    SoundboardSoundDelete "GUILD_SOUNDBOARD_SOUND_DELETE" 2 [GUILD_EMOJIS_AND_STICKERS];
    SoundboardSoundsUpdate "GUILD_SOUNDBOARD_SOUNDS_UPDATE" 2 [GUILD_EMOJIS_AND_STICKERS];
    VoiceChannelEffectSend "VOICE_CHANNEL_EFFECT_SEND" 40 [GUILD_VOICE_STATES];
    CommandPermissionsUpdate "APPLICATION_COMMAND_PERMISSIONS_UPDATE" 4 [];
    RateLimited "RATE_LIMITED" 0 [];
    Ready "READY" 0 [];
    Resumed "RESUMED" 0 [];
    UserUpdate "USER_UPDATE" 1 [];
    EntitlementCreate "ENTITLEMENT_CREATE" 12 [];
    EntitlementUpdate "ENTITLEMENT_UPDATE" 8 [];
    EntitlementDelete "ENTITLEMENT_DELETE" 2 [];
    SubscriptionCreate "SUBSCRIPTION_CREATE" 8 [];
    SubscriptionUpdate "SUBSCRIPTION_UPDATE" 8 [];
    SubscriptionDelete "SUBSCRIPTION_DELETE" 1 [];
    DirectMessageCreate "MESSAGE_CREATE" 700 [DIRECT_MESSAGES];
    DirectMessageUpdate "MESSAGE_UPDATE" 90 [DIRECT_MESSAGES];
    DirectMessageDelete "MESSAGE_DELETE" 30 [DIRECT_MESSAGES];
    DirectTypingStart "TYPING_START" 250 [DIRECT_MESSAGE_TYPING];
    DirectReactionAdd "MESSAGE_REACTION_ADD" 40 [DIRECT_MESSAGE_REACTIONS];
    DirectReactionRemove "MESSAGE_REACTION_REMOVE" 8 [DIRECT_MESSAGE_REACTIONS];
    DirectPollVoteAdd "MESSAGE_POLL_VOTE_ADD" 2 [DIRECT_MESSAGE_POLLS];
    DirectPollVoteRemove "MESSAGE_POLL_VOTE_REMOVE" 1 [DIRECT_MESSAGE_POLLS];
    DirectInteractionCreate "INTERACTION_CREATE" 60 [];
}

impl EventKind {
    /// Whether a session with these intents gets to see it.
    #[must_use]
    pub const fn reaches(self, intents: u64) -> bool {
        self.intents() == 0 || self.intents() & intents != 0
    }

    /// Whether it belongs to no guild and so goes to shard 0 alone (Gateway docs, "Sharding").
    #[must_use]
    pub const fn is_direct(self) -> bool {
        // The kinds without a guild stand at the end of the table.
        self as u32 >= Self::EntitlementCreate as u32
    }

    /// Whether it is about a message that was sent before.
    pub(super) const fn is_about_message(self) -> bool {
        self as u32 > Self::MessageCreate as u32
            && self as u32 <= Self::MessagePollVoteRemove as u32
            && self as u32 != Self::TypingStart as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presences_and_members_need_their_privileged_intents() {
        let privileged = Intents::GUILD_PRESENCES | Intents::GUILD_MEMBERS;
        let unprivileged = (Intents::all() - privileged).bits();

        for kind in [EventKind::PresenceUpdate, EventKind::MemberAdd, EventKind::MemberUpdate] {
            assert!(!kind.reaches(unprivileged) && kind.reaches(privileged.bits()));
        }
    }

    #[test]
    fn the_table_is_ordered_as_its_predicates_assume() {
        let direct: Vec<&str> = EventKind::ALL
            .iter()
            .filter(|kind| kind.is_direct())
            .map(|kind| kind.name().split('_').next().unwrap_or_default())
            .collect();
        let about: Vec<EventKind> =
            EventKind::ALL.iter().copied().filter(|kind| kind.is_about_message()).collect();

        assert_eq!(
            &direct[..6],
            ["ENTITLEMENT"; 3].iter().chain(&["SUBSCRIPTION"; 3]).copied().collect::<Vec<_>>()
        );
        assert_eq!(direct.len(), 15);
        assert_eq!(about.len(), 9);
        assert!(about.iter().all(|kind| kind.name().starts_with("MESSAGE_") && !kind.is_direct()));
    }

    #[test]
    fn the_weights_are_parts_of_a_hundred_thousand() {
        let sum: u32 = EventKind::ALL.iter().map(|kind| kind.weight()).sum();

        assert!((95_000..105_000).contains(&sum), "{sum}");
    }
}
