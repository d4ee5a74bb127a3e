//! Handing the leadership over while shards run: the leader says so in the log first, and stays silent from then on.
//!
//! A successor that comes by election takes the dead leader's shards early, since the voters have waited for its right
//! to end. Nobody waits in a transfer. So the leader commits that it yields (`YieldLead`), and its successor, who has
//! applied that, waits a whole lease for it as for everyone.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::model::NodeId;
use crate::raft::{Handle, Leadership, Members};
use crate::state::{Command, Drain, Node, Outcome, Presence, State};

use super::{
    desk::Desk,
    proposer::Proposer,
    wish::{Fulfilled, WishRefusal},
};

/// A node that lacks more entries than a second brings is not asked to lead.
const LAG_MAX: u64 = 100;

/// How long it may take to catch up with the last of them.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(1);

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A request that is not taken up by then may be lost.
const TAKEN_WITHIN: Duration = Duration::from_millis(300);

/// So often is one voter asked. The leader proposes nothing more by then, so another one is asked next.
const ASKED_MAX: usize = 2;

/// Leases last longer than all of this: then the others elect somebody by themselves.
const TRANSFERS_MAX: usize = 4;

/// Of whom the leadership may go to.
pub(super) struct Choice<'a> {
    pub(super) me: NodeId,
    pub(super) members: &'a Members,
    pub(super) nodes: &'a BTreeMap<NodeId, Node>,
    pub(super) matched: &'a BTreeMap<NodeId, u64>,
    /// The leader's last entry.
    pub(super) last: u64,
}

impl Choice<'_> {
    /// Who is to lead: the one that is wished for, or the voter that has caught up furthest.
    pub(super) fn choose(&self, wished: Option<NodeId>) -> Result<NodeId, WishRefusal> {
        if let Some(wished) = wished {
            return self.check(wished).map(|()| wished);
        }
        let fit = self.members.voters.iter().filter(|voter| self.check(**voter).is_ok());
        // One that is being emptied will soon hand it on.
        let stays =
            |voter: &NodeId| self.nodes.get(voter).is_some_and(|node| node.drain == Drain::No);
        let best = fit.max_by_key(|voter| (stays(voter), self.matched.get(voter)));
        best.copied().ok_or(WishRefusal::NobodyElse)
    }

    fn check(&self, node: NodeId) -> Result<(), WishRefusal> {
        if node == self.me {
            return Err(WishRefusal::LeadsAlready);
        }
        let known = self.nodes.get(&node).ok_or(WishRefusal::Unknown)?;
        if !self.members.voters.contains(&node) {
            return Err(WishRefusal::NotVoter);
        }
        if known.presence == Presence::Lost {
            return Err(WishRefusal::Lost);
        }
        let entries = self.last.saturating_sub(self.matched.get(&node).copied().unwrap_or(0));
        if entries > LAG_MAX { Err(WishRefusal::Behind { entries }) } else { Ok(()) }
    }
}

/// Hands the leadership of the proposer's term over, and returns when another node leads.
pub(super) async fn transfer(
    desk: &Desk,
    proposer: &Proposer,
    state: &State,
    wished: Option<NodeId>,
) -> Result<Fulfilled, WishRefusal> {
    let raft = &proposer.raft;
    let to = choose(raft, state, wished)?;
    let failed = |why: &str| WishRefusal::Failed(why.to_owned());
    let (node, term) = (raft.id(), proposer.term);
    match proposer.propose(Command::YieldLead { node, term }).await {
        Ok(Outcome::Applied) => {}
        Ok(_) => return Err(failed("this node has only begun to lead")),
        Err(()) => return Err(failed("the others do not follow")),
    }
    // Whoever gives up until here goes on leading, and says so in the log again.
    if !caught_up(raft, to).await {
        return Err(failed("the node does not keep up"));
    }
    if let Some(term) = desk.term().as_mut() {
        term.tenure.begin_transfer();
    }
    hand_over(raft, state, to).await
}

fn choose(raft: &Handle, state: &State, wished: Option<NodeId>) -> Result<NodeId, WishRefusal> {
    let matched = raft.matched().unwrap_or_default();
    let members = raft.members().borrow().clone();
    let last = state.applied().0;
    let nodes = state.nodes();
    Choice { me: raft.id(), members: &members, nodes, matched: &matched, last }.choose(wished)
}

