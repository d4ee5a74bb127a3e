//! Taking a node out of the cluster for good: out of Raft's members, and out of the state.

use std::collections::BTreeMap;

use crate::model::NodeId;
use crate::raft::{Handle, Members};
use crate::state::{Command, Node, Outcome, Presence, Refusal, State};

use super::{
    proposer::Proposer,
    wish::{Fulfilled, WishRefusal},
};

/// A learner keeps up if it lacks no more entries than a second brings.
const LAG_MAX: u64 = 100;

/// What a removal is judged by.
pub(super) struct Sight<'a> {
    pub(super) members: &'a Members,
    pub(super) nodes: &'a BTreeMap<NodeId, Node>,
    /// How far each member's log agrees with the leader's.
    pub(super) matched: &'a BTreeMap<NodeId, u64>,
    /// The leader's last entry.
    pub(super) last: u64,
}

impl Sight<'_> {
    /// Whether `node`, which owns so many shards, may be removed because it is dead.
    pub(super) fn check_lost(&self, node: NodeId, shards: usize) -> Result<(), WishRefusal> {
        match self.nodes.get(&node) {
            None if !self.members.contains(node) => return Err(WishRefusal::Unknown),
            Some(known) if known.presence == Presence::Present => return Err(WishRefusal::Present),
            Some(_) | None => {}
        }
        self.check_rest(node, shards)
    }

    /// Whether `node`, which is there and owns so many shards, may leave.
    pub(super) fn check_leaving(&self, node: NodeId, shards: usize) -> Result<(), WishRefusal> {
        if self.members.contains(node) { self.check_rest(node, shards) } else { Ok(()) }
    }

    /// A learner that votes from the same change on, in place of `node`: where many leave one after another, the last
    /// voter must not be one of them.
    fn replacement(&self, node: NodeId) -> Option<NodeId> {
        let keeps_up = |id: &&NodeId| {
            let matched = self.matched.get(*id).copied().unwrap_or(0);
            self.last.saturating_sub(matched) <= LAG_MAX
        };
        let learners = self.members.learners.iter().filter(|id| **id != node && self.stays(**id));
        learners.filter(keeps_up).max_by_key(|id| self.matched.get(id)).copied()
    }

    fn stays(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(Node::takes_shards)
    }

    /// Whether those who stay are a cluster without `node`.
    fn check_rest(&self, node: NodeId, shards: usize) -> Result<(), WishRefusal> {
        if self.members.all().all(|member| member == node) {
            return Err(WishRefusal::Last);
        }
        if shards > 0 {
            return Err(WishRefusal::StillOwns { shards });
        }
        let voters: Vec<_> = self.members.voters.iter().filter(|voter| **voter != node).collect();
        let present = |id: &&&NodeId| {
            self.nodes.get(id).is_some_and(|node| node.presence == Presence::Present)
        };
        let living = voters.iter().filter(present).count();
        let needed = voters.len() / 2 + 1;
        if living < needed {
            return Err(WishRefusal::NoQuorum { living, needed });
        }
        let votes = self.members.voters.contains(&node);
        let some = voters.iter().any(|id| self.stays(**id)) || self.replacement(node).is_some();
        let all_go = self.nodes.keys().all(|id| *id == node || !self.stays(*id));
        if votes && !some && !all_go { Err(WishRefusal::NobodyStays) } else { Ok(()) }
    }
}

/// Removes a node that is dead.
pub(super) async fn remove(
    proposer: &Proposer,
    state: &State,
    node: NodeId,
) -> Result<Fulfilled, WishRefusal> {
    let members = proposer.raft.members().borrow().clone();
    let matched = proposer.raft.matched().unwrap_or_default();
    let sight = sight(&members, state, &matched);
    sight.check_lost(node, state.owned_by(node).count())?;
    take_out(proposer, &sight, node).await
}

/// Removes a node that asks for it, or says whether that would be done.
pub(super) async fn leave(
    proposer: &Proposer,
    state: &State,
    node: NodeId,
    check: bool,
) -> Result<Fulfilled, WishRefusal> {
    let members = proposer.raft.members().borrow().clone();
    let matched = proposer.raft.matched().unwrap_or_default();
    let sight = sight(&members, state, &matched);
    if check {
        // Its shards are handed off first.
        return sight.check_leaving(node, 0).map(|()| Fulfilled::MayLeave(node));
    }
    sight.check_leaving(node, state.owned_by(node).count())?;
    if node == proposer.raft.id() {
        return Err(WishRefusal::Leads);
    }
    take_out(proposer, &sight, node).await
}

fn sight<'a>(
    members: &'a Members,
    state: &'a State,
    matched: &'a BTreeMap<NodeId, u64>,
) -> Sight<'a> {
    Sight { members, nodes: state.nodes(), matched, last: state.applied().0 }
}

/// The members first: what is left half done is seen in the state, and can be asked for again.
async fn take_out(
    proposer: &Proposer,
    sight: &Sight<'_>,
    node: NodeId,
) -> Result<Fulfilled, WishRefusal> {
    let (members, replacement) = (sight.members, sight.replacement(node));
    if let Err(error) = leave_members(&proposer.raft, members, node, replacement).await {
        return Err(WishRefusal::Failed(error));
    }
    match proposer.propose(Command::RemoveNode { node }).await {
        Ok(Outcome::Applied) => Ok(Fulfilled::Removed(node)),
        Ok(Outcome::Refused(Refusal::StillOwns { shards })) => {
            Err(WishRefusal::StillOwns { shards })
        }
        Ok(outcome) => Err(WishRefusal::Failed(format!("the state answered {outcome:?}"))),
        Err(()) => Err(WishRefusal::Failed("the others do not follow".to_owned())),
    }
}

