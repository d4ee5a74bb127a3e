//! When the next event is due.

use std::time::Duration;

use tokio::time::Instant;

/// An even stream of events: `due` says how many to make now, `next` when to ask again.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: f64,
    /// The rate counts from here …
    since: Instant,
    /// … and this many were made since.
    made: u64,
}

impl Pace {
    /// A stream that begins at `now`.
    pub(super) const fn new(per_second: f64, now: Instant) -> Self {
        Self { per_second, since: now, made: 0 }
    }

    /// Goes on at another rate.
    pub(super) const fn set_rate(&mut self, per_second: f64, now: Instant) {
        *self = Self::new(per_second, now);
    }

    /// How many events to make at `now`. A stream that fell behind by more than [`CATCH_UP_MAX`] leaves out the rest,
    /// so that a stalled machine is not followed by a flood.
    pub(super) fn due(&mut self, now: Instant) -> u64 {
        if self.per_second <= 0.0 {
            return 0;
        }
        let reached = whole((now - self.since).as_secs_f64() * self.per_second);
        let due = reached.saturating_sub(self.made);
        self.made = self.made.max(reached);
        due.min(whole(self.per_second * CATCH_UP_MAX.as_secs_f64()).max(1))
    }

    /// When the next event is due, but not before a tick has passed and not later than [`IDLE`].
    pub(super) fn next(&self, now: Instant) -> Instant {
        if self.per_second <= 0.0 {
            return now + IDLE;
        }
        self.at(self.made + 1).clamp(now + TICK, now + IDLE)
    }

    #[expect(clippy::cast_precision_loss, reason = "2^52 events last for centuries")]
    fn at(&self, event: u64) -> Instant {
        let seconds = event as f64 / self.per_second;
        self.since + Duration::try_from_secs_f64(seconds).unwrap_or(IDLE).min(FAR)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and floats saturate"
)]
const fn whole(count: f64) -> u64 {
    // A microsecond's worth of slack: the time of event n must count n events in spite of rounding.
    (count + 1e-6) as u64
}

/// Events are made at most this often: fine enough to look even, coarse enough to be cheap.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// A stream without a rate looks this often whether it has one.
const IDLE: Duration = Duration::from_secs(3_600);

/// Keeps the arithmetic of times in range.
const FAR: Duration = Duration::from_secs(366 * 24 * 3_600);

/// The most that is made up for after a stall.
pub(super) const CATCH_UP_MAX: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_spread_evenly_over_a_second() {
        let start = Instant::now();
        let mut pace = Pace::new(1_000.0, start);

        let made: Vec<u64> =
            (1..=200).map(|tick| pace.due(start + Duration::from_millis(tick * 5))).collect();

        assert_eq!(made.iter().sum::<u64>(), 1_000);
        assert!(made.iter().all(|&n| (4..=6).contains(&n)), "{made:?}");
    }

    #[test]
    fn a_stall_is_made_up_for_within_a_bound() {
        let start = Instant::now();
        let mut pace = Pace::new(1_000.0, start);

        let after_stall = pace.due(start + Duration::from_secs(60));

        assert!((400..=510).contains(&after_stall), "{after_stall}");
    }

    #[test]
    fn a_slow_stream_sleeps_until_its_next_event() {
        let start = Instant::now();
        let mut pace = Pace::new(0.5, start);

        let next = pace.next(start);

        assert_eq!(next, start + Duration::from_secs(2));
        assert_eq!((pace.due(start), pace.due(next)), (0, 1));
    }

    #[test]
    fn a_rate_of_zero_makes_nothing() {
        let start = Instant::now();
        let mut pace = Pace::new(0.0, start);

        assert_eq!(pace.due(start + Duration::from_secs(9)), 0);
    }
}
