//! The seed's sharding behaviours, through the library's public surface.

use std::collections::BTreeMap;

use apolo::{
    DISCORD_GUILDS_PER_SHARD_MAX, GUILDS_PER_SHARD_DEFAULT, GuildId, HealthStatus, SHARDS_MAX,
    ShardHealth, ShardId, ShardStatus, ShardTotal, SystemHealth, UnixMillis, recommended_total,
    shard_count, shard_for_guild, simulator::world::snowflakes, system_health,
};

fn total(shards: u32) -> ShardTotal {
    ShardTotal::new(shards).expect("a valid total")
}

fn ready(guilds: u32, members: u64) -> ShardHealth {
    ShardHealth {
        status: ShardStatus::Ready,
        guild_count: guilds,
        member_count: members,
        ..ShardHealth::default()
    }
}

fn with_status(status: ShardStatus) -> ShardHealth {
    ShardHealth { status, ..ShardHealth::default() }
}

/// Guilds of a real-looking bot, counted by shard.
fn distribution(guilds: u64, shards: u32) -> BTreeMap<ShardId, u64> {
    let mut counts = BTreeMap::new();
    for guild in snowflakes(17, guilds) {
        *counts.entry(shard_for_guild(guild, total(shards))).or_default() += 1;
    }
    counts
}

#[test]
fn a_bot_without_guilds_has_one_shard() {
    assert_eq!(shard_count(0, GUILDS_PER_SHARD_DEFAULT), ShardTotal::ONE);
}

#[test]
fn a_small_bot_has_one_shard() {
    assert_eq!(shard_count(1, GUILDS_PER_SHARD_DEFAULT), ShardTotal::ONE);
    assert_eq!(shard_count(99_999, GUILDS_PER_SHARD_DEFAULT), ShardTotal::ONE);
}

#[test]
fn a_full_shard_needs_no_second_one() {
    assert_eq!(shard_count(100_000, GUILDS_PER_SHARD_DEFAULT), ShardTotal::ONE);
}

#[test]
fn one_guild_too_many_needs_another_shard() {
    assert_eq!(shard_count(100_001, GUILDS_PER_SHARD_DEFAULT), total(2));
}

#[test]
fn a_million_guilds_are_ten_shards() {
    assert_eq!(shard_count(1_000_000, GUILDS_PER_SHARD_DEFAULT), total(10));
}

#[test]
fn the_knob_changes_the_count() {
    assert_eq!(shard_count(1_000_000, DISCORD_GUILDS_PER_SHARD_MAX), total(400));
    assert_eq!(shard_count(10, 1), total(10));
}

#[test]
fn a_senseless_knob_counts_as_one_guild_a_shard() {
    assert_eq!(shard_count(7, 0), total(7));
}

#[test]
fn the_count_is_bounded_whatever_is_asked() {
    assert_eq!(shard_count(u64::MAX, 1), total(SHARDS_MAX));
}

#[test]
fn discords_recommendation_is_a_floor() {
    assert_eq!(recommended_total(1_000, GUILDS_PER_SHARD_DEFAULT, total(16)), total(16));
    assert_eq!(recommended_total(5_000_000, GUILDS_PER_SHARD_DEFAULT, total(16)), total(50));
}

#[test]
fn a_total_of_none_or_too_many_is_refused() {
    for shards in [0, SHARDS_MAX + 1, u32::MAX] {
        let error = ShardTotal::new(shards).expect_err("refused");
        assert!(error.to_string().contains("between 1 and"), "{error}");
    }
}

#[test]
fn a_guild_is_routed_by_its_snowflakes_timestamp() {
    let guild = GuildId(197_038_439_483_310_086);

    assert_eq!(shard_for_guild(guild, total(16)), ShardId(2));
    assert_eq!(shard_for_guild(guild, total(1)), ShardId(0));
}

#[test]
fn routing_is_the_same_every_time() {
    for guild in snowflakes(3, 1_000) {
        assert_eq!(shard_for_guild(guild, total(12)), shard_for_guild(guild, total(12)));
    }
}