async fn caught_up(raft: &Handle, to: NodeId) -> bool {
    let last = raft.states().borrow().applied().0;
    let has = || raft.matched().is_some_and(|matched| matched.get(&to) >= Some(&last));
    let deadline = Instant::now() + CATCH_UP_WITHIN;
    while !has() {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(LOOK_EVERY).await;
    }
    true
}

async fn hand_over(raft: &Handle, state: &State, to: NodeId) -> Result<Fulfilled, WishRefusal> {
    let mut leadership = raft.leadership();
    let mut next = to;
    for asked in 1..=TRANSFERS_MAX {
        info!(to = %next, "handing the leadership over");
        if let Err(error) = raft.transfer_leadership(next).await {
            return Err(WishRefusal::Failed(error.to_string()));
        }
        let taken =
            leadership.wait_for(|seen| matches!(seen, Leadership::Following { leader: Some(_) }));
        if let Ok(Ok(seen)) = timeout(TAKEN_WITHIN, taken).await
            && let Leadership::Following { leader: Some(leader) } = *seen
        {
            info!(%leader, "the leadership is handed over");
            return match leader {
                leader if leader == to => Ok(Fulfilled::Leads(leader)),
                leader => Err(WishRefusal::Failed(format!("node {leader} took it over"))),
            };
        }
        warn!(to = %next, "the leadership was not taken up");
        if asked >= ASKED_MAX {
            next = choose(raft, state, None).unwrap_or(next);
        }
    }
    Err(WishRefusal::Failed("nobody took it up".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BootEpoch;
    use crate::state::Drain;

    struct Rig {
        members: Members,
        nodes: BTreeMap<NodeId, Node>,
        matched: BTreeMap<NodeId, u64>,
    }

    /// Node 1 leads; 2 and 3 vote, 4 learns.
    fn rig() -> Rig {
        let node = |id: u64| Node {
            name: format!("node-{id}"),
            boot: BootEpoch(1),
            presence: Presence::Present,
            losses: 0,
            drain: Drain::No,
        };
        let ids = 1..=4;
        Rig {
            members: Members::of_ids(1..=3, [4]),
            nodes: ids.clone().map(|id| (NodeId(id), node(id))).collect(),
            matched: ids.map(|id| (NodeId(id), 1_000)).collect(),
        }
    }

    impl Rig {
        fn choose(&self, wished: Option<u64>) -> Result<NodeId, WishRefusal> {
            let Self { members, nodes, matched } = self;
            let choice = Choice { me: NodeId(1), members, nodes, matched, last: 1_000 };
            choice.choose(wished.map(NodeId))
        }
    }

    #[test]
    fn the_wished_voter_leads() {
        assert_eq!(rig().choose(Some(3)), Ok(NodeId(3)));
    }

    #[test]
    fn without_a_wish_it_is_the_voter_that_has_caught_up_furthest() {
        let mut rig = rig();
        rig.matched.insert(NodeId(3), 999);

        assert_eq!(rig.choose(None), Ok(NodeId(2)));
    }

    #[test]
    fn who_cannot_lead_is_told_why() {
        let mut rig = rig();
        rig.matched.insert(NodeId(3), 10);

        assert_eq!(rig.choose(Some(1)), Err(WishRefusal::LeadsAlready));
        assert_eq!(rig.choose(Some(3)), Err(WishRefusal::Behind { entries: 990 }));
        assert_eq!(rig.choose(Some(4)), Err(WishRefusal::NotVoter));
        assert_eq!(rig.choose(Some(5)), Err(WishRefusal::Unknown));
    }

    #[test]
    fn who_is_lost_is_never_chosen() {
        let mut rig = rig();
        for id in [2, 3] {
            rig.nodes.get_mut(&NodeId(id)).unwrap().presence = Presence::Lost;
        }

        assert_eq!(rig.choose(Some(2)), Err(WishRefusal::Lost));
        assert_eq!(rig.choose(None), Err(WishRefusal::NobodyElse));
    }
}
