//! Who leads, and whether Raft still runs, as values that can be watched.

use openraft::{
    RaftMetrics, ServerState, async_runtime::watch::WatchReceiver as _,
    type_config::alias::WatchReceiverOf,
};
use thiserror::Error;
use tokio::sync::watch;

use crate::{model::NodeId, store::WriteError};

use super::{members::Members, types::Types};

/// Who leads, as far as this node knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Leadership {
    /// This node leads, and has applied an entry of its own term: its state lacks nothing that was ever committed.
    Leading {
        /// Its term.
        term: u64,
    },
    /// Another node leads, or this one is about to.
    Following {
        /// The leader, if it is known.
        leader: Option<NodeId>,
    },
}

/// Raft does not run any more, and won't in this process. The node must end.
#[derive(Clone, Debug, Error)]
pub enum RaftFailure {
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] WriteError),
    /// openraft's core stopped by itself.
    #[error("raft stopped: {0}")]
    Core(String),
}

/// Translates openraft's metrics and the store's failure until Raft stops.
pub(super) async fn observe(
    mut metrics: WatchReceiverOf<Types, RaftMetrics<Types>>,
    mut store: watch::Receiver<Option<WriteError>>,
    leadership: watch::Sender<Leadership>,
    members: watch::Sender<Members>,
    failure: watch::Sender<Option<RaftFailure>>,
) {
    loop {
        // A guard of this watch that is held over an await blocks openraft's core.
        let (seen, belong, stopped) = {
            let metrics = metrics.borrow_watched();
            let stopped = metrics.running_state.as_ref().err().map(ToString::to_string);
            (judge(&metrics), Members::of(&metrics), stopped)
        };
        members.send_if_modified(|known| {
            let changed = *known != belong;
            *known = belong;
            changed
        });
        leadership.send_if_modified(|known| std::mem::replace(known, seen) != seen);
        let broken = store.borrow_and_update().clone().map(RaftFailure::Store);
        if let Some(why) = broken.or_else(|| stopped.map(RaftFailure::Core)) {
            failure.send_replace(Some(why));
            break;
        }
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() { break },
            changed = store.changed() => if changed.is_err() { break },
        }
    }
    leadership.send_replace(Leadership::Following { leader: None });
    let ended = RaftFailure::Core("its core has ended".to_owned());
    failure.send_if_modified(|known| {
        let first = known.is_none();
        known.get_or_insert(ended);
        first
    });
}

fn judge(metrics: &RaftMetrics<Types>) -> Leadership {
    let applied_own =
        metrics.last_applied.as_ref().is_some_and(|id| id.leader_id.term == metrics.current_term);
    if metrics.state == ServerState::Leader && applied_own {
        return Leadership::Leading { term: metrics.current_term };
    }
    let other = metrics.current_leader.filter(|leader| *leader != metrics.id);
    Leadership::Following { leader: other }
}
