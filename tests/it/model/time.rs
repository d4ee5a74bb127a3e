//! Time in ticks, as ages: how long ago a thing was. Ages stop at the bound beyond which nobody tells them apart, so
//! time itself has no end and no state.

/// Ticks since something happened.
pub(super) type Age = u8;

/// The protocol's times in ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// A leader renews others while its last acknowledged round is younger than this (0.4 s).
    pub(super) renews_others: Age,
    /// A voter refuses votes for this long after a word from the leader (the longest election timeout, 0.5 s).
    pub(super) election: Age,
    /// A new leader takes the dead leader's shards this long after its election (0.6 s).
    pub(super) dead_leader: Age,
    /// A leader owns while its last acknowledged round is younger than this (1 s).
    pub(super) leader_owns: Age,
    /// A node owns while its renewal is younger than this, and is lost when nothing was granted for this long (2 s).
    pub(super) ttl: Age,
}

impl Timing {
    /// The smallest times that keep the order of the real ones, and where the two sums on which safety rests,
    /// `renews_others <= election` and `leader_owns <= election + dead_leader`, have nothing to spare.
    pub(super) const TIGHT: Self =
        Self { renews_others: 1, election: 1, dead_leader: 1, leader_owns: 2, ttl: 3 };

    /// Twice as long, so that there is time between a round and the last grant after it.
    pub(super) const WIDE: Self =
        Self { renews_others: 2, election: 2, dead_leader: 2, leader_owns: 4, ttl: 5 };
}

/// One tick older, up to `most`.
pub(super) fn older(age: &mut Age, most: Age) {
    *age = most.min(*age + 1);
}
