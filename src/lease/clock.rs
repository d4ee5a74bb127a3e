//! The clock that leases are measured by.
//!
//! `CLOCK_BOOTTIME`, since std's and tokio's `Instant` stop while a machine sleeps: a lease that slept would last longer
//! on its holder's clock than on the leader's.

use std::{
    ops::{Add, Sub},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// A point in time, on one machine and since it was switched on.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Moment(u64);

impl Moment {
    /// Before every other.
    pub const NEVER: Self = Self(0);
    /// After every other.
    pub const FOREVER: Self = Self(u64::MAX);

    /// The time from `earlier` to this one; zero where `earlier` lies later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    pub(super) const fn nanos(self) -> u64 {
        self.0
    }

    pub(super) const fn of_nanos(nanos: u64) -> Self {
        Self(nanos)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(span)))
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Where moments come from.
#[derive(Clone, Copy, Debug, Default)]
pub enum Clock {
    /// The machine's, which goes on in a suspend.
    #[default]
    Boottime,
    /// tokio's, which a simulation drives. Moments are counted from the instant that is named.
    Simulated(Instant),
}

/// A simulation begins so long after [`Moment::NEVER`], so that spans can be taken off.
const SIMULATION_BEGINS: Duration = Duration::from_hours(24);

impl Clock {
    /// The present moment. On Linux this does not enter the kernel, and costs some tens of nanoseconds.
    #[must_use]
    pub fn now(self) -> Moment {
        match self {
            Self::Boottime => {
                let now = clock_gettime(ClockId::Boottime);
                let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
                let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
                Moment(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
            }
            Self::Simulated(base) => Moment(nanos(SIMULATION_BEGINS + base.elapsed())),
        }
    }
}

/// Turns instants of the clock that sleeps into moments of the one that does not.
#[derive(Clone, Copy, Debug)]
pub struct Translation {
    clock: Clock,
    base: Instant,
    /// How far the clock had run ahead of the instants when last looked at.
    ahead: Moment,
    /// Instants before this one may lie before a sleep.
    valid_from: Instant,
}

/// What the two clocks may differ by between two looks without anybody having slept.
const JITTER: Duration = Duration::from_millis(2);

impl Translation {
    /// A translation of instants from now on.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let base = Instant::now();
        Self { clock, base, ahead: clock.now(), valid_from: base }
    }

    /// The moment of `past`, or nothing where the machine may have slept since.
    pub fn moment(&mut self, past: Instant) -> Option<Moment> {
        let now = Instant::now();
        let ahead = self.clock.now() - now.duration_since(self.base);
        if ahead.since(self.ahead) > JITTER {
            self.valid_from = now;
        }
        self.ahead = ahead;
        (past >= self.valid_from).then(|| ahead + past.duration_since(self.base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_clock_goes_on() {
        let before = Clock::Boottime.now();
        let after = Clock::Boottime.now();

        assert!(after >= before && before > Moment::NEVER);
    }

    #[tokio::test(start_paused = true)]
    async fn an_instant_before_a_sleep_has_no_moment() {
        let base = Instant::now();
        let mut awake = Translation::new(Clock::Simulated(base));
        let slept = Instant::now();
        assert_eq!(awake.moment(slept), Some(Moment(nanos(SIMULATION_BEGINS))));

        // The clock runs on although no instant passes: the machine slept.
        awake.ahead = awake.ahead - Duration::from_secs(1);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(awake.moment(slept), None);

        let later = Instant::now();
        assert_eq!(awake.moment(later), Some(awake.clock.now()));
    }
}
