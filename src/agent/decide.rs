//! What this node must do, seen from the replicated state. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Epoch, NodeId, ShardId};
use crate::state::State;

/// A step towards running exactly the shards that this node owns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    /// Run a shard under this epoch.
    Start(ShardId, Epoch),
    /// Stop a shard that belongs to somebody else, or is no more.
    Stop(ShardId),
}

/// The actions that bring `running` (shard and the epoch under which it runs) in line with the state. A shard whose
/// epoch has changed is stopped first and started by a later decision, once it has ended. A shard in `resting` met a
/// fatal close code, would meet it again, and is not started.
pub(crate) fn decide(
    state: &State,
    me: NodeId,
    running: &BTreeMap<ShardId, Epoch>,
    resting: &BTreeSet<ShardId>,
) -> Vec<Action> {
    let owned: BTreeMap<ShardId, Epoch> = state
        .owned_by(me)
        .filter_map(|(id, shard)| shard.epoch().map(|epoch| (id, epoch)))
        .collect();
    let stops = running
        .iter()
        .filter(|(shard, epoch)| owned.get(shard) != Some(epoch))
        .map(|(shard, _)| Action::Stop(*shard));
    let starts = owned
        .iter()
        .filter(|(shard, _)| !running.contains_key(shard))
        .filter(|(shard, _)| !resting.contains(shard))
        .map(|(shard, epoch)| Action::Start(*shard, *epoch));
    stops.chain(starts).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{ApplicationId, BootEpoch, ClusterId, LogIndex, ShardTotal};
    use crate::placement;
    use crate::state::{Command, Facts};

    const ME: NodeId = NodeId(1);

    fn state() -> (State, Epoch) {
        let total = ShardTotal::new(3).unwrap();
        let mut state = State::default();
        let boot = BootEpoch(1);
        let facts = Facts { application: ApplicationId(1), total, intents: 0 };
        state.apply(LogIndex(1), Command::Form { cluster: ClusterId(Uuid::from_u128(1)) });
        state.apply(LogIndex(2), Command::StartNode { node: ME, name: "a".into(), boot });
        state.apply(LogIndex(3), Command::FixFacts(facts));
        let moves = placement::assign(&state);
        state.apply(LogIndex(4), Command::Assign(moves));
        (state, Epoch { generation: 1, index: LogIndex(4) })
    }

    #[test]
    fn every_owned_shard_is_started_once() {
        let (state, epoch) = state();
        let running = BTreeMap::from([(ShardId(1), epoch)]);

        let actions = decide(&state, ME, &running, &BTreeSet::new());

        let starts = [0, 2].map(|shard| Action::Start(ShardId(shard), epoch));
        assert_eq!(actions, starts);
    }

    #[test]
    fn a_shard_of_another_epoch_is_stopped_before_it_is_started() {
        let (state, epoch) = state();
        let old = Epoch { generation: 1, index: LogIndex(2) };
        let running = BTreeMap::from([(ShardId(0), old), (ShardId(1), epoch), (ShardId(2), epoch)]);

        assert_eq!(decide(&state, ME, &running, &BTreeSet::new()), [Action::Stop(ShardId(0))]);
    }

    #[test]
    fn a_node_that_owns_nothing_stops_everything() {
        let (state, epoch) = state();

        let actions =
            decide(&state, NodeId(9), &BTreeMap::from([(ShardId(2), epoch)]), &BTreeSet::new());

        assert_eq!(actions, [Action::Stop(ShardId(2))]);
    }

    #[test]
    fn a_resting_shard_is_not_started() {
        let (state, epoch) = state();
        let running = BTreeMap::from([(ShardId(0), epoch)]);

        let actions = decide(&state, ME, &running, &BTreeSet::from([ShardId(1)]));

        assert_eq!(actions, [Action::Start(ShardId(2), epoch)]);
    }
}
