//! What happens, and what a client that keeps count finds.

use std::collections::{BTreeMap, BTreeSet};

use twilight_model::gateway::{Intents, event::DispatchEvent, payload::incoming::GuildCreate};

use super::{
    super::{Event, EventKind, MembersQuery, ShardWorld, WorldOptions},
    NOW, decode, json, world,
};
use crate::model::{GuildId, ShardId, ShardTotal, UnixMillis, shard_for_guild};

#[test]
fn guild_events_belong_to_the_shard_and_direct_ones_to_no_guild() {
    let total = ShardTotal::new(16).unwrap();
    let options = WorldOptions { seed: 4, guilds: 800, total };
    for shard in total.shards() {
        let mut world = ShardWorld::new(&options, shard);
        let mut direct = 0;
        for _ in 0..2_000 {
            let event = world.next_event(NOW);
            let data = json(&event);
            let guild = data.get(if event.name == "GUILD_DELETE" || event.name == "GUILD_CREATE" {
                "id"
            } else {
                "guild_id"
            });
            if let Some(id) = guild.filter(|_| !event.kind.is_direct()) {
                let id = GuildId(id.as_str().unwrap().parse().unwrap());
                assert_eq!(shard_for_guild(id, total), shard, "{}", event.name);
            }
            if event.kind.is_direct() {
                direct += 1;
                assert_eq!(guild, None, "{}", event.name);
            }
        }
        assert_eq!(direct > 0, shard == ShardId(0), "{shard}: {direct}");
    }
}

#[test]
fn a_client_that_counts_guilds_and_members_agrees_with_the_world() {
    let mut world = world(9, 60);
    let mut guilds: BTreeMap<u64, i64> = BTreeMap::new();
    let note = |guilds: &mut BTreeMap<u64, i64>, event: &Event| {
        let data = json(event);
        let id = |key: &str| data[key].as_str().unwrap().parse().unwrap();
        match event.name {
            "GUILD_CREATE" => {
                guilds.insert(id("id"), data["member_count"].as_i64().unwrap());
            }
            "GUILD_DELETE" if data.get("unavailable").is_none() => {
                guilds.remove(&id("id"));
            }
            "GUILD_MEMBER_ADD" => *guilds.get_mut(&id("guild_id")).unwrap() += 1,
            "GUILD_MEMBER_REMOVE" => *guilds.get_mut(&id("guild_id")).unwrap() -= 1,
            _ => {}
        }
    };
    for nth in 0..world.guild_count() {
        note(&mut guilds, &world.guild_create(nth));
    }
    let before = world.guild_ids().collect::<Vec<_>>();

    let kinds = [
        EventKind::GuildCreate,
        EventKind::GuildDelete,
        EventKind::MemberAdd,
        EventKind::MemberRemove,
        EventKind::MessageCreate,
    ];
    for turn in 0..20_000 {
        let event = world.event_of(kinds[(turn * 7 + turn / 11) % kinds.len()], NOW);
        note(&mut guilds, &event);
    }

    assert_ne!(before, world.guild_ids().collect::<Vec<_>>());
    assert_eq!(
        guilds.keys().copied().collect::<Vec<_>>(),
        world.guild_ids().map(|id| id.0).collect::<Vec<_>>()
    );
    let members: i64 = guilds.values().sum();
    assert_eq!(members.unsigned_abs(), world.member_count());
    assert!(guilds.values().all(|members| *members > 0), "the owner stays");
}

#[test]
fn a_guild_in_an_outage_is_sent_as_unavailable_and_comes_back() {
    let mut world = world(2, 20);
    let gone = std::iter::repeat_with(|| world.event_of(EventKind::GuildDelete, NOW))
        .take(1_000)
        .find(|event| event.data.contains("unavailable"))
        .unwrap();
    let id = GuildId(json(&gone)["id"].as_str().unwrap().parse().unwrap());

    let during =
        decode(&world.guild_create_of(&world.guilds().find(|guild| guild.id == id).unwrap()))
            .unwrap();
    let count = world.guild_count();
    let back = world.event_of(EventKind::GuildCreate, NOW);

    assert!(
        matches!(during, DispatchEvent::GuildCreate(guild) if matches!(*guild, GuildCreate::Unavailable(_)))
    );
    assert_eq!(json(&back)["id"], json(&gone)["id"]);
    assert_eq!((world.guild_count(), world.unavailable_count()), (count, 0));
}

