//! What this node must do, seen from the replicated state. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Epoch, NodeId, ShardId};
use crate::state::State;

/// A step towards running exactly the shards that this node owns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    /// Run a shard under this epoch.
    Start(ShardId, Epoch),
    /// Stop a shard that belongs to somebody else, is to be handed off, or is no more.
    Stop(ShardId),
    /// Give a shard up that does not run and is to be handed off.
    Release(ShardId, Epoch),
}

/// What this node does at present.
#[derive(Debug, Default)]
pub(crate) struct Doing {
    /// Shards that run, and the epochs under which they do.
    pub(crate) running: BTreeMap<ShardId, Epoch>,
    /// Shards that have stopped and are being given up, with the epochs under which they ran.
    pub(crate) releasing: BTreeMap<ShardId, Epoch>,
    /// Shards that met a fatal close code and would meet it again.
    pub(crate) resting: BTreeSet<ShardId>,
    /// Whether the node has the right to run shards.
    pub(crate) may_run: bool,
}

/// The actions that bring what is being done in line with the state. A shard whose epoch has changed is stopped first
/// and started by a later decision, once it has ended. Without the right to run shards none is started; those that run
/// end by their fences.
pub(crate) fn decide(state: &State, me: NodeId, doing: &Doing) -> Vec<Action> {
    let Doing { running, releasing, resting, may_run } = doing;
    let owned: BTreeMap<ShardId, (Epoch, bool)> = state
        .owned_by(me)
        .filter_map(|(id, shard)| Some((id, (shard.epoch()?, shard.handoff().is_some()))))
        .collect();
    let stays = |shard, epoch| owned.get(shard) == Some(&(epoch, false));
    let stops = running.iter().filter(|(shard, epoch)| !stays(shard, **epoch));
    let stops = stops.map(|(shard, _)| Action::Stop(*shard));
    let idle = owned.iter().filter(|(shard, (epoch, _))| {
        !running.contains_key(shard) && releasing.get(shard) != Some(epoch)
    });
    let begins = idle.filter_map(|(shard, (epoch, handed))| match handed {
        true => Some(Action::Release(*shard, *epoch)),
        false if *may_run && !resting.contains(shard) => Some(Action::Start(*shard, *epoch)),
        false => None,
    });
    stops.chain(begins).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{ApplicationId, BootEpoch, ClusterId, LogIndex, ShardTotal};
    use crate::placement;
    use crate::state::{Command, Facts, Move};

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

    fn doing(running: impl IntoIterator<Item = (u32, Epoch)>) -> Doing {
        let running = running.into_iter().map(|(shard, epoch)| (ShardId(shard), epoch)).collect();
        Doing { running, may_run: true, ..Doing::default() }
    }

    #[test]
    fn every_owned_shard_is_started_once() {
        let (state, epoch) = state();

        let actions = decide(&state, ME, &doing([(1, epoch)]));

        let starts = [0, 2].map(|shard| Action::Start(ShardId(shard), epoch));
        assert_eq!(actions, starts);
    }

    #[test]
    fn a_shard_of_another_epoch_is_stopped_before_it_is_started() {
        let (state, epoch) = state();
        let old = Epoch { generation: 1, index: LogIndex(2) };

        let actions = decide(&state, ME, &doing([(0, old), (1, epoch), (2, epoch)]));

        assert_eq!(actions, [Action::Stop(ShardId(0))]);
    }

    #[test]
    fn a_node_that_owns_nothing_stops_everything() {
        let (state, epoch) = state();

        assert_eq!(decide(&state, NodeId(9), &doing([(2, epoch)])), [Action::Stop(ShardId(2))]);
    }

    #[test]
    fn a_resting_shard_is_not_started() {
        let (state, epoch) = state();
        let resting = BTreeSet::from([ShardId(1)]);

        let actions = decide(&state, ME, &Doing { resting, ..doing([(0, epoch)]) });

        assert_eq!(actions, [Action::Start(ShardId(2), epoch)]);
    }

    #[test]
    fn without_the_right_to_run_shards_none_is_started() {
        let (state, epoch) = state();

        assert_eq!(decide(&state, ME, &Doing { may_run: false, ..doing([(0, epoch)]) }), []);
    }

    #[test]
    fn a_shard_that_is_handed_off_is_stopped_and_then_released_once() {
        let (mut state, epoch) = state();
        let other = NodeId(2);
        let name = String::from("b");
        state.apply(LogIndex(5), Command::StartNode { node: other, name, boot: BootEpoch(1) });
        let step = Move { shard: ShardId(0), from: Some(epoch), to: other };
        state.apply(LogIndex(6), Command::HandOff(vec![step]));

        let all = [(0, epoch), (1, epoch), (2, epoch)];
        assert_eq!(decide(&state, ME, &doing(all)), [Action::Stop(ShardId(0))]);
        let rest = [(1, epoch), (2, epoch)];
        assert_eq!(decide(&state, ME, &doing(rest)), [Action::Release(ShardId(0), epoch)]);
        let releasing = BTreeMap::from([(ShardId(0), epoch)]);
        assert_eq!(decide(&state, ME, &Doing { releasing, ..doing(rest) }), []);
    }
}
