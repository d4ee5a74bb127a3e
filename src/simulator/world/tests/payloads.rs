//! Every kind, as a client's types see it.

use std::collections::BTreeSet;

use serde::de::DeserializeSeed as _;
use serde_json::Value;
use twilight_model::{
    application::monetization::Entitlement,
    gateway::{
        Intents,
        event::{DispatchEvent, EventType},
        payload::incoming::GuildCreate,
    },
};

use super::{
    super::{EventKind, bot_id},
    NOW, decode, json, world,
};

/// What twilight-model 0.18 can't decode though Discord sends it: names that it does not know, and RATE_LIMITED, for
/// whose `meta` it expects `{"RequestGuildMembers": {…}}` where Discord sends the fields alone.
const NOT_DECODED: [EventKind; 8] = [
    EventKind::RateLimited,
    EventKind::EntitlementUpdate,
    EventKind::EntitlementDelete,
    EventKind::SoundboardSoundCreate,
    EventKind::SoundboardSoundUpdate,
    EventKind::SoundboardSoundDelete,
    EventKind::SoundboardSoundsUpdate,
    EventKind::VoiceChannelEffectSend,
];

/// Lists the types and matches them without a wildcard, so that a new one fails the build.
macro_rules! event_types {
    ($($variant:ident)*) => {
        const EVENT_TYPES: &[EventType] = &[$(EventType::$variant),*];

        const _: fn(EventType) = |event_type| match event_type {
            $(EventType::$variant => {})*
        };
    };
}

event_types! {
    AutoModerationActionExecution AutoModerationRuleCreate AutoModerationRuleDelete AutoModerationRuleUpdate BanAdd
    BanRemove ChannelCreate ChannelDelete ChannelPinsUpdate ChannelUpdate CommandPermissionsUpdate EntitlementCreate
    EntitlementDelete EntitlementUpdate GatewayClose GatewayHeartbeat GatewayHeartbeatAck GatewayHello
    GatewayInvalidateSession GatewayReconnect GuildAuditLogEntryCreate GuildCreate GuildDelete GuildEmojisUpdate
    GuildIntegrationsUpdate GuildScheduledEventCreate GuildScheduledEventDelete GuildScheduledEventUpdate
    GuildScheduledEventUserAdd GuildScheduledEventUserRemove GuildStickersUpdate GuildUpdate IntegrationCreate
    IntegrationDelete IntegrationUpdate InteractionCreate InviteCreate InviteDelete MemberAdd MemberChunk MemberRemove
    MemberUpdate MessageCreate MessageDelete MessageDeleteBulk MessagePollVoteAdd MessagePollVoteRemove MessageUpdate
    PresenceUpdate RateLimited ReactionAdd ReactionRemove ReactionRemoveAll ReactionRemoveEmoji Ready Resumed RoleCreate
    RoleDelete RoleUpdate StageInstanceCreate StageInstanceDelete StageInstanceUpdate SubscriptionCreate
    SubscriptionDelete SubscriptionUpdate ThreadCreate ThreadDelete ThreadListSync ThreadMemberUpdate
    ThreadMembersUpdate ThreadUpdate TypingStart UnavailableGuild UserUpdate VoiceServerUpdate VoiceStateUpdate
    WebhooksUpdate
}

#[test]
fn every_dispatch_type_has_a_kind() {
    let kinds: BTreeSet<&str> = EventKind::ALL.iter().map(|kind| kind.name()).collect();

    for event_type in EVENT_TYPES.iter().filter(|event_type| event_type.name().is_some()) {
        // No dispatch: twilight's name for the entries of READY's guild list.
        if *event_type != EventType::UnavailableGuild {
            let name = event_type.name().unwrap();
            assert!(kinds.contains(name), "{name} is missing");
        }
    }
}

#[test]
fn every_kind_decodes_into_its_own_variant() {
    for seed in 0..300 {
        let mut world = world(seed, 1 + seed % 90);
        for kind in EventKind::ALL.iter().filter(|kind| !NOT_DECODED.contains(kind)) {
            let event = world.event_of(*kind, NOW);

            let dispatch = decode(&event).unwrap();

            assert_eq!(dispatch.kind().name(), Some(kind.name()));
            if let DispatchEvent::GuildCreate(guild) = dispatch {
                assert!(matches!(*guild, GuildCreate::Available(_)));
            }
        }
    }
}

#[test]
fn what_twilight_does_not_decode_is_json_all_the_same() {
    let mut world = world(1, 40);
    for kind in NOT_DECODED {
        let event = world.event_of(kind, NOW);

        assert!(json(&event).is_object());
        assert!(decode(&event).is_err(), "{}: decoded, so take it off the list", kind.name());
    }
    for kind in [EventKind::EntitlementUpdate, EventKind::EntitlementDelete] {
        serde_json::from_str::<Entitlement>(&world.event_of(kind, NOW).data).unwrap();
    }
}

