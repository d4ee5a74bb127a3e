//! Who votes, and what the cluster writes. Decided purely, one change at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::lease::Moment;
use crate::model::{Format, NodeId};
use crate::raft::Members;
use crate::state::{Drain, Node, Presence};

/// The most voters: more make every commit wait for more disks, and survive no likely fault more.
pub const VOTERS_MAX: usize = 5;

/// A learner votes once it has been there, and has kept up, for so long.
const STABLE: Duration = Duration::from_secs(5);

/// A voter that is lost is replaced after so long: a restart takes less.
const REPLACE_AFTER: Duration = Duration::from_secs(30);

/// A format is written once all have allowed it for so long: the last node of an update has then been seen to run, and
/// there is no way back. A rolling update of `deploy/kubernetes` looks at a pod for 10 s.
const SOAK: Duration = Duration::from_secs(15);

/// Fewer voters survive no loss, so a lost one of three stays: it counts again as soon as it is back.
const VOTERS_MIN: usize = 3;

/// A learner keeps up if it lacks no more entries than a second brings.
const LAG_MAX: u64 = 100;

/// What is to be changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// These are to vote, in one joint step.
    Voters(BTreeSet<NodeId>),
    /// This node, which has no vote, is gone for good.
    Forget(NodeId),
    /// Every member reads this format.
    Format(Format),
}

/// What the leader has seen of the members.
#[derive(Debug, Default)]
pub(super) struct Autopilot {
    /// Since when each node has been present and kept up.
    stable: BTreeMap<NodeId, Moment>,
    /// Since when each voter has been lost.
    lost: BTreeMap<NodeId, Moment>,
    /// A newer format than is written, and since when every member has allowed it.
    allowed: Option<(Format, Moment)>,
}

/// The members, and what the state says of them.
#[derive(Debug)]
pub(super) struct Sight<'a> {
    pub(super) me: NodeId,
    pub(super) members: &'a Members,
    pub(super) nodes: &'a BTreeMap<NodeId, Node>,
    /// How far each member's log agrees with the leader's.
    pub(super) matched: &'a BTreeMap<NodeId, u64>,
    /// The leader's last entry.
    pub(super) last: u64,
    /// How many are to vote.
    pub(super) wanted: usize,
    /// What the cluster writes.
    pub(super) format: Format,
    /// The newest format that this node lets the cluster write, and that each peer does which is connected.
    pub(super) allowed: &'a BTreeMap<NodeId, Format>,
}

impl Autopilot {
    /// The change that is due at `now`, if any. A voter is made alone, or for another; several are only let go together.
    pub(super) fn decide(&mut self, now: Moment, sight: &Sight<'_>) -> Option<Change> {
        self.look(now, sight);
        if let Some([before, after]) = &sight.members.changing {
            // A change that was interrupted is brought to its end: who is to vote no longer may be about to leave. Unless
            // that is this node, which goes on leading, and must be one of those who count.
            let voters = if after.contains(&sight.me) { after } else { before };
            return Some(Change::Voters(voters.clone()));
        }
        let candidate = self.candidate(now, sight);
        let gone = self.gone(now, sight);
        if let Some(first) = gone.first() {
            let mut voters = sight.members.voters.clone();
            if candidate.is_none() {
                return without(&gone, sight).map(Change::Voters);
            }
            voters.remove(first);
            voters.extend(candidate);
            return Some(Change::Voters(voters));
        }
        if sight.members.voters.len() < sight.wanted.min(VOTERS_MAX)
            && let Some(candidate) = candidate
        {
            let mut voters = sight.members.voters.clone();
            voters.insert(candidate);
            return Some(Change::Voters(voters));
        }
        let mut learners = sight.members.learners.iter().copied();
        let replaced = learners.find(|id| is_replaced(*id, sight));
        if let Some(gone) = replaced.or_else(|| left_over(sight)) {
            return Some(Change::Forget(gone));
        }
        let (format, since) = self.allowed?;
        (now.since(since) >= SOAK).then_some(Change::Format(format))
    }

    fn look(&mut self, now: Moment, sight: &Sight<'_>) {
        for id in sight.members.all() {
            let node = sight.nodes.get(&id);
            let here = node.is_some_and(|node| node.presence == Presence::Present);
            let behind = sight.last.saturating_sub(sight.matched.get(&id).copied().unwrap_or(0));
            if here && behind <= LAG_MAX {
                self.stable.entry(id).or_insert(now);
            } else {
                self.stable.remove(&id);
            }
            if node.is_some_and(|node| node.presence == Presence::Lost) {
                self.lost.entry(id).or_insert(now);
            } else {
                self.lost.remove(&id);
            }
        }
        let allowed = allowed(sight);
        if self.allowed.map(|(format, _)| format) != allowed {
            self.allowed = allowed.map(|format| (format, now));
        }
        self.stable.retain(|id, _| sight.members.contains(*id));
        self.lost.retain(|id, _| sight.members.contains(*id));
    }

