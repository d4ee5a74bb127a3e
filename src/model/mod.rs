//! The words that every part of apolo shares: identities, positions and the arithmetic of sharding.
//!
//! Values only. Nothing here does I/O, keeps state or, but for [`UnixMillis::now`], looks at a clock.

mod epoch;
mod format;
mod health;
mod id;
mod panic;
mod profile;
mod secret;
mod session;
mod sharding;
mod time;

pub use epoch::Epoch;
pub use format::{Format, Formats};
pub use health::{HealthStatus, ShardHealth, ShardStatus, SystemHealth, system_health};
pub use id::{
    ApplicationId, BootEpoch, ClusterId, GuildId, LogIndex, NodeId, TokenId, TokenIdError,
};
pub(crate) use panic::panic_text;
pub use profile::{NoProfile, Profile};
pub use secret::Token;
pub use session::{Checkpoint, Sequence, Session, SessionId, SessionNumber};
pub use sharding::{
    DISCORD_GUILDS_PER_SHARD_MAX, GUILDS_PER_SHARD_DEFAULT, SHARDS_MAX, ShardId, ShardTotal,
    ShardTotalError, recommended_total, shard_count, shard_for_guild,
};
pub use time::UnixMillis;
