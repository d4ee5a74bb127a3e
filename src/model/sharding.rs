//! How many shards, and which guild belongs to which.

use std::{fmt, num::NonZeroU32};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::GuildId;

/// The seed's `USERS_PER_SHARD`: guilds on one shard where nobody says otherwise.
pub const GUILDS_PER_SHARD_DEFAULT: u64 = 100_000;

/// Discord closes a session that would see more guilds than this with 4011 (Gateway docs, "Sharding for Large Bots").
pub const DISCORD_GUILDS_PER_SHARD_MAX: u64 = 2_500;

/// More shards than any bot has; a bound for what config, disk and wire may claim.
pub const SHARDS_MAX: u32 = 65_536;

/// A Discord gateway shard, counted from 0.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(pub u32);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many shards the bot is split into: Discord's `num_shards`, at least 1 and at most [`SHARDS_MAX`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct ShardTotal(NonZeroU32);

/// A number that can't be a shard total.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("{0} is no shard total: it must lie between 1 and {SHARDS_MAX}")]
pub struct ShardTotalError(pub u32);

impl ShardTotal {
    /// The smallest total.
    pub const ONE: Self = Self(NonZeroU32::MIN);

    /// Checks the bounds.
    ///
    /// # Errors
    ///
    /// [`ShardTotalError`] for 0 and for more than [`SHARDS_MAX`].
    pub const fn new(total: u32) -> Result<Self, ShardTotalError> {
        match NonZeroU32::new(total) {
            Some(nonzero) if total <= SHARDS_MAX => Ok(Self(nonzero)),
            _ => Err(ShardTotalError(total)),
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// Every shard, in order.
    pub fn shards(self) -> impl DoubleEndedIterator<Item = ShardId> + ExactSizeIterator {
        (0..self.get()).map(ShardId)
    }
}

impl TryFrom<u32> for ShardTotal {
    type Error = ShardTotalError;

    fn try_from(total: u32) -> Result<Self, Self::Error> {
        Self::new(total)
    }
}

impl From<ShardTotal> for u32 {
    fn from(total: ShardTotal) -> Self {
        total.get()
    }
}

impl fmt::Display for ShardTotal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The seed's formula: `ceil(guilds / guilds_per_shard)`, at least 1.
///
/// ```
/// use apolo::{GUILDS_PER_SHARD_DEFAULT, shard_count};
///
/// assert_eq!(shard_count(1_000_000, GUILDS_PER_SHARD_DEFAULT).get(), 10);
/// assert_eq!(shard_count(0, GUILDS_PER_SHARD_DEFAULT).get(), 1);
/// ```
#[must_use]
pub fn shard_count(guilds: u64, guilds_per_shard: u64) -> ShardTotal {
    let count = guilds.div_ceil(guilds_per_shard.max(1)).clamp(1, u64::from(SHARDS_MAX));
    u32::try_from(count)
        .ok()
        .and_then(|count| ShardTotal::new(count).ok())
        .unwrap_or(ShardTotal::ONE)
}

/// The total that a new cluster fixes: the formula, but never below what Discord recommends.
#[must_use]
pub fn recommended_total(guilds: u64, guilds_per_shard: u64, discord: ShardTotal) -> ShardTotal {
    shard_count(guilds, guilds_per_shard).max(discord)
}

/// Discord's routing: `(guild_id >> 22) % num_shards` (Gateway docs, "Sharding").
///
/// ```
/// use apolo::{GuildId, ShardId, ShardTotal, shard_for_guild};
///
/// let total = ShardTotal::new(16)?;
/// assert_eq!(shard_for_guild(GuildId(197_038_439_483_310_086), total), ShardId(2));
/// # Ok::<(), apolo::ShardTotalError>(())
/// ```
#[must_use]
pub fn shard_for_guild(guild: GuildId, total: ShardTotal) -> ShardId {
    let shard = (guild.0 >> 22) % u64::from(total.get());
    ShardId(u32::try_from(shard).unwrap_or(0))
}