    /// The learner that votes next.
    fn candidate(&self, now: Moment, sight: &Sight<'_>) -> Option<NodeId> {
        let learners = sight.members.learners.iter().copied();
        let stays = |id: &NodeId| sight.nodes.get(id).is_some_and(|it| it.drain == Drain::No);
        let stable =
            |id: &NodeId| self.stable.get(id).is_some_and(|since| now.since(*since) >= STABLE);
        learners.filter(stays).find(stable)
    }

    /// The voters that are to vote no longer.
    fn gone(&self, now: Moment, sight: &Sight<'_>) -> BTreeSet<NodeId> {
        let voters = sight.members.voters.iter().copied().filter(|id| *id != sight.me);
        let lost = |id: &NodeId| {
            let since = self.lost.get(id).map(|since| now.since(*since));
            since.is_some_and(|span| span >= REPLACE_AFTER || is_replaced(*id, sight))
        };
        voters.filter(lost).collect()
    }
}

/// The voters without those that are gone, where the ones that are left survive more losses than all together do: of
/// five of which two are gone a third must not go, of the three that remain one may.
fn without(gone: &BTreeSet<NodeId>, sight: &Sight<'_>) -> Option<BTreeSet<NodeId>> {
    let voters = &sight.members.voters;
    let left: BTreeSet<NodeId> = voters.difference(gone).copied().collect();
    let gains = left.len() >= VOTERS_MIN && spare(&left, sight) > spare(voters, sight);
    gains.then_some(left)
}

/// How many more of these voters may be lost before they are no quorum of themselves. `None` where they are none now.
fn spare(voters: &BTreeSet<NodeId>, sight: &Sight<'_>) -> Option<usize> {
    let present =
        |id: &&NodeId| sight.nodes.get(*id).is_some_and(|node| node.presence == Presence::Present);
    voters.iter().filter(present).count().checked_sub(voters.len() / 2 + 1)
}

/// A newer format than the cluster writes that every member allows. One that is not connected may come back as what it
/// was: it is waited for, or removed.
fn allowed(sight: &Sight<'_>) -> Option<Format> {
    let allowed = sight.members.all().map(|id| sight.allowed.get(&id).copied());
    // `None`, not known, is less than every format.
    allowed.min().flatten().filter(|format| *format > sight.format)
}

/// Whether a node that is lost has come back under another identity: with the same name, and a later start.
fn is_replaced(id: NodeId, sight: &Sight<'_>) -> bool {
    let Some(old) = sight.nodes.get(&id).filter(|node| node.presence == Presence::Lost) else {
        return false;
    };
    sight.nodes.iter().any(|(other, node)| {
        *other != id && node.name == old.name && node.presence == Presence::Present
    })
}

