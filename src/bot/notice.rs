//! What a bot is told about its shards.

use crate::gateway::LostReason;
use crate::model::{Sequence, SessionNumber};

/// Something happened to a shard. [`Context::shard`](super::Context::shard) says to which.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// The shard is connected.
    ShardReady {
        /// Whether its session went on, so that no GUILD_CREATE follows.
        resumed: bool,
    },
    /// The shard lost its connection and is getting it back.
    ShardDisconnected {
        /// Why, in words.
        reason: String,
    },
    /// The shard is without a connection for longer than `SHARD_TIMEOUT`, or met a fatal close code.
    ShardDead {
        /// Why, in words.
        reason: String,
    },
    /// Discord dropped the shard's session. Events may be missing: whatever the bot keeps of these guilds should be
    /// read anew.
    SessionLost(LostRange),
}

/// The part of a session that is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LostRange {
    /// The session.
    pub session: SessionNumber,
    /// The highest sequence that was handed over to the bot.
    pub after: Sequence,
    /// The highest sequence that was seen on the wire. What Discord would have sent beyond it is not known.
    pub received: Sequence,
    /// Why.
    pub reason: LostReason,
}

impl LostRange {
    /// Events that are known to be lost; there may be more that were never seen.
    #[must_use]
    pub const fn known(&self) -> u64 {
        self.received.0.saturating_sub(self.after.0)
    }
}
