//! What a member stands on: Raft, and the threads that it turns on. Shown from the moment on at which there is one, since a
//! disk may hang before the node takes part.

use super::{rows::millis, ticks::Ticks};
use crate::http::View;
use crate::model::NodeId;
use crate::raft::{Handle, Leadership};

#[derive(Clone, Debug)]
pub(super) struct Core {
    pub(super) raft: Handle,
    pub(super) ticks: Ticks,
}

impl Core {
    /// How the disk and the loops are, in an otherwise empty view.
    pub(super) fn pulse(&self) -> View {
        View {
            store_failure: self.raft.failure().map(|failure| failure.to_string()),
            write_under_way_ms: self.raft.write_under_way().map(millis),
            silent_ms: millis(self.ticks.silent()),
            ..View::default()
        }
    }

    /// The last leader that is known.
    pub(super) fn leader(&self) -> Option<NodeId> {
        match *self.raft.leadership().borrow() {
            Leadership::Leading { .. } => Some(self.raft.id()),
            Leadership::Following { leader } => leader,
        }
    }

    pub(super) fn leader_name(&self) -> Option<String> {
        let (leader, states) = (self.leader()?, self.raft.states());
        let state = states.borrow();
        let known = state.nodes().get(&leader);
        Some(known.map_or_else(|| leader.to_string(), |node| node.name.clone()))
    }
}
