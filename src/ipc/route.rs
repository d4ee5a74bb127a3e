//! Where a message goes. Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{error::IpcError, message::Receiver};
use crate::model::{BootEpoch, Epoch, GuildId, NodeId, ShardId, shard_for_guild};
use crate::state::{Presence, State};

/// Whom a request is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// A shard, wherever it runs.
    Shard(ShardId),
    /// The shard that a guild belongs to.
    Guild(GuildId),
    /// A node.
    Node(NodeId),
}

/// Whom a broadcast is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Everyone {
    /// Every shard.
    Shards,
    /// Every node that is present.
    Nodes,
}

/// Where a receiver is at present.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) node: NodeId,
    /// Which start of it.
    pub(super) boot: BootEpoch,
    pub(super) tenure: Tenure,
}

/// What ends when a receiver is lost or moves: a message that was on its way may have met either.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum Tenure {
    Shard(Epoch),
    Node(BootEpoch),
}

impl Target {
    /// The receiver.
    pub(super) fn receiver(self, state: &State) -> Result<Receiver, IpcError> {
        match self {
            Self::Shard(shard) => Ok(Receiver::Shard(shard)),
            Self::Node(node) => Ok(Receiver::Node(node)),
            Self::Guild(guild) => {
                let facts = state.facts().ok_or(IpcError::Unsharded)?;
                Ok(Receiver::Shard(shard_for_guild(guild, facts.total)))
            }
        }
    }
}

impl Everyone {
    /// The receivers as of now.
    pub(super) fn receivers(self, state: &State) -> Result<BTreeSet<Receiver>, IpcError> {
        Ok(match self {
            Self::Shards if state.facts().is_none() => return Err(IpcError::Unsharded),
            Self::Shards => state.shards().keys().copied().map(Receiver::Shard).collect(),
            Self::Nodes => {
                let present = state.nodes().iter();
                let present = present.filter(|(_, node)| node.presence == Presence::Present);
                present.map(|(id, _)| Receiver::Node(*id)).collect()
            }
        })
    }
}

/// Where the receiver is; `None` where it runs nowhere at present.
pub(super) fn place(state: &State, receiver: Receiver) -> Result<Option<Place>, IpcError> {
    match receiver {
        Receiver::Shard(_) if state.facts().is_none() => Err(IpcError::Unsharded),
        Receiver::Shard(shard) => {
            let known = state.shards().get(&shard).ok_or(IpcError::UnknownShard(shard))?;
            Ok(known.assignment().and_then(|held| {
                let boot = state.nodes().get(&held.node)?.boot;
                Some(Place { node: held.node, boot, tenure: Tenure::Shard(held.epoch) })
            }))
        }
        Receiver::Node(node) => {
            let known = state.nodes().get(&node).ok_or(IpcError::UnknownNode(node))?;
            let present = known.presence == Presence::Present;
            let boot = known.boot;
            Ok(present.then_some(Place { node, boot, tenure: Tenure::Node(boot) }))
        }
    }
}

/// Whether the start of the node that a receiver was on is still there to be asked, whoever owns the receiver now.
pub(super) fn remains(state: &State, place: Place) -> bool {
    state
        .nodes()
        .get(&place.node)
        .is_some_and(|node| node.presence == Presence::Present && node.boot == place.boot)
}