/// A lost node that is no member any more: whoever took it out did not come to tell the state. A node that joins is a
/// member before the state knows it.
fn left_over(sight: &Sight<'_>) -> Option<NodeId> {
    let mut lost = sight.nodes.iter().filter(|(_, node)| node.presence == Presence::Lost);
    lost.find(|(id, _)| !sight.members.contains(**id)).map(|(id, _)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BootEpoch;

    struct Rig {
        autopilot: Autopilot,
        members: Members,
        nodes: BTreeMap<NodeId, Node>,
        matched: BTreeMap<NodeId, u64>,
        allowed: BTreeMap<NodeId, Format>,
        wanted: usize,
        now: Moment,
    }

    impl Rig {
        fn new(voters: u64, learners: u64) -> Self {
            let ids = (1..=voters + learners).map(NodeId);
            let nodes = ids.clone().map(|id| (id, node(&format!("apolo-{}", id.0)))).collect();
            let members = Members::of_ids(1..=voters, voters + 1..=voters + learners);
            let matched = ids.clone().map(|id| (id, 1_000)).collect();
            let allowed = ids.map(|id| (id, Format(5))).collect();
            let now = Moment::NEVER + Duration::from_secs(9);
            Self {
                autopilot: Autopilot::default(),
                members,
                nodes,
                matched,
                allowed,
                wanted: 3,
                now,
            }
        }

        fn decide_after(&mut self, span: Duration) -> Option<Change> {
            self.look();
            self.now = self.now + span;
            self.look()
        }

        fn look(&mut self) -> Option<Change> {
            let sight = Sight {
                me: NodeId(1),
                members: &self.members,
                nodes: &self.nodes,
                matched: &self.matched,
                last: 1_000,
                wanted: self.wanted,
                format: Format(5),
                allowed: &self.allowed,
            };
            self.autopilot.decide(self.now, &sight)
        }

        fn lose(&mut self, id: u64) {
            self.nodes.get_mut(&NodeId(id)).unwrap().presence = Presence::Lost;
        }
    }

    fn node(name: &str) -> Node {
        Node {
            name: name.to_owned(),
            boot: BootEpoch(1),
            presence: Presence::Present,
            losses: 0,
            drain: Drain::No,
        }
    }

    fn voters(ids: &[u64]) -> Option<Change> {
        Some(Change::Voters(ids.iter().copied().map(NodeId).collect()))
    }

    #[test]
    fn a_learner_votes_once_it_has_been_stable_while_voters_are_wanted() {
        let mut rig = Rig::new(1, 2);

        assert_eq!(rig.decide_after(STABLE - Duration::from_millis(1)), None);
        assert_eq!(rig.decide_after(Duration::from_millis(1)), voters(&[1, 2]));
    }

    #[test]
    fn a_learner_that_lags_is_drained_or_lost_does_not() {
        let mut rig = Rig::new(1, 3);
        rig.matched.insert(NodeId(2), 10);
        rig.nodes.get_mut(&NodeId(3)).unwrap().drain = Drain::Wanted;
        rig.lose(4);

        assert_eq!(rig.decide_after(STABLE), None);
    }

    #[test]
    fn with_as_many_voters_as_wanted_nobody_is_promoted() {
        assert_eq!(Rig::new(3, 2).decide_after(STABLE * 100), None);
    }

    #[test]
    fn a_lost_voter_is_replaced_by_a_stable_learner_in_one_step() {
        let mut rig = Rig::new(3, 1);
        rig.lose(2);

        assert_eq!(rig.decide_after(REPLACE_AFTER - Duration::from_millis(1)), None);
        assert_eq!(rig.decide_after(Duration::from_millis(1)), voters(&[1, 3, 4]));
    }

    #[test]
    fn without_a_replacement_a_lost_voter_of_three_stays() {
        let mut rig = Rig::new(3, 0);
        rig.lose(2);

        assert_eq!(rig.decide_after(REPLACE_AFTER * 10), None);
    }

    #[test]
    fn of_five_voters_one_that_is_lost_stays_and_two_go_so_that_a_third_may_be_lost() {
        let mut rig = Rig::new(5, 0);
        rig.wanted = 5;
        rig.lose(5);
        assert_eq!(rig.decide_after(REPLACE_AFTER * 10), None);

        rig.lose(4);
        assert_eq!(rig.decide_after(REPLACE_AFTER - Duration::from_millis(1)), None);
        assert_eq!(rig.decide_after(Duration::from_millis(1)), voters(&[1, 2, 3]));
    }

    #[test]
    fn a_voter_that_is_back_under_another_identity_is_replaced_at_once_and_then_forgotten() {
        let mut rig = Rig::new(3, 1);
        rig.lose(2);
        rig.nodes.get_mut(&NodeId(4)).unwrap().name = "apolo-2".to_owned();

        assert_eq!(rig.decide_after(STABLE), voters(&[1, 3, 4]));
        rig.members.voters = [1, 3, 4].map(NodeId).into();
        rig.members.learners = [2].map(NodeId).into();
        assert_eq!(rig.decide_after(Duration::ZERO), Some(Change::Forget(NodeId(2))));
    }

    #[test]
    fn a_node_whose_removal_was_cut_short_is_forgotten_once_it_is_lost() {
        let mut rig = Rig::new(3, 1);
        rig.members.learners.clear();
        assert_eq!(rig.decide_after(REPLACE_AFTER), None, "it may be on its way out");

        rig.lose(4);
        assert_eq!(rig.look(), Some(Change::Forget(NodeId(4))));
    }

    #[test]
    fn a_present_voter_is_never_replaced_by_its_namesake() {
        let mut rig = Rig::new(3, 1);
        rig.nodes.get_mut(&NodeId(4)).unwrap().name = "apolo-2".to_owned();

        assert_eq!(rig.decide_after(REPLACE_AFTER), None);
    }

    #[test]
    fn a_format_is_written_once_every_member_voter_or_not_has_allowed_it_for_a_while() {
        let mut rig = Rig::new(3, 1);
        rig.allowed = (1..=4).map(|id| (NodeId(id), Format(6))).collect();
        assert_eq!(rig.decide_after(SOAK - Duration::from_millis(1)), None);
        assert_eq!(rig.decide_after(Duration::from_millis(1)), Some(Change::Format(Format(6))));

        rig.allowed.insert(NodeId(4), Format(5));
        assert_eq!(rig.decide_after(SOAK), None);
        rig.allowed.remove(&NodeId(4));
        assert_eq!(rig.decide_after(SOAK), None, "who is out of reach may be an older one");
        rig.allowed.insert(NodeId(4), Format(6));
        assert_eq!(rig.look(), None, "the time begins anew");
        assert_eq!(rig.decide_after(SOAK), Some(Change::Format(Format(6))));
    }

    #[test]
    fn an_interrupted_change_is_brought_to_its_end_first() {
        let mut rig = Rig::new(3, 1);
        let [one_two, two_three] = [[1, 2], [2, 3]].map(|ids| ids.map(NodeId).into());
        rig.members.changing = Some([two_three, one_two]);
        assert_eq!(rig.look(), voters(&[1, 2]));

        let changing = rig.members.changing.as_mut().expect("it is under way");
        changing.reverse();
        assert_eq!(rig.look(), voters(&[1, 2]), "the leader votes");
    }
}