#[test]
fn no_object_names_a_key_twice() {
    struct NoTwins;
    impl<'de> serde::de::Visitor<'de> for NoTwins {
        type Value = ();
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("anything")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            let mut keys = BTreeSet::new();
            while let Some(key) = map.next_key::<String>()? {
                map.next_value_seed(Self)?;
                if !keys.insert(key.clone()) {
                    return Err(serde::de::Error::custom(format!("{key} twice")));
                }
            }
            Ok(())
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
            while list.next_element_seed(Self)?.is_some() {}
            Ok(())
        }
        fn visit_bool<E>(self, _: bool) -> Result<(), E> {
            Ok(())
        }
        fn visit_u64<E>(self, _: u64) -> Result<(), E> {
            Ok(())
        }
        fn visit_i64<E>(self, _: i64) -> Result<(), E> {
            Ok(())
        }
        fn visit_f64<E>(self, _: f64) -> Result<(), E> {
            Ok(())
        }
        fn visit_str<E>(self, _: &str) -> Result<(), E> {
            Ok(())
        }
        fn visit_unit<E>(self) -> Result<(), E> {
            Ok(())
        }
    }
    impl<'de> serde::de::DeserializeSeed<'de> for NoTwins {
        type Value = ();
        fn deserialize<D: serde::Deserializer<'de>>(self, any: D) -> Result<(), D::Error> {
            any.deserialize_any(self)
        }
    }

    for seed in 0..50 {
        let mut world = world(seed, 30);
        for kind in EventKind::ALL {
            let event = world.event_of(*kind, NOW);

            let checked = NoTwins.deserialize(&mut serde_json::Deserializer::from_str(&event.data));

            assert!(checked.is_ok(), "{}: {checked:?}\n{}", event.name, event.data);
        }
    }
}

#[test]
fn a_session_sees_what_its_intents_carry() {
    let mut world = world(3, 20);
    let unprivileged = Intents::all()
        - Intents::MESSAGE_CONTENT
        - Intents::GUILD_MEMBERS
        - Intents::GUILD_PRESENCES;
    for _ in 0..300 {
        let event = world.event_of(EventKind::MessageCreate, NOW);

        let blank: Value =
            serde_json::from_str(&event.data_for(unprivileged.bits()).unwrap()).unwrap();

        let whole = json(&event);
        assert_eq!(event.data_for(u64::MAX).unwrap(), event.data);
        assert_eq!(event.data_for(Intents::GUILDS.bits()), None);
        assert!(!whole["content"].as_str().unwrap().is_empty());
        assert_eq!(blank["content"], "");
        assert_eq!(blank["attachments"], Value::Array(Vec::new()));
        assert_eq!(blank["embeds"], Value::Array(Vec::new()));
        assert_eq!(blank["author"], whole["author"]);
        assert_eq!(blank["id"], whole["id"]);
        if let Some(referenced) = blank.get("referenced_message") {
            assert_eq!(referenced["content"], "");
        }
    }
    let direct = world.event_of(EventKind::DirectMessageCreate, NOW);
    assert_eq!(direct.data_for(unprivileged.bits()).unwrap(), direct.data);
    assert_eq!(world.event_of(EventKind::PresenceUpdate, NOW).data_for(unprivileged.bits()), None);
}

#[test]
fn payloads_are_as_large_as_discords() {
    let mut world = world(12, 4_000);
    let mut sizes = |kind, n| {
        let mut sizes: Vec<usize> = (0..n).map(|_| world.event_of(kind, NOW).data.len()).collect();
        sizes.sort_unstable();
        (sizes[n / 100], sizes[n / 2], sizes[n - 1 - n / 100])
    };

    let (small, middle, large) = sizes(EventKind::MessageCreate, 5_000);
    assert!(
        small >= 600 && (900..1_600).contains(&middle) && large <= 3_000,
        "{small} {middle} {large}"
    );
    let (small, middle, large) = sizes(EventKind::PresenceUpdate, 2_000);
    assert!(
        small >= 100 && (250..600).contains(&middle) && large <= 900,
        "{small} {middle} {large}"
    );
    let mut guilds: Vec<usize> =
        (0..world.guild_count()).map(|nth| world.guild_create(nth).data.len()).collect();
    guilds.sort_unstable();
    assert!(guilds[0] >= 4_000 && *guilds.last().unwrap() <= 80_000, "{guilds:?}");
}

#[test]
fn ready_names_every_guild_the_shard_and_the_bot() {
    let world = world(5, 30);

    let event = world.ready("0123456789abcdef", "wss://resume.example");

    let DispatchEvent::Ready(ready) = decode(&event).unwrap() else { panic!("{}", event.data) };
    assert_eq!(ready.guilds.len(), world.guild_count());
    assert_eq!(ready.user.id.get(), bot_id(5).0);
    assert_eq!(ready.session_id, "0123456789abcdef");
    assert_eq!(ready.resume_gateway_url, "wss://resume.example");
    assert_eq!(ready.shard.map(|shard| (shard.number(), shard.total())), Some((0, 2)));
}
