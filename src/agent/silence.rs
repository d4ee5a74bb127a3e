//! Shards that say nothing although they should: connected, their heartbeats answered, and no event for
//! `SHARD_TIMEOUT`, while other shards here get theirs. Pure.
//!
//! A quiet shard is not a dead one: what counts is what a shard got in the calmest of the ten minutes before it fell
//! silent. The burst with which a session begins says nothing of what follows, and a bot that gets an event now and then
//! may be quiet for an hour.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::model::{Sequence, ShardId};

/// So many events would have come by now, had it gone on. If they come independently, none of them does with a
/// probability of e⁻⁵⁰.
const EXPECTED_MIN: f64 = 50.0;

/// What events are counted over.
const MINUTE: Duration = Duration::from_secs(60);

/// How many minutes a shard is known by. One that has not run for so long is not judged.
const MINUTES: usize = 10;

/// What a shard has been saying.
#[derive(Clone, Debug)]
struct Pace {
    seen: Sequence,
    /// Since when it could have said something: its last event, its connection, or the last time that it was named.
    since: Instant,
    /// Whether it is connected.
    connected: bool,
    /// When the present minute began, and what came in it.
    minute: (Instant, u64),
    /// What came in each minute before, up to the one of the last event.
    minutes: VecDeque<u64>,
}

impl Pace {
    fn new(now: Instant, seen: Sequence) -> Self {
        let minute = (now, 0);
        Self { seen, since: now, connected: true, minute, minutes: VecDeque::new() }
    }

    fn take(&mut self, now: Instant, seen: Sequence) {
        if !std::mem::replace(&mut self.connected, true) {
            (self.since, self.minute) = (now, (now, 0));
        }
        // A lower one is another session's.
        let fresh = seen.0.saturating_sub(self.seen.0);
        let event = seen != self.seen;
        self.seen = seen;
        if !event {
            return;
        }
        // Only an event ends minutes: those of a silence are not what the shard is known by.
        let mut ended = now.saturating_duration_since(self.minute.0).as_secs() / MINUTE.as_secs();
        if ended > 0 {
            self.minutes.push_back(self.minute.1);
            ended = ended.min(MINUTES as u64);
            self.minutes.extend((1..ended).map(|_| 0));
            self.minutes.drain(..self.minutes.len().saturating_sub(MINUTES));
            self.minute = (now, 0);
        }
        self.minute.1 += fresh;
        self.since = now;
    }

    /// What came in its calmest minute.
    fn calmest(&self) -> Option<u64> {
        let known = self.minutes.len() == MINUTES;
        self.minutes.iter().min().copied().filter(|_| known)
    }

    fn is_silent(&self, now: Instant, timeout: Duration) -> bool {
        let span = now.saturating_duration_since(self.since);
        let expected = |calmest| calmest as f64 * span.as_secs_f64() / MINUTE.as_secs_f64();
        let expects = self.calmest().is_some_and(|calmest| expected(calmest) >= EXPECTED_MIN);
        self.connected && span >= timeout && expects
    }

    /// Whether it goes on as it did.
    fn speaks(&self, now: Instant) -> bool {
        let lately = now.saturating_duration_since(self.minute.0) < MINUTE * 2;
        let calmest = self.calmest().unwrap_or(u64::MAX);
        let last = self.minutes.back().copied().unwrap_or_default();
        self.connected && lately && calmest > 0 && last.saturating_mul(2) >= calmest
    }
}

/// The shards that run here.
#[derive(Debug, Default)]
pub(super) struct Silence(BTreeMap<ShardId, Pace>);

impl Silence {
    /// Takes in how far the connected ones of the shards have come that run here; `None` of one without a connection.
    pub(super) fn observe(&mut self, now: Instant, running: &BTreeMap<ShardId, Option<Sequence>>) {
        self.0.retain(|shard, _| running.contains_key(shard));
        for (shard, seen) in running {
            match (self.0.get_mut(shard), seen) {
                (Some(known), Some(seen)) => known.take(now, *seen),
                (Some(known), None) => known.connected = false,
                (None, Some(seen)) => {
                    self.0.insert(*shard, Pace::new(now, *seen));
                }
                (None, None) => {}
            }
        }
    }

