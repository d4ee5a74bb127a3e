//! What is known of a shard's condition, and the verdict over all of them.

use serde::{Deserialize, Serialize};

use super::{ShardTotal, UnixMillis};

/// A shard's condition.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum ShardStatus {
    /// Not connected yet since it was assigned.
    #[default]
    Spawning,
    /// Connected: READY or RESUMED was received.
    Ready,
    /// Lost its connection and is getting it back.
    Disconnected,
    /// Without a connection for longer than `SHARD_TIMEOUT`, or stopped by a fatal close code.
    Dead,
}

impl ShardStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Spawning, Self::Ready, Self::Disconnected, Self::Dead];

    /// The status as it is written in tables, JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spawning => "spawning",
            Self::Ready => "ready",
            Self::Disconnected => "disconnected",
            Self::Dead => "dead",
        }
    }
}

/// One shard's health, as its owner reported it last.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardHealth {
    /// Its condition.
    pub status: ShardStatus,
    /// Guilds that the shard sees.
    pub guild_count: u32,
    /// Members of these guilds, as Discord counts them.
    pub member_count: u64,
    /// When it became ready last.
    pub ready_at: Option<UnixMillis>,
    /// When its owner looked at it last.
    pub last_check: Option<UnixMillis>,
}

/// The verdict over all shards.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Every shard is ready.
    Healthy,
    /// Some shards are not ready, but at least half are.
    Degraded,
    /// Fewer than half of the shards are ready, or none.
    Critical,
}

/// The seed's `SystemHealth`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemHealth {
    /// The verdict.
    pub status: HealthStatus,
    /// Shards that the bot is split into.
    pub total_shards: u32,
    /// Shards that are connected.
    pub ready_shards: u32,
    /// Guilds over all shards.
    pub total_guilds: u64,
    /// Members over all guilds.
    pub total_members: u64,
}

/// Adds up what the shards report. A shard that reports nothing counts as not ready.
///
/// ```
/// use apolo::{HealthStatus, ShardHealth, ShardStatus, ShardTotal, system_health};
///
/// let ready = ShardHealth { status: ShardStatus::Ready, guild_count: 1_000, ..ShardHealth::default() };
/// let health = system_health(ShardTotal::new(2)?, [ready]);
///
/// assert_eq!(health.status, HealthStatus::Degraded);
/// assert_eq!((health.ready_shards, health.total_guilds), (1, 1_000));
/// # Ok::<(), apolo::ShardTotalError>(())
/// ```
#[must_use]
pub fn system_health(
    total: ShardTotal,
    shards: impl IntoIterator<Item = ShardHealth>,
) -> SystemHealth {
    let mut health = SystemHealth {
        status: HealthStatus::Critical,
        total_shards: total.get(),
        ready_shards: 0,
        total_guilds: 0,
        total_members: 0,
    };
    for shard in shards {
        health.ready_shards += u32::from(shard.status == ShardStatus::Ready);
        health.total_guilds += u64::from(shard.guild_count);
        health.total_members += shard.member_count;
    }
    health.status = verdict(health.ready_shards, health.total_shards);
    health
}

const fn verdict(ready: u32, total: u32) -> HealthStatus {
    if ready >= total {
        HealthStatus::Healthy
    } else if ready > 0 && ready * 2 >= total {
        HealthStatus::Degraded
    } else {
        HealthStatus::Critical
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict_of(ready: usize, total: u32) -> HealthStatus {
        let shard = ShardHealth { status: ShardStatus::Ready, ..ShardHealth::default() };
        system_health(ShardTotal::new(total).unwrap(), vec![shard; ready]).status
    }

    #[test]
    fn all_ready_is_healthy_half_is_degraded_less_is_critical() {
        assert_eq!(verdict_of(4, 4), HealthStatus::Healthy);
        assert_eq!(verdict_of(2, 4), HealthStatus::Degraded);
        assert_eq!(verdict_of(1, 4), HealthStatus::Critical);
        assert_eq!(verdict_of(0, 1), HealthStatus::Critical);
    }
}