async fn leave_members(
    raft: &Handle,
    members: &Members,
    node: NodeId,
    replacement: Option<NodeId>,
) -> Result<(), String> {
    let done = if members.voters.contains(&node) {
        let mut voters = members.voters.clone();
        voters.remove(&node);
        voters.extend(replacement);
        raft.set_voters(members, voters, false).await
    } else if members.learners.contains(&node) {
        raft.remove_learner(members, node).await
    } else {
        Ok(())
    };
    done.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BootEpoch;
    use crate::state::Drain;

    fn seen<'a>(members: &'a Members, nodes: &'a BTreeMap<NodeId, Node>) -> Sight<'a> {
        const NOBODY: &BTreeMap<NodeId, u64> = &BTreeMap::new();
        Sight { members, nodes, matched: NOBODY, last: 0 }
    }

    /// Some voters and a learner behind them, of which these are lost.
    fn check(voters: u64, lost: &[u64], node: u64, shards: usize) -> Result<(), WishRefusal> {
        let presence = |id| if lost.contains(&id) { Presence::Lost } else { Presence::Present };
        let known = |id| Node {
            name: format!("node-{id}"),
            boot: BootEpoch(1),
            presence: presence(id),
            losses: 0,
            drain: Drain::No,
        };
        let nodes = (1..=voters + 1).map(|id| (NodeId(id), known(id))).collect();
        let members = Members::of_ids(1..=voters, [voters + 1]);
        seen(&members, &nodes).check_lost(NodeId(node), shards)
    }

    #[test]
    fn a_lost_voter_and_a_lost_learner_may_be_removed() {
        assert_eq!(check(3, &[2], 2, 0), Ok(()));
        assert_eq!(check(3, &[4], 4, 0), Ok(()));
    }

    #[test]
    fn who_is_present_unknown_or_owns_shards_may_not() {
        assert_eq!(check(3, &[], 2, 0), Err(WishRefusal::Present));
        assert_eq!(check(3, &[], 9, 0), Err(WishRefusal::Unknown));
        assert_eq!(check(3, &[2], 2, 5), Err(WishRefusal::StillOwns { shards: 5 }));
    }

    #[test]
    fn never_are_fewer_living_voters_left_than_a_quorum() {
        assert_eq!(check(5, &[2, 3], 2, 0), Ok(()));
        assert_eq!(check(4, &[2, 3, 4], 2, 0), Err(WishRefusal::NoQuorum { living: 1, needed: 2 }));
    }

    #[test]
    fn who_leaves_leaves_a_quorum_of_the_living_behind() {
        let leave = |lost: &[u64]| {
            let nodes = (1..=3).map(|id| {
                let presence = if lost.contains(&id) { Presence::Lost } else { Presence::Present };
                let (boot, name) = (BootEpoch(1), id.to_string());
                (NodeId(id), Node { name, boot, presence, losses: 0, drain: Drain::Wanted })
            });
            let (nodes, members) = (nodes.collect(), Members::of_ids(1..=3, []));
            seen(&members, &nodes).check_leaving(NodeId(3), 0)
        };

        assert_eq!(leave(&[]), Ok(()));
        assert_eq!(leave(&[2]), Err(WishRefusal::NoQuorum { living: 1, needed: 2 }));
    }

    /// Three voters and two learners, of which these are being emptied, and how far they have come.
    fn leaving(drained: &[u64], matched: [u64; 2]) -> (Result<(), WishRefusal>, Option<NodeId>) {
        let nodes = (1..=5).map(|id| {
            let drain =
                if drained.contains(&id) { Drain::Stopping { wanted: false } } else { Drain::No };
            let (boot, name, presence) = (BootEpoch(1), id.to_string(), Presence::Present);
            (NodeId(id), Node { name, boot, presence, losses: 0, drain })
        });
        let (nodes, members) = (nodes.collect(), Members::of_ids(1..=3, 4..=5));
        let matched = BTreeMap::from([(NodeId(4), matched[0]), (NodeId(5), matched[1])]);
        let sight = Sight { members: &members, nodes: &nodes, matched: &matched, last: 1_000 };
        (sight.check_leaving(NodeId(3), 0), sight.replacement(NodeId(3)))
    }

    #[test]
    fn a_learner_that_stays_and_keeps_up_votes_in_place_of_who_leaves() {
        assert_eq!(leaving(&[3], [950, 1_000]), (Ok(()), Some(NodeId(5))));
        assert_eq!(leaving(&[3, 5], [950, 1_000]), (Ok(()), Some(NodeId(4))));
        assert_eq!(leaving(&[3, 5], [100, 1_000]), (Ok(()), None));
    }

    #[test]
    fn the_last_voter_that_stays_is_not_waited_for_in_vain() {
        // All voters leave, and no learner can vote yet: not now.
        assert_eq!(leaving(&[1, 2, 3], [100, 100]), (Err(WishRefusal::NobodyStays), None));
        assert_eq!(leaving(&[1, 2, 3], [1_000, 100]), (Ok(()), Some(NodeId(4))));
        // Nobody stays at all: the last one says so.
        assert_eq!(leaving(&[1, 2, 3, 4, 5], [1_000, 1_000]), (Ok(()), None));
    }

    #[test]
    fn the_last_member_stays() {
        let nodes = BTreeMap::new();
        let members = Members::of_ids([1], []);
        let sight = seen(&members, &nodes);

        assert_eq!(sight.check_lost(NodeId(1), 0), Err(WishRefusal::Last));
        assert_eq!(sight.check_leaving(NodeId(1), 0), Err(WishRefusal::Last));
    }
}
