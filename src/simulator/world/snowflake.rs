//! Discord's ids: 42 bits of milliseconds since 2015, 5 of worker, 5 of process, 12 of a counter (API reference,
//! "Snowflakes").

use rand::{RngExt as _, SeedableRng as _, rngs::Xoshiro256PlusPlus};

use crate::model::{GuildId, ShardId, ShardTotal, UnixMillis};

/// The generator behind everything random here: fast, small, and the same on every platform.
pub(super) type Random = Xoshiro256PlusPlus;

/// The first millisecond of 2015, from which snowflakes count.
const EPOCH: u64 = 1_420_070_400_000;

/// When Discord opened: 13 May 2015.
const FIRST_GUILD: u64 = 1_431_475_200_000;

/// The end of the time in which guilds, channels and users were created: the start of 2026, a constant so that the
/// same seed gives the same world on every day.
pub(super) const WORLD_END: UnixMillis = UnixMillis(1_767_225_600_000);

/// Bits below the time.
const BELOW_TIME: u32 = 22;

/// The ids of `guilds` guilds as a whole bot would have them, drawn independently of any sharding, so that the
/// imbalance over a number of shards can be measured.
///
/// Creation times lie between 2015 and 2026 with more in later years (their density grows linearly); the bits below
/// are random. The same seed gives the same ids.
///
/// ```
/// use apolo::simulator::world::snowflakes;
///
/// assert_eq!(snowflakes(7, 1_000).count(), 1_000);
/// ```
pub fn snowflakes(seed: u64, guilds: u64) -> impl Iterator<Item = GuildId> {
    let mut random = Random::seed_from_u64(scramble(seed));
    (0..guilds).map(move |_| {
        let since = guild_time(&mut random);
        GuildId(assemble(since, random.random()))
    })
}

/// A guild id like those of [`snowflakes`], but for one shard: the time is moved by less than `total` milliseconds, so
/// that `(id >> 22) % total` is the shard.
pub(super) fn guild_of_shard(random: &mut Random, shard: ShardId, total: ShardTotal) -> GuildId {
    let total = u64::from(total.get());
    let since = guild_time(random);
    GuildId(assemble(since - since % total + u64::from(shard.0) % total, random.random()))
}

/// The snowflake that is made at `time`; `low` gives the bits below the time.
pub(super) const fn snowflake_at(time: UnixMillis, low: u64) -> u64 {
    assemble(time.0.saturating_sub(EPOCH), low)
}

/// When a snowflake was made.
pub(super) const fn time_of(snowflake: u64) -> UnixMillis {
    UnixMillis((snowflake >> BELOW_TIME) + EPOCH)
}

/// A well mixed number from any other: the finaliser of `splitmix64`, a bijection.
pub(super) const fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Makes the ids of what happens: messages, interactions, new channels.
#[derive(Debug)]
pub(super) struct Mint {
    /// Worker and process, as one shard's.
    machine: u64,
    counter: u64,
}

impl Mint {
    /// A mint whose ids no mint of another shard makes (for up to 1,024 shards).
    pub(super) const fn new(shard: ShardId) -> Self {
        Self { machine: (shard.0 as u64 % 1_024) << 12, counter: 0 }
    }

    /// A new id of this moment: unique for up to 4,096 a millisecond.
    pub(super) const fn id(&mut self, now: UnixMillis) -> u64 {
        self.counter = (self.counter + 1) % 4_096;
        snowflake_at(now, self.machine | self.counter)
    }
}

/// Milliseconds since Discord's epoch at which a guild was created.
fn guild_time(random: &mut Random) -> u64 {
    let span = WORLD_END.0 - FIRST_GUILD;
    let share = random.random::<f64>().sqrt();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a span of 39 bits"
    )]
    let since_first = (share * span as f64) as u64;
    FIRST_GUILD - EPOCH + since_first
}

const fn assemble(since_epoch: u64, low: u64) -> u64 {
    (since_epoch << BELOW_TIME) | (low & ((1 << BELOW_TIME) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::shard_for_guild;

    #[test]
    fn a_shards_guild_is_routed_to_it() {
        let total = ShardTotal::new(448).unwrap();
        let mut random = Random::seed_from_u64(1);

        for shard in total.shards() {
            let id = guild_of_shard(&mut random, shard, total);

            assert_eq!(shard_for_guild(id, total), shard);
        }
    }

    #[test]
    fn later_years_have_more_guilds() {
        let year = |id: GuildId| 1_970 + time_of(id.0).0 / 31_556_952_000;
        let count = |wanted| snowflakes(3, 20_000).filter(|id| year(*id) == wanted).count();

        assert!(count(2_024) > 2 * count(2_018), "{} {}", count(2_024), count(2_018));
        assert!(snowflakes(3, 20_000).all(|id| (2_015..=2_026).contains(&year(id))));
    }

    #[test]
    fn ids_are_unique_and_depend_on_the_seed_alone() {
        let mut ids: Vec<GuildId> = snowflakes(5, 100_000).collect();
        let again: Vec<GuildId> = snowflakes(5, 100_000).collect();

        assert_eq!(ids, again);
        assert_ne!(ids[0], snowflakes(6, 1).next().unwrap());
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 100_000);
    }

    #[test]
    fn a_million_guilds_spread_evenly_over_ten_shards() {
        let total = ShardTotal::new(10).unwrap();
        let mut counts = [0_u64; 10];
        for id in snowflakes(1, 1_000_000) {
            counts[shard_for_guild(id, total).0 as usize] += 1;
        }

        let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());

        assert!(most - least < 5_000, "{counts:?}");
    }

    #[test]
    fn the_mint_repeats_no_id_within_a_millisecond() {
        let mut mint = Mint::new(ShardId(3));
        let now = UnixMillis(1_800_000_000_000);

        let mut ids: Vec<u64> = (0..4_096).map(|_| mint.id(now)).collect();

        assert!(ids.iter().all(|id| time_of(*id) == now));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 4_096);
    }
}