#[test]
fn only_wanted_kinds_are_drawn() {
    let mut world = world(3, 20);
    let wanted = Intents::GUILD_VOICE_STATES.bits();

    for _ in 0..2_000 {
        assert!(world.next_event_for(wanted, NOW).kind.reaches(wanted));
    }
}

#[test]
fn the_same_seed_tells_the_same_story_and_another_a_different_one() {
    let story = |seed| {
        let mut world = world(seed, 50);
        (0..3_000).map(|n| world.next_event(UnixMillis(NOW.0 + n)).data).collect::<Vec<_>>()
    };

    assert_eq!(story(5), story(5));
    assert_ne!(story(5), story(6));
}

#[test]
fn the_mix_follows_the_weights() {
    let mut world = world(8, 500);
    let mut counts: BTreeMap<EventKind, f64> = BTreeMap::new();
    let draws = 100_000;
    for _ in 0..draws {
        *counts.entry(world.next_event(NOW).kind).or_default() += 1.0;
    }

    let total: u32 = EventKind::ALL.iter().map(|kind| kind.weight()).sum();

    for kind in EventKind::ALL {
        let expected = f64::from(draws) * f64::from(kind.weight()) / f64::from(total);
        let drawn = counts.get(kind).copied().unwrap_or_default();
        assert!(
            (drawn - expected).abs() <= 6.0 * expected.sqrt() + 1.0,
            "{kind:?}: {drawn}, not {expected}"
        );
    }
}

#[test]
fn every_member_is_sent_in_chunks_of_a_thousand() {
    let world = world(12, 4_000);
    let large = (0..world.guild_count())
        .map(|nth| json(&world.guild_create(nth)))
        .find(|guild| (2_500..9_000).contains(&guild["member_count"].as_u64().unwrap()))
        .unwrap();
    let count = large["member_count"].as_u64().unwrap();
    let guild = GuildId(large["id"].as_str().unwrap().parse().unwrap());
    let everyone = MembersQuery {
        guild,
        prefix: String::new(),
        limit: 0,
        users: Vec::new(),
        nonce: Some("a \"nonce\"".into()),
    };

    let mut ids = BTreeSet::new();
    let mut chunks = 0;
    while let Some(event) = world.members_chunk(&everyone, chunks) {
        let data = json(&event);
        assert_eq!(data["chunk_count"].as_u64().unwrap(), count.div_ceil(1_000));
        assert_eq!(data["nonce"], "a \"nonce\"");
        let members = data["members"].as_array().unwrap();
        assert!(members.len() <= 1_000);
        ids.extend(members.iter().map(|member| member["user"]["id"].as_str().unwrap().to_owned()));
        decode(&event).unwrap();
        chunks += 1;
    }

    assert_eq!(u64::from(chunks), count.div_ceil(1_000));
    assert_eq!(ids.len() as u64, count);

    let known: u64 = ids.first().unwrap().parse().unwrap();
    let two = MembersQuery { users: vec![known, 7], ..everyone.clone() };
    let data = json(&world.members_chunk(&two, 0).unwrap());
    assert_eq!(data["members"][0]["user"]["id"], known.to_string());
    assert_eq!(data["not_found"][0], "7");
    assert_eq!(world.members_chunk(&two, 1), None);

    let named = MembersQuery { prefix: "luna".into(), limit: 10, ..everyone.clone() };
    let data = json(&world.members_chunk(&named, 0).unwrap());
    let members = data["members"].as_array().unwrap();
    assert!((1..=10).contains(&members.len()));
    assert!(
        members
            .iter()
            .all(|member| member["user"]["username"].as_str().unwrap().starts_with("luna"))
    );

    let stranger = MembersQuery { guild: GuildId(1), ..everyone };
    assert_eq!(world.members_chunk(&stranger, 0), None);
}

#[test]
fn a_shard_without_guilds_has_something_to_tell_and_stays_without() {
    let mut world = ShardWorld::new(
        &WorldOptions { seed: 1, guilds: 0, total: ShardTotal::new(2).unwrap() },
        ShardId(1),
    );

    for _ in 0..1_000 {
        assert_eq!(world.next_event(NOW).kind, EventKind::UserUpdate);
    }
    for kind in EventKind::ALL.iter().filter(|kind| **kind != EventKind::GuildCreate) {
        json(&world.event_of(*kind, NOW));
    }

    assert_eq!((world.guild_count(), world.member_count()), (0, 0));
}
