//! The spans of leases, and what must hold between them.

use std::time::Duration;

use crate::model::Profile;

/// How long a new leader refuses to be sure of anything but its own eyes, and everything that follows from it.
///
/// `tests/it/model` checks the order of these spans; [`Timing::check`] asserts it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timing {
    /// How long a node may run shards after it sent a renewal that was granted.
    pub ttl: Duration,
    /// Between two renewals: eight chances within a TTL.
    pub renew_every: Duration,
    /// A renewal that is not answered by then is given up, and a second connection is opened.
    pub renew_within: Duration,
    /// For so long after it sent a round that a quorum acknowledged may a leader renew others.
    pub renews_others: Duration,
    /// For so long after such a round may a leader run shards itself.
    pub leader_owns: Duration,
    /// A follower votes for nobody for so long after a word of the leader. openraft's `election_timeout_max`.
    pub election: Duration,
    /// A new leader waits so long before it takes the dead leader's shards.
    pub dead_leader: Duration,
    /// What the clocks of two machines may drift apart in a TTL, and what a leader's loop may be late.
    pub margin: Duration,
}

impl Timing {
    /// The default: nodes in one region.
    pub const LAN: Self = Self {
        ttl: Duration::from_secs(2),
        renew_every: Duration::from_millis(250),
        renew_within: Duration::from_millis(400),
        renews_others: Duration::from_millis(400),
        leader_owns: Duration::from_secs(1),
        election: Profile::Lan.election(),
        dead_leader: Duration::from_millis(600),
        margin: Duration::from_millis(100),
    };

    /// Nodes in one data centre: two thirds of the time, and half of the patience.
    pub const FAST: Self = Self {
        ttl: Duration::from_millis(1_200),
        renew_every: Duration::from_millis(150),
        renew_within: Duration::from_millis(250),
        renews_others: Duration::from_millis(240),
        leader_owns: Duration::from_millis(600),
        election: Profile::Fast.election(),
        dead_leader: Duration::from_millis(400),
        margin: Duration::from_millis(100),
    };

    /// Nodes in several regions.
    pub const WAN: Self = Self {
        ttl: Duration::from_secs(6),
        renew_every: Duration::from_millis(500),
        renew_within: Duration::from_secs(1),
        renews_others: Duration::from_millis(1_600),
        leader_owns: Duration::from_secs(3),
        election: Profile::Wan.election(),
        dead_leader: Duration::from_millis(1_400),
        margin: Duration::from_millis(200),
    };

    /// The spans of a profile.
    #[must_use]
    pub const fn of(profile: Profile) -> Self {
        match profile {
            Profile::Lan => Self::LAN,
            Profile::Fast => Self::FAST,
            Profile::Wan => Self::WAN,
        }
    }

    /// Asserts what the protocol rests on.
    pub fn check(&self) {
        let votes_refused = self.election;
        assert!(self.renews_others < votes_refused, "a grant ends before the next leader's term");
        assert!(
            votes_refused + self.dead_leader > self.leader_owns,
            "a leader has stopped when the next one takes its shards"
        );
        assert!(self.ttl > self.leader_owns, "a lease outlasts a leader's own right");
        assert!(
            self.ttl > 2 * self.election + self.dead_leader,
            "a lease outlasts two elections: a change of the leader moves nobody's shards"
        );
        assert!(self.renew_every * 4 <= self.ttl, "three renewals may be lost");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_holds_what_the_protocol_rests_on() {
        for profile in Profile::ALL {
            let timing = Timing::of(profile);

            timing.check();
            assert_eq!(timing.election, profile.election());
        }
    }

    #[test]
    fn what_two_nodes_see_of_one_moment_may_differ_by_the_margin() {
        for timing in Profile::ALL.map(Timing::of) {
            assert!(timing.election + timing.dead_leader >= timing.leader_owns + timing.margin);
            assert!(timing.renew_within < timing.ttl);
        }
    }
}
