//! What a leader knows of the others' leases in its term. Pure: the clock is an argument.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{BootEpoch, NodeId};

use super::{Moment, Timing};

/// How sure a leader is that it still leads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Quorum {
    /// It is the only voter.
    Alone,
    /// A quorum acknowledged a round that was sent then.
    Acknowledged(Moment),
    /// No quorum has acknowledged anything yet.
    Unknown,
}

impl Quorum {
    /// Whether the last round was sent within `span`.
    #[must_use]
    pub fn within(self, span: std::time::Duration, now: Moment) -> bool {
        match self {
            Self::Alone => true,
            Self::Acknowledged(at) => now < at + span,
            Self::Unknown => false,
        }
    }
}

/// A node as the leader has applied it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Known {
    /// Which start of it is committed.
    pub boot: BootEpoch,
    /// Whether it counts as lost.
    pub lost: bool,
}

/// Why a renewal is not granted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoGrant {
    /// The start that asks is not the one that is committed.
    OtherBoot,
    /// The node counts as lost, or is about to.
    Lost,
    /// The leader can't be sure that it still leads.
    NoQuorum,
    /// The leader is about to hand the leadership over.
    Transferring,
}

/// One term of a leader, from the moment at which it had applied its own first command.
#[derive(Clone, Debug)]
pub struct Tenure {
    term: u64,
    /// The leader before it, if that one's shards may be taken early.
    predecessor: Option<NodeId>,
    since: Moment,
    /// When each node was last granted a lease, or given time for its first.
    granted: BTreeMap<NodeId, Moment>,
    /// Nodes whose loss is proposed and not yet applied.
    losing: BTreeSet<NodeId>,
    transferring: bool,
}

impl Tenure {
    /// A term that begins.
    #[must_use]
    pub const fn new(term: u64, predecessor: Option<NodeId>, since: Moment) -> Self {
        Self {
            term,
            predecessor,
            since,
            granted: BTreeMap::new(),
            losing: BTreeSet::new(),
            transferring: false,
        }
    }

    /// The term.
    #[must_use]
    pub const fn term(&self) -> u64 {
        self.term
    }

    /// Answers a renewal that came at `now`.
    ///
    /// # Errors
    ///
    /// [`NoGrant`].
    pub fn grant(
        &mut self,
        timing: &Timing,
        now: Moment,
        quorum: Quorum,
        node: NodeId,
        boot: BootEpoch,
        known: Option<Known>,
    ) -> Result<(), NoGrant> {
        if self.transferring {
            return Err(NoGrant::Transferring);
        }
        if !quorum.within(timing.renews_others, now) {
            return Err(NoGrant::NoQuorum);
        }
        let known = known.filter(|known| known.boot == boot).ok_or(NoGrant::OtherBoot)?;
        if known.lost || self.losing.contains(&node) {
            return Err(NoGrant::Lost);
        }
        self.granted.insert(node, now);
        Ok(())
    }

    /// Whether no lease of `node` can be in force at `now`.
    #[must_use]
    pub fn is_silent(&self, timing: &Timing, now: Moment, node: NodeId) -> bool {
        if self.transferring {
            return false;
        }
        let (from, span) = match self.granted.get(&node) {
            Some(granted) => (*granted, timing.ttl + timing.margin),
            None if self.predecessor == Some(node) => (self.since, timing.dead_leader),
            None => (self.since, timing.ttl + timing.margin),
        };
        now >= from + span
    }

    /// How long ago `node` was last granted a lease, or given time for its first.
    #[must_use]
    pub fn silence(&self, now: Moment, node: NodeId) -> std::time::Duration {
        now.since(self.granted.get(&node).copied().unwrap_or(self.since))
    }

    /// From here on `node` is granted nothing, until [`Tenure::settled`]. False where its loss is on its way already.
    pub fn begin_loss(&mut self, node: NodeId) -> bool {
        self.losing.insert(node)
    }

    /// The loss of `node` was applied, or will never be.
    pub fn settled(&mut self, node: NodeId) {
        self.losing.remove(&node);
    }

    /// A start or a return of `node` was applied: it is given time for its first renewal.
    pub fn met(&mut self, now: Moment, node: NodeId) {
        self.granted.insert(node, now);
    }

