//! Shards that say nothing although they should: connected, their heartbeats answered, and no event for
//! `SHARD_TIMEOUT`, while the other shards here get theirs. Pure.
//!
//! A quiet shard is not a dead one: what counts is how much a shard has been saying. One that gets an event an hour may
//! be quiet for an hour.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::model::{Sequence, ShardId};

/// So many events would have come by now, had it gone on. If they come independently, none of them does with a
/// probability of e⁻⁵⁰.
const EXPECTED_MIN: f64 = 50.0;

/// How long it takes until a new pace counts for two thirds. A guild's busy evening is not yet its pace.
const PACE_OVER: Duration = Duration::from_secs(600);

/// What a shard has been saying.
#[derive(Clone, Copy, Debug)]
struct Pace {
    seen: Sequence,
    /// When its last event was noticed.
    at: Instant,
    /// Events a second, smoothed.
    rate: f64,
}

/// The shards that run here.
#[derive(Debug, Default)]
pub(super) struct Silence(BTreeMap<ShardId, Pace>);

impl Silence {
    /// Takes in how far the connected shards have come. Those that are not named are not connected, and begin anew.
    pub(super) fn observe(&mut self, now: Instant, connected: &BTreeMap<ShardId, Sequence>) {
        self.0.retain(|shard, _| connected.contains_key(shard));
        for (shard, seen) in connected {
            let known = self.0.entry(*shard).or_insert(Pace { seen: *seen, at: now, rate: 0.0 });
            if *seen < known.seen {
                // Another session.
                *known = Pace { seen: *seen, at: now, rate: known.rate };
            } else if *seen > known.seen {
                let span = now.saturating_duration_since(known.at).max(Duration::from_millis(1));
                let pace = (seen.0 - known.seen.0) as f64 / span.as_secs_f64();
                let weight = 1.0 - (-span.as_secs_f64() / PACE_OVER.as_secs_f64()).exp();
                known.rate += (pace - known.rate) * weight;
                (known.seen, known.at) = (*seen, now);
            }
        }
    }

    /// The shards that are silent at `now`, each named once in every `timeout`. Where most of the others are silent too
    /// it is not the shards: Discord is down, or this node is cut off.
    pub(super) fn take_silent(&mut self, now: Instant, timeout: Duration) -> Vec<ShardId> {
        let silent = |pace: &Pace| {
            let span = now.saturating_duration_since(pace.at);
            span >= timeout && pace.rate * span.as_secs_f64() >= EXPECTED_MIN
        };
        let found: Vec<ShardId> =
            self.0.iter().filter(|(_, pace)| silent(pace)).map(|(shard, _)| *shard).collect();
        let speaking = |pace: &&Pace| now.saturating_duration_since(pace.at) < timeout / 2;
        let others = self.0.values().filter(speaking).count();
        if found.len() > others {
            return Vec::new();
        }
        for shard in &found {
            if let Some(pace) = self.0.get_mut(shard) {
                pace.at = now;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(180);
    const STEP: Duration = Duration::from_secs(1);

    struct Fleet {
        silence: Silence,
        now: Instant,
        seen: BTreeMap<ShardId, Sequence>,
    }

    impl Fleet {
        fn of(shards: u32) -> Self {
            let seen = (0..shards).map(|shard| (ShardId(shard), Sequence(1))).collect();
            Self { silence: Silence::default(), now: Instant::now(), seen }
        }

        /// Lets seconds pass in which these shards get so many events each.
        fn pass(&mut self, seconds: u32, events: &[(u32, u64)]) -> Vec<ShardId> {
            let mut found = Vec::new();
            for _ in 0..seconds {
                self.now += STEP;
                for (shard, count) in events {
                    self.seen.get_mut(&ShardId(*shard)).unwrap().0 += count;
                }
                self.silence.observe(self.now, &self.seen);
                found.extend(self.silence.take_silent(self.now, TIMEOUT));
            }
            found
        }
    }

    #[test]
    fn a_shard_that_falls_silent_while_the_others_go_on_is_found_after_the_timeout() {
        let mut fleet = Fleet::of(3);
        fleet.pass(600, &[(0, 5), (1, 5), (2, 5)]);

        assert_eq!(fleet.pass(179, &[(0, 5), (2, 5)]), []);
        assert_eq!(fleet.pass(1, &[(0, 5), (2, 5)]), [ShardId(1)]);
        assert_eq!(fleet.pass(179, &[(0, 5), (2, 5)]), [], "once in a timeout");
    }

    #[test]
    fn a_shard_that_never_said_much_may_be_quiet() {
        let mut fleet = Fleet::of(3);
        for _ in 0..10 {
            fleet.pass(1, &[(1, 1)]);
            fleet.pass(60, &[(0, 5), (2, 5)]);
        }

        assert_eq!(fleet.pass(1_000, &[(0, 5), (2, 5)]), []);
    }

    #[test]
    fn where_all_fall_silent_it_is_not_the_shards() {
        let mut fleet = Fleet::of(4);
        fleet.pass(600, &[(0, 5), (1, 5), (2, 5), (3, 5)]);

        assert_eq!(fleet.pass(3_600, &[]), []);
    }

    #[test]
    fn a_shard_alone_has_nobody_to_be_compared_with() {
        let mut fleet = Fleet::of(1);
        fleet.pass(600, &[(0, 50)]);

        assert_eq!(fleet.pass(3_600, &[]), []);
    }

    #[test]
    fn a_shard_that_was_away_is_given_its_time_anew() {
        let mut fleet = Fleet::of(2);
        fleet.pass(600, &[(0, 5), (1, 5)]);
        fleet.pass(170, &[(0, 5)]);
        let held = fleet.seen.remove(&ShardId(1)).unwrap();
        fleet.pass(5, &[(0, 5)]);
        fleet.seen.insert(ShardId(1), held);

        assert_eq!(fleet.pass(100, &[(0, 5)]), []);
    }
}