#[test]
fn a_guild_never_lands_on_a_shard_that_is_not_there() {
    for guild in [0, 1, u64::MAX].map(GuildId).into_iter().chain(snowflakes(5, 10_000)) {
        for shards in [1, 2, 3, 16, 113, 448] {
            assert!(shard_for_guild(guild, total(shards)).0 < shards);
        }
    }
}

#[test]
fn small_ids_all_land_on_the_first_shard() {
    // The seed's load test drew its ids from 0 to 999,999: it could not have seen an imbalance.
    for id in [0, 1, 999_999] {
        assert_eq!(shard_for_guild(GuildId(id), total(10)), ShardId(0));
    }
}

#[test]
fn ten_shards_are_balanced_within_five_percent() {
    let counts = distribution(200_000, 10);
    let (most, least) = (counts.values().max().copied(), counts.values().min().copied());
    let spread = most.zip(least).map(|(most, least)| most - least).expect("ten shards");

    assert_eq!(counts.len(), 10);
    assert!(spread * 100 < 20_000 * 5, "{counts:?}");
}

#[test]
fn more_than_a_hundred_shards_each_get_their_guilds() {
    let counts = distribution(500_000, 128);

    assert_eq!(counts.len(), 128);
    assert!(counts.values().all(|count| (3_500..4_400).contains(count)), "{counts:?}");
}

#[test]
fn all_ready_is_healthy() {
    let health = system_health(total(3), [ready(1, 10), ready(2, 20), ready(3, 30)]);

    let expected = SystemHealth {
        status: HealthStatus::Healthy,
        total_shards: 3,
        ready_shards: 3,
        total_guilds: 6,
        total_members: 60,
    };
    assert_eq!(health, expected);
}

#[test]
fn some_down_is_degraded() {
    let shards = [ready(1, 1), ready(1, 1), with_status(ShardStatus::Disconnected)];

    assert_eq!(system_health(total(3), shards).status, HealthStatus::Degraded);
}

#[test]
fn most_down_is_critical() {
    let shards = [ready(1, 1), with_status(ShardStatus::Dead), with_status(ShardStatus::Spawning)];

    assert_eq!(system_health(total(3), shards).status, HealthStatus::Critical);
}

#[test]
fn a_shard_that_says_nothing_is_not_ready() {
    assert_eq!(system_health(total(2), [ready(1, 1)]).status, HealthStatus::Degraded);
    assert_eq!(system_health(total(2), []).status, HealthStatus::Critical);
}

#[test]
fn a_shard_that_is_not_ready_still_counts_its_guilds() {
    let down = ShardHealth { status: ShardStatus::Disconnected, ..ready(7, 70) };

    let health = system_health(total(1), [down]);

    assert_eq!((health.total_guilds, health.total_members), (7, 70));
}

#[test]
fn a_hundred_and_fifty_shards_are_summed_up() {
    let shards = (0..150).map(|nth| {
        if nth % 3 == 0 { with_status(ShardStatus::Disconnected) } else { ready(2_000, 100_000) }
    });

    let health = system_health(total(150), shards);

    assert_eq!((health.ready_shards, health.total_guilds), (100, 200_000));
    assert_eq!(health.status, HealthStatus::Degraded);
}

#[test]
fn health_is_written_with_the_seeds_names() {
    let health = serde_json::to_value(system_health(total(1), [ready(4, 5)])).expect("JSON");
    let names: Vec<&str> =
        health.as_object().expect("an object").keys().map(String::as_str).collect();

    assert_eq!(names, ["readyShards", "status", "totalGuilds", "totalMembers", "totalShards"]);
    assert_eq!(health["status"], "healthy");

    let shard = ShardHealth { last_check: Some(UnixMillis(5)), ..ready(1, 2) };
    let shard = serde_json::to_value(shard).expect("JSON");
    assert_eq!(
        (&shard["status"], &shard["guildCount"], &shard["lastCheck"]),
        (&"ready".into(), &1.into(), &5.into())
    );
}
