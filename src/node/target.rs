//! How many shards a node should run: no limit, but it shows where a node is beyond it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::http::{Excess, Target};
use crate::model::NodeId;
use crate::placement::over_target;
use crate::raft::Handle;
use crate::state::State;

/// The target, and who is beyond it.
pub(super) fn target(state: &State, soft_target: u32) -> Target {
    let over = over_target(state, soft_target).into_iter().map(|(id, shards)| {
        let node = state.nodes().get(&id).map_or_else(|| id.to_string(), |node| node.name.clone());
        Excess { node, shards }
    });
    Target { shards_per_node: soft_target, over: over.collect() }
}

/// Tells in the log when this node comes to be beyond its target, and when it is within again; and shows by how much in
/// the metrics.
pub(super) async fn watch(
    raft: Handle,
    me: NodeId,
    soft_target: Option<u32>,
    stop: CancellationToken,
) {
    let Some(soft_target) = soft_target else { return };
    let mut states = raft.states();
    let watched = async {
        let mut told = Told::default();
        loop {
            let state = Arc::clone(&states.borrow_and_update());
            told.look(&state, me, soft_target);
            if states.changed().await.is_err() {
                return;
            }
        }
    };
    stop.run_until_cancelled(watched).await;
}

/// What the log says.
#[derive(Debug, Default)]
struct Told {
    over: bool,
}

impl Told {
    /// Whether there was something to tell.
    fn look(&mut self, state: &State, me: NodeId, soft_target: u32) -> bool {
        let over = over_target(state, soft_target);
        let shards = over.into_iter().find(|(node, _)| *node == me).map(|(_, shards)| shards);
        let excess = shards.map_or(0.0, |shards| shards as f64 - f64::from(soft_target));
        metrics::gauge!("apolo_shards_over_target").set(excess);
        let over = shards.is_some();
        if std::mem::replace(&mut self.over, over) == over {
            return false;
        }
        match shards {
            Some(shards) => warn!(
                shards,
                soft_target,
                "this node runs more shards than SHARDS_PER_POD says, since none may stay down; start more nodes"
            ),
            None => info!(soft_target, "this node is within SHARDS_PER_POD again"),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{ApplicationId, BootEpoch, ClusterId, LogIndex, ShardTotal};
    use crate::state::{Command, Facts, Move};

    const ME: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);

    /// Two nodes, of which this one owns the first `mine` of four shards.
    fn state(mine: u32) -> State {
        let mut state = State::default();
        let total = ShardTotal::new(4).unwrap();
        let facts = Facts { application: ApplicationId(1), total, intents: 0 };
        let start = |node, name: &str| Command::StartNode {
            node,
            name: name.to_owned(),
            boot: BootEpoch(1),
        };
        let to = |shard| if shard < mine { ME } else { OTHER };
        let moves = total.shards().map(|shard| Move { shard, from: None, to: to(shard.0) });
        let commands = [
            Command::Form { cluster: ClusterId(Uuid::from_u128(1)) },
            start(ME, "node-1"),
            start(OTHER, "node-2"),
            Command::FixFacts(facts),
            Command::Assign(moves.collect()),
        ];
        for (index, command) in (1..).zip(commands) {
            state.apply(LogIndex(index), command);
        }
        state
    }

    #[test]
    fn who_is_beyond_the_target_is_named() {
        let over = vec![Excess { node: "node-1".to_owned(), shards: 3 }];

        assert_eq!(target(&state(3), 2), Target { shards_per_node: 2, over });
        assert_eq!(target(&state(2), 2).over, []);
    }

    #[test]
    fn the_log_says_it_once_when_it_begins_and_once_when_it_ends() {
        let mut told = Told::default();
        let looks = [2, 3, 4, 3, 1, 2].map(|mine| told.look(&state(mine), ME, 2));

        assert_eq!(looks, [false, true, false, false, true, false]);
    }
}
