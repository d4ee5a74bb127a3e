//! A node that stops gives its shards to the others first.

use std::time::Duration;

use tokio::time::timeout;
use tracing::{info, warn};

use crate::model::{BootEpoch, NodeId};
use crate::raft::Handle;
use crate::state::{Command, State};

/// How long the shards may take to be handed off: handlers may go on for 8 s, and then a commit comes.
const WITHIN: Duration = Duration::from_millis(9_000);

/// How often the cluster is told: the leader may be lost meanwhile, and the next one is soon known.
const ATTEMPTS_MAX: usize = 3;

/// Has the others take this node's shards, if there are others that do, and returns when it owns none. What is left
/// after [`WITHIN`] is resumed by whoever comes next.
pub(super) async fn hand_off(raft: &Handle, me: NodeId, boot: BootEpoch) {
    let mut states = raft.states();
    if !others_take_shards(&states.borrow(), me) {
        return;
    }
    for attempt in 1.. {
        match raft.propose_at_the_end(Command::StopNode { node: me, boot }).await {
            Ok(_) => break,
            Err(error) if error.is_retryable() && attempt < ATTEMPTS_MAX => {}
            Err(error) => {
                return warn!(%error, "the cluster could not be told that this node stops");
            }
        }
    }
    let shards = states.borrow().owned_by(me).count();
    info!(shards, "stopping: shards are handed off");
    let empty = states
        .wait_for(|state| state.owned_by(me).next().is_none() || !others_take_shards(state, me));
    tokio::select! {
        emptied = timeout(WITHIN, empty) => if emptied.is_err() {
            warn!("not every shard was handed off in time");
        },
        () = raft.quorum_missed() => {
            warn!("too few voters are left to hand shards off; whoever comes next resumes them");
        }
    }
}

fn others_take_shards(state: &State, me: NodeId) -> bool {
    state.nodes().iter().any(|(id, node)| *id != me && node.takes_shards())
}
