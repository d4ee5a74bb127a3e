//! The spans of leases, and what must hold between them.

use std::time::Duration;

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
        election: Duration::from_millis(500),
        dead_leader: Duration::from_millis(600),
        margin: Duration::from_millis(100),
    };

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
    fn the_default_holds_what_the_protocol_rests_on() {
        Timing::LAN.check();
    }
}