    /// The shards that are silent at `now`, each named once in every `timeout`. Where fewer speak than are silent it is
    /// not the shards: Discord is down, or this node is cut off.
    pub(super) fn take_silent(&mut self, now: Instant, timeout: Duration) -> Vec<ShardId> {
        let silent = self.0.iter().filter(|(_, pace)| pace.is_silent(now, timeout));
        let found: Vec<ShardId> = silent.map(|(shard, _)| *shard).collect();
        if found.len() > self.0.values().filter(|pace| pace.speaks(now)).count() {
            return Vec::new();
        }
        for shard in &found {
            if let Some(pace) = self.0.get_mut(shard) {
                pace.since = now;
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
    /// Enough to be known by.
    const KNOWN: u32 = 700;

    struct Fleet {
        silence: Silence,
        now: Instant,
        seen: BTreeMap<ShardId, Option<Sequence>>,
    }

    impl Fleet {
        fn of(shards: u32) -> Self {
            let seen = (0..shards).map(|shard| (ShardId(shard), Some(Sequence(1)))).collect();
            Self { silence: Silence::default(), now: Instant::now(), seen }
        }

        /// Lets seconds pass in which these shards get so many events each.
        fn pass(&mut self, seconds: u32, events: &[(u32, u64)]) -> Vec<ShardId> {
            let mut found = Vec::new();
            for _ in 0..seconds {
                self.now += STEP;
                for (shard, count) in events {
                    self.seen.get_mut(&ShardId(*shard)).unwrap().as_mut().unwrap().0 += count;
                }
                self.silence.observe(self.now, &self.seen);
                found.extend(self.silence.take_silent(self.now, TIMEOUT));
            }
            found
        }

        fn reconnect(&mut self, shard: u32, others: &[(u32, u64)]) {
            let held = self.seen.insert(ShardId(shard), None).unwrap();
            assert_eq!(self.pass(2, others), []);
            // RESUMED is an event too.
            self.seen.insert(ShardId(shard), held.map(|seen| Sequence(seen.0 + 1)));
        }
    }

    #[test]
    fn a_shard_that_falls_silent_while_the_others_go_on_is_found_after_the_timeout() {
        let mut fleet = Fleet::of(3);
        assert_eq!(fleet.pass(KNOWN, &[(0, 5), (1, 5), (2, 5)]), []);

        assert_eq!(fleet.pass(179, &[(0, 5), (2, 5)]), []);
        assert_eq!(fleet.pass(1, &[(0, 5), (2, 5)]), [ShardId(1)]);
        assert_eq!(fleet.pass(179, &[(0, 5), (2, 5)]), [], "once in a timeout");
    }

    #[test]
    fn a_shard_that_is_silent_again_after_it_started_anew_is_found_again() {
        let mut fleet = Fleet::of(3);
        fleet.pass(KNOWN, &[(0, 5), (1, 5), (2, 5)]);
        assert_eq!(fleet.pass(180, &[(0, 5), (2, 5)]), [ShardId(1)]);
        fleet.reconnect(1, &[(0, 5), (2, 5)]);

        assert_eq!(fleet.pass(179, &[(0, 5), (2, 5)]), []);
        assert_eq!(fleet.pass(5, &[(0, 5), (2, 5)]), [ShardId(1)]);
    }

    #[test]
    fn the_burst_of_a_new_session_is_no_pace() {
        for burst in [60, 170, 2_500] {
            let mut fleet = Fleet::of(3);
            fleet.pass(1, &[(1, burst)]);

            assert_eq!(fleet.pass(4_000, &[(0, 5), (2, 5)]), []);
            fleet.pass(1, &[(1, burst)]);
            assert_eq!(fleet.pass(4_000, &[(0, 5), (2, 5)]), []);
        }
    }

    #[test]
    fn a_shard_that_says_little_may_be_quiet() {
        let mut fleet = Fleet::of(3);
        for _ in 0..20 {
            fleet.pass(1, &[(1, 40)]);
            fleet.pass(150, &[(0, 5), (2, 5)]);
        }

        assert_eq!(fleet.pass(1_000, &[(0, 5), (2, 5)]), []);
    }

    #[test]
    fn where_all_fall_silent_it_is_not_the_shards_though_one_of_them_reconnects() {
        let mut fleet = Fleet::of(4);
        fleet.pass(KNOWN, &[(0, 5), (1, 6), (2, 7), (3, 8)]);

        assert_eq!(fleet.pass(170, &[]), []);
        fleet.reconnect(3, &[]);

        assert_eq!(fleet.pass(3_600, &[]), []);
    }

    #[test]
    fn a_shard_alone_has_nobody_to_be_compared_with() {
        let mut fleet = Fleet::of(1);
        fleet.pass(KNOWN, &[(0, 50)]);

        assert_eq!(fleet.pass(3_600, &[]), []);
    }
}
