//! The planner: who should own which shard.
//!
//! A pure function of the state. The leader runs it and proposes what it returns; replicas never do, so it can change
//! without splitting them. It promises that every shard without an owner gets one while a node lives, and that nodes
//! are filled evenly; it moves no shard that has an owner.

use std::collections::BTreeMap;

use crate::model::NodeId;
use crate::state::{Move, State};

/// The moves that give every orphan an owner: each to the node that has the fewest shards by then, the lower id first.
#[must_use]
pub fn plan(state: &State) -> Vec<Move> {
    let mut load: BTreeMap<NodeId, usize> = state.nodes().keys().map(|node| (*node, 0)).collect();
    for shard in state.shards().values() {
        if let Some(held) = shard.assignment()
            && let Some(count) = load.get_mut(&held.node)
        {
            *count += 1;
        }
    }
    let orphans = state.shards().iter().filter(|(_, shard)| shard.assignment().is_none());
    let mut moves = Vec::new();
    for (id, shard) in orphans {
        let Some((to, count)) = load.iter_mut().min_by_key(|(node, count)| (**count, **node))
        else {
            break;
        };
        *count += 1;
        moves.push(Move { shard: *id, from: shard.epoch(), to: *to });
    }
    moves
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{ApplicationId, BootEpoch, ClusterId, LogIndex, ShardTotal};
    use crate::state::{Command, Facts, Outcome};

    fn state(nodes: u64, shards: u32) -> State {
        let total = ShardTotal::new(shards).unwrap();
        let mut commands = vec![Command::Form { cluster: ClusterId(Uuid::from_u128(1)) }];
        commands.extend((1..=nodes).map(|node| Command::StartNode {
            node: NodeId(node),
            name: format!("apolo-{node}"),
            boot: BootEpoch(1),
        }));
        let facts = Facts { application: ApplicationId(1), total, intents: 0 };
        commands.push(Command::FixFacts(facts));
        let mut state = State::default();
        for (index, command) in (1..).zip(commands) {
            assert_eq!(state.apply(LogIndex(index), command), Outcome::Applied);
        }
        state
    }

    #[test]
    fn one_node_gets_every_shard() {
        let plan = plan(&state(1, 16));

        assert_eq!(plan.len(), 16);
        assert!(plan.iter().all(|step| step.to == NodeId(1) && step.from.is_none()));
    }

    #[test]
    fn nodes_are_filled_evenly() {
        let plan = plan(&state(3, 16));

        let count = |node| plan.iter().filter(|step| step.to == NodeId(node)).count();
        assert_eq!([count(1), count(2), count(3)], [6, 5, 5]);
    }

    #[test]
    fn an_owned_shard_stays_where_it_is() {
        let mut state = state(1, 4);
        let moves = plan(&state);
        state.apply(LogIndex(99), Command::Assign(moves));

        assert_eq!(plan(&state), []);
    }

    #[test]
    fn without_a_node_nothing_is_planned() {
        assert_eq!(plan(&state(0, 4)), []);
    }
}
