//! What `ipc` asks of this node.

use crate::agent::Board;
use crate::ipc::Residents;
use crate::lease::Right;
use crate::model::{Epoch, NodeId, ShardId};
use crate::raft::Handle;

/// The shards that run here.
pub(super) struct Here {
    pub(super) me: NodeId,
    pub(super) board: Board,
    pub(super) right: Right,
    pub(super) raft: Handle,
}

impl Residents for Here {
    fn runs(&self, shard: ShardId) -> Option<Epoch> {
        let epoch = self.board.epoch(shard)?;
        let states = self.raft.states();
        let held = states.borrow().shards().get(&shard)?.assignment()?;
        ((held.node, held.epoch) == (self.me, epoch) && self.right.holds()).then_some(epoch)
    }

    fn has_quorum(&self) -> bool {
        self.right.holds()
    }
}
