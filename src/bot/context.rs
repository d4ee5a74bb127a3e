//! Where an event came from, and what a handler can do besides returning.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::gateway::{Commands, SendError as CommandError};
use crate::ipc::Ipc;
use crate::kv::Kv;
use crate::lease::Fence;
use crate::model::{
    Epoch, GuildId, Sequence, SessionNumber, ShardId, ShardTotal, SystemHealth, shard_for_guild,
};
use crate::state::State;

/// Where an event came from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    shared: Arc<Shared>,
    position: Position,
}

/// What all events of a shard that runs have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) shard: ShardId,
    pub(crate) total: ShardTotal,
    pub(crate) epoch: Epoch,
    pub(crate) commands: Commands,
    pub(crate) states: watch::Receiver<Arc<State>>,
    pub(crate) fence: Fence,
    /// Is cancelled when no more events are taken, and handlers have some seconds to finish.
    pub(crate) stopping: CancellationToken,
    pub(crate) cancelled: CancellationToken,
    /// What the bot says of its guilds, which then counts instead of what the node counted.
    pub(crate) totals: Mutex<Option<GuildTotals>>,
    pub(crate) ipc: Ipc,
    pub(crate) kv: Kv,
}

/// Where in the shard's life an event stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Position {
    pub(crate) session: SessionNumber,
    pub(crate) sequence: Sequence,
    pub(crate) redelivered: bool,
}

/// A shard's guilds and members, as the bot counts them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GuildTotals {
    /// Guilds.
    pub guilds: u32,
    /// Members of all of them.
    pub members: u64,
}

/// A gateway command that was not sent.
#[derive(Debug, Error)]
pub enum SendError {
    /// It is no JSON.
    #[error("send a gateway command: {0}")]
    Unserializable(#[from] serde_json::Error),
    /// The shard does not take it.
    #[error("send a gateway command: {0}")]
    Refused(#[from] CommandError),
}

impl Context {
    pub(crate) const fn new(shared: Arc<Shared>, position: Position) -> Self {
        Self { shared, position }
    }

    /// The shard.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shared.shard
    }

    /// How many shards the bot is split into.
    #[must_use]
    pub fn total(&self) -> ShardTotal {
        self.shared.total
    }

    /// Under which epoch this node owns the shard. Whatever is written elsewhere on the shard's behalf can be fenced
    /// with it: the higher epoch wins.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    /// The session that the event belongs to.
    #[must_use]
    pub const fn session(&self) -> SessionNumber {
        self.position.session
    }

    /// The event's place in its session. (shard, session, sequence) names an event for good, so a handler that must
    /// not run twice can remember it.
    #[must_use]
    pub const fn sequence(&self) -> Sequence {
        self.position.sequence
    }

    /// Whether the event may have been delivered before. After a restart that holds for the few hundred events behind
    /// the last checkpoint, whether or not the earlier process got to them.
    #[must_use]
    pub const fn redelivered(&self) -> bool {
        self.position.redelivered
    }

    /// Is cancelled when this node loses the right to run the shard, or stops. A handler that writes elsewhere should
    /// stop then; it is not interrupted.
    #[must_use]
    pub fn cancelled(&self) -> &CancellationToken {
        &self.shared.cancelled
    }

    /// Whether this node may still act for the shard, as of this very moment: also in a process that was frozen and does
    /// not know it yet.
    #[must_use]
    pub fn owns_shard(&self) -> bool {
        !self.shared.fence.is_down()
    }

    /// What stands between the shard and the world.
    pub(crate) fn fence(&self) -> &Fence {
        &self.shared.fence
    }

    /// Is cancelled when the shard takes no more events, some seconds before [`cancelled`](Self::cancelled).
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.shared.stopping
    }

    /// Sends a gateway command, such as one of `twilight_model::gateway::payload::outgoing`, over this shard. It waits
    /// in line for Discord's limit of 120 a minute.
    ///
    /// # Errors
    ///
    /// [`SendError::Refused`] where it is longer than 4,096 bytes, where the shard is not connected, or where too many
    /// wait already.
    pub fn send(&self, command: &impl Serialize) -> Result<(), SendError> {
        let json = serde_json::to_string(command)?;
        self.shared.commands.try_send(json)?;
        Ok(())
    }

    /// Requests and broadcasts to other shards, in the name of this one.
    #[must_use]
    pub fn ipc(&self) -> &Ipc {
        &self.shared.ipc
    }

    /// Values, counters, leaderboards and locks that the whole bot shares.
    #[must_use]
    pub fn kv(&self) -> &Kv {
        &self.shared.kv
    }

    /// The shard that a guild belongs to.
    #[must_use]
    pub fn shard_for_guild(&self, guild: GuildId) -> ShardId {
        shard_for_guild(guild, self.shared.total)
    }

    /// The health of all shards, as the cluster knows it.
    #[must_use]
    pub fn system_health(&self) -> Option<SystemHealth> {
        self.shared.states.borrow().health()
    }

    /// Says how many guilds and members this shard sees, for a bot that counts for itself. The next report of the
    /// shard's health carries it.
    pub fn update_shard_health(&self, totals: GuildTotals) {
        *self.shared.totals.lock().unwrap_or_else(PoisonError::into_inner) = Some(totals);
    }
}
