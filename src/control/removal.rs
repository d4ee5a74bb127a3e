//! Taking a node out of the cluster for good: out of Raft's members, and out of the state.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::NodeId;
use crate::raft::{Handle, Members};
use crate::state::{Command, Node, Outcome, Presence, Refusal, State};

use super::{
    proposer::Proposer,
    wish::{Fulfilled, WishRefusal},
};

/// With fewer voters left than so, if as many are wanted, a learner votes from the same change on.
const VOTERS_MIN: usize = 3;

/// What a removal is judged by.
pub(super) struct Sight<'a> {
    pub(super) members: &'a Members,
    pub(super) nodes: &'a BTreeMap<NodeId, Node>,
    /// How far each member's log agrees with the leader's.
    pub(super) matched: &'a BTreeMap<NodeId, u64>,
    /// The leader's last entry.
    pub(super) last: u64,
    /// How many are to vote.
    pub(super) wanted: usize,
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

    /// Who votes when `node` no longer does. Where few would be left, or only such as leave too, a learner takes its place
    /// in the same change: where many leave one after another, the last voter must not be one of them. It has the last
    /// entry already, which shows that it is there.
    fn voters_without(&self, node: NodeId) -> BTreeSet<NodeId> {
        let mut voters = self.members.voters.clone();
        if !voters.remove(&node) {
            return voters;
        }
        let few = voters.len() < self.wanted.min(VOTERS_MIN);
        if few || !voters.iter().any(|id| self.stays(*id)) {
            let has_all = |id: &&NodeId| self.matched.get(*id).is_some_and(|at| *at >= self.last);
            let learners = self.members.learners.iter().filter(|id| self.stays(**id));
            voters.extend(learners.filter(has_all).min());
        }
        voters
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
        if self.members.changing.is_some() {
            return Err(WishRefusal::Failed("another change is under way".to_owned()));
        }
        let voters = self.voters_without(node);
        let present = |id: &&NodeId| {
            self.nodes.get(*id).is_some_and(|node| node.presence == Presence::Present)
        };
        let living = voters.iter().filter(present).count();
        let needed = voters.len() / 2 + 1;
        if living < needed {
            return Err(WishRefusal::NoQuorum { living, needed });
        }
        let votes = self.members.voters.contains(&node);
        let some = voters.iter().any(|id| self.stays(*id));
        let all_go = self.nodes.keys().all(|id| *id == node || !self.stays(*id));
        if votes && !some && !all_go { Err(WishRefusal::NobodyStays) } else { Ok(()) }
    }
}

/// Removes a node that is dead.
pub(super) async fn remove(
    proposer: &Proposer,
    state: &State,
    node: NodeId,
    wanted: usize,
) -> Result<Fulfilled, WishRefusal> {
    let members = proposer.raft.members().borrow().clone();
    let matched = proposer.raft.matched().unwrap_or_default();
    let sight = sight(&members, state, &matched, wanted);
    sight.check_lost(node, state.owned_by(node).count())?;
    take_out(proposer, &sight, node).await
}

/// Removes a node that asks for it, or says whether that would be done.
pub(super) async fn leave(
    proposer: &Proposer,
    state: &State,
    (node, check): (NodeId, bool),
    wanted: usize,
) -> Result<Fulfilled, WishRefusal> {
    let members = proposer.raft.members().borrow().clone();
    let matched = proposer.raft.matched().unwrap_or_default();
    let sight = sight(&members, state, &matched, wanted);
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
    wanted: usize,
) -> Sight<'a> {
    Sight { members, nodes: state.nodes(), matched, last: state.applied().0, wanted }
}

/// The members first: what the state was not told then, the autopilot tells it.
async fn take_out(
    proposer: &Proposer,
    sight: &Sight<'_>,
    node: NodeId,
) -> Result<Fulfilled, WishRefusal> {
    if let Err(error) = leave_members(&proposer.raft, sight, node).await {
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

async fn leave_members(raft: &Handle, sight: &Sight<'_>, node: NodeId) -> Result<(), String> {
    let members = sight.members;
    let done = if members.voters.contains(&node) {
        raft.set_voters(members, sight.voters_without(node), false).await
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
        Sight { members, nodes, matched: NOBODY, last: 1, wanted: 3 }
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

    /// So many voters and two learners, of which these are being emptied; how far the learners have come; and who votes
    /// when the last of the voters does not.
    fn leaving(
        voters: u64,
        drained: &[u64],
        matched: [u64; 2],
    ) -> (Result<(), WishRefusal>, Vec<u64>) {
        let all = voters + 2;
        let nodes = (1..=all).map(|id| {
            let drain =
                if drained.contains(&id) { Drain::Stopping { wanted: false } } else { Drain::No };
            let (boot, name, presence) = (BootEpoch(1), id.to_string(), Presence::Present);
            (NodeId(id), Node { name, boot, presence, losses: 0, drain })
        });
        let (nodes, members) = (nodes.collect(), Members::of_ids(1..=voters, voters + 1..=all));
        let matched = [(NodeId(all - 1), matched[0]), (NodeId(all), matched[1])].into();
        let last = 1_000;
        let sight = Sight { members: &members, nodes: &nodes, matched: &matched, last, wanted: 3 };
        let left = sight.voters_without(NodeId(voters));
        (sight.check_leaving(NodeId(voters), 0), left.into_iter().map(|id| id.0).collect())
    }

    #[test]
    fn a_learner_that_stays_and_has_all_votes_in_place_of_who_leaves_few_behind() {
        assert_eq!(leaving(3, &[3], [999, 1_000]), (Ok(()), vec![1, 2, 5]));
        assert_eq!(leaving(3, &[3, 5], [1_000, 1_000]), (Ok(()), vec![1, 2, 4]));
        assert_eq!(leaving(3, &[3], [999, 999]), (Ok(()), vec![1, 2]), "it may be gone");
        assert_eq!(leaving(5, &[5], [1_000, 1_000]), (Ok(()), vec![1, 2, 3, 4]));
    }

    #[test]
    fn the_last_voter_to_leave_leaves_one_behind_that_stays() {
        let nobody = (Err(WishRefusal::NobodyStays), vec![1, 2]);
        assert_eq!(leaving(3, &[1, 2, 3], [100, 100]), nobody, "not now");
        assert_eq!(leaving(3, &[1, 2, 3], [1_000, 100]), (Ok(()), vec![1, 2, 4]));
        let of_five = leaving(5, &[1, 2, 3, 4, 5], [1_000, 100]);
        assert_eq!(of_five, (Ok(()), vec![1, 2, 3, 4, 6]));
        // Nobody stays at all: the last one says so.
        assert_eq!(leaving(3, &[1, 2, 3, 4, 5], [1_000, 1_000]), (Ok(()), vec![1, 2]));
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