    /// Nobody is renewed any more, and nobody is declared lost.
    pub const fn begin_transfer(&mut self) {
        self.transferring = true;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NODE: NodeId = NodeId(2);
    const BOOT: BootEpoch = BootEpoch(3);
    const KNOWN: Option<Known> = Some(Known { boot: BOOT, lost: false });
    const TIMING: &Timing = &Timing::LAN;

    fn at(ms: u64) -> Moment {
        Moment::NEVER + Duration::from_secs(1_000) + Duration::from_millis(ms)
    }

    fn grant(tenure: &mut Tenure, now: Moment) -> Result<(), NoGrant> {
        tenure.grant(TIMING, now, Quorum::Acknowledged(now), NODE, BOOT, KNOWN)
    }

    #[test]
    fn others_are_renewed_only_shortly_after_a_round_that_a_quorum_acknowledged() {
        let mut tenure = Tenure::new(1, None, at(0));
        let mut at_age = |age: u64| {
            let quorum = Quorum::Acknowledged(at(1_000));
            tenure.grant(TIMING, at(1_000 + age), quorum, NODE, BOOT, KNOWN)
        };

        assert_eq!(at_age(399), Ok(()));
        assert_eq!(at_age(400), Err(NoGrant::NoQuorum));
        assert_eq!(
            tenure.grant(TIMING, at(0), Quorum::Unknown, NODE, BOOT, KNOWN),
            Err(NoGrant::NoQuorum)
        );
    }

    #[test]
    fn a_grant_names_the_committed_start() {
        let mut tenure = Tenure::new(1, None, at(0));
        let mut ask =
            |boot, known| tenure.grant(TIMING, at(0), Quorum::Alone, NODE, BootEpoch(boot), known);

        assert_eq!(ask(2, KNOWN), Err(NoGrant::OtherBoot));
        assert_eq!(ask(4, KNOWN), Err(NoGrant::OtherBoot));
        assert_eq!(ask(3, None), Err(NoGrant::OtherBoot));
        assert_eq!(ask(3, KNOWN), Ok(()));
    }

    #[test]
    fn a_node_whose_loss_is_on_its_way_is_granted_nothing() {
        let mut tenure = Tenure::new(1, None, at(0));
        assert!(tenure.begin_loss(NODE));
        assert!(!tenure.begin_loss(NODE), "one loss at a time");

        assert_eq!(grant(&mut tenure, at(1)), Err(NoGrant::Lost));

        tenure.settled(NODE);
        assert_eq!(grant(&mut tenure, at(2)), Ok(()));
    }

    #[test]
    fn a_silent_node_is_lost_a_ttl_and_a_margin_after_its_last_grant() {
        let mut tenure = Tenure::new(1, None, at(0));
        grant(&mut tenure, at(500)).unwrap();

        assert!(!tenure.is_silent(TIMING, at(2_599), NODE));
        assert!(tenure.is_silent(TIMING, at(2_600), NODE));
        assert_eq!(tenure.silence(at(2_600), NODE), Duration::from_millis(2_100));
        assert_eq!(tenure.silence(at(2_600), NodeId(3)), Duration::from_millis(2_600));
    }

    #[test]
    fn a_new_leader_waits_a_ttl_for_everyone_but_its_predecessor() {
        let tenure = Tenure::new(2, Some(NODE), at(0));

        assert!(!tenure.is_silent(TIMING, at(599), NODE));
        assert!(tenure.is_silent(TIMING, at(600), NODE));
        assert!(!tenure.is_silent(TIMING, at(2_099), NodeId(3)));
        assert!(tenure.is_silent(TIMING, at(2_100), NodeId(3)));
    }

    #[test]
    fn a_predecessor_that_was_renewed_has_a_lease_like_everyone() {
        let mut tenure = Tenure::new(2, Some(NODE), at(0));
        grant(&mut tenure, at(100)).unwrap();

        assert!(!tenure.is_silent(TIMING, at(2_199), NODE));
    }

    #[test]
    fn a_node_that_has_just_come_is_given_time() {
        let mut tenure = Tenure::new(1, None, at(0));
        tenure.met(at(9_000), NODE);

        assert!(!tenure.is_silent(TIMING, at(11_099), NODE));
        assert!(tenure.is_silent(TIMING, at(11_100), NODE));
    }

    #[test]
    fn after_asking_for_a_transfer_a_leader_grants_and_takes_nothing() {
        let mut tenure = Tenure::new(1, None, at(0));
        tenure.begin_transfer();

        assert_eq!(grant(&mut tenure, at(1)), Err(NoGrant::Transferring));
        assert!(!tenure.is_silent(TIMING, at(1_000_000), NODE));
    }
}
