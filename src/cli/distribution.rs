//! How evenly guilds fall on shards: the seed's load test as arithmetic.

use serde::Serialize;

use crate::model::{GuildId, ShardId, ShardTotal, shard_for_guild};

/// The seed's bound: an imbalance below this passes.
pub(super) const IMBALANCE_PERCENT_MAX: f64 = 5.0;

/// What the seed's load test prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Distribution {
    pub(super) guilds: u64,
    pub(super) shards: ShardTotal,
    /// Guilds on each shard, by id.
    pub(super) counts: Vec<u64>,
    pub(super) average: f64,
    pub(super) max: u64,
    pub(super) min: u64,
    /// `(max - min) / average`, in per cent.
    pub(super) imbalance_percent: f64,
    /// It is below 5 %.
    pub(super) balanced: bool,
}

/// Routes every guild and counts.
pub(super) fn analyse(guilds: impl Iterator<Item = GuildId>, total: ShardTotal) -> Distribution {
    let mut counts = vec![0_u64; total.get() as usize];
    for guild in guilds {
        let ShardId(shard) = shard_for_guild(guild, total);
        counts[shard as usize] += 1;
    }
    let guilds: u64 = counts.iter().sum();
    let max = counts.iter().copied().max().unwrap_or(0);
    let min = counts.iter().copied().min().unwrap_or(0);
    let average = guilds as f64 / f64::from(total.get());
    let imbalance_percent = if guilds == 0 { 0.0 } else { (max - min) as f64 / average * 100.0 };
    let balanced = imbalance_percent < IMBALANCE_PERCENT_MAX;
    Distribution { guilds, shards: total, counts, average, max, min, imbalance_percent, balanced }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::world::snowflakes;

    fn total(count: u32) -> ShardTotal {
        ShardTotal::new(count).unwrap()
    }

    #[test]
    fn a_million_real_snowflakes_on_ten_shards_are_balanced() {
        let distribution = analyse(snowflakes(7, 1_000_000), total(10));

        assert_eq!(distribution.guilds, 1_000_000);
        assert!(distribution.balanced, "{:.2} %", distribution.imbalance_percent);
    }

    #[test]
    fn small_numbers_for_ids_all_fall_on_shard_0() {
        let distribution = analyse((0..1_000).map(GuildId), total(10));

        assert_eq!(distribution.counts[0], 1_000);
        assert_eq!(distribution.imbalance_percent, 1_000.0);
        assert!(!distribution.balanced);
    }

    #[test]
    fn no_guilds_are_balanced() {
        assert!(analyse(std::iter::empty(), total(3)).balanced);
    }
}
