//! What `ipc` asks of this node.

use std::sync::Arc;

use tokio::sync::watch;

use crate::agent::Board;
use crate::ipc::Residents;
use crate::lease::Right;
use crate::model::{Epoch, NodeId, ShardId};
use crate::state::State;

/// The shards that run here.
pub(super) struct Here {
    pub(super) me: NodeId,
    pub(super) board: Board,
    pub(super) right: Right,
    /// And not Raft's handle, which holds the port: a bot may keep what it sends messages by.
    pub(super) states: watch::Receiver<Arc<State>>,
}

impl Residents for Here {
    fn runs(&self, shard: ShardId) -> Option<Epoch> {
        let epoch = self.board.epoch(shard)?;
        let held = self.states.borrow().shards().get(&shard)?.assignment()?;
        ((held.node, held.epoch) == (self.me, epoch) && self.right.holds()).then_some(epoch)
    }

    fn has_quorum(&self) -> bool {
        self.right.holds()
    }
}
