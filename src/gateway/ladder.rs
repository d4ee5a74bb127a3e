//! What is tried next when a connection has ended, and when.
//!
//! Pure: the clock and the randomness are arguments. The rungs are: the session at its resume URL, the session at the
//! main URL, a new session. The last is reached only when Discord itself says that the session is gone (op 9 with
//! `d: false`, close codes 4003, 4007 and 4009, or a second 1000/1001 in a row), never because connecting fails.

use std::time::Duration;

use tokio::time::Instant;

use super::port::{FatalClose, LostReason};

/// How long is waited between attempts.
///
/// No two attempts are closer than `fast.0`. A fast one follows only a connection that stayed healthy, or the start;
/// all others wait at least `base / 2`, and at least half of a doubling span up to `cap` where the connections fail.
/// With the defaults that is at most 20 attempts in any minute, whatever ends them, but for those that the node itself
/// asks for, which it can at most twice a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The wait after a connection that was healthy: a random time from the first to the second. Discord's op 7 comes
    /// to many shards at once, hence the spread; the rest of the second belongs to the handshake.
    pub fast: (Duration, Duration),
    /// The span after the first failure; the wait is a random time in its upper half.
    pub base: Duration,
    /// Where the doubling ends. After an outage of Discord's a shard comes back so late at most, and a session is resumed
    /// only while what it missed since is in its buffer: a busy shard's 3,500 dispatches (discord-api-docs #24) are some
    /// 35 s.
    pub cap: Duration,
    /// A connection that was ready for so long is healthy: what was before it is forgotten.
    pub healthy_after: Duration,
    /// The wait after op 9 (discord-api-docs #244: "a random amount of time between 1 and 5 seconds").
    pub invalid_session: (Duration, Duration),
    /// A shard that lost a session because its handlers stayed behind identifies at most once in this time for it.
    pub behind_identify: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            fast: (Duration::from_millis(50), Duration::from_millis(250)),
            base: Duration::from_secs(1),
            cap: Duration::from_secs(30),
            healthy_after: Duration::from_secs(10),
            invalid_session: (Duration::from_secs(1), Duration::from_secs(5)),
            behind_identify: Duration::from_secs(600),
        }
    }
}

/// Which URL a RESUME goes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rung {
    /// The session's own.
    Session,
    /// The one that `/gateway/bot` returned.
    Main,
}

/// What a connection is opened for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Attempt {
    Resume(Rung),
    Identify,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cause {
    /// It never came to be: refused, no route, TLS, a 5xx.
    NotConnected,
    /// It was closed with this code, or without one. A lost connection counts as 1006.
    Closed(Option<u16>),
    /// Op 7.
    Reconnect,
    /// Op 9.
    InvalidSession { resumable: bool },
    /// HELLO, READY, RESUMED or anything at all did not come in time.
    Silent,
    /// It carried something that can't be used: a gap, garbage, too much.
    Garbage,
    /// The node ended it: to go back, or because the handlers have caught up.
    Own,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ended {
    pub(super) cause: Cause,
    pub(super) attempt: Attempt,
    /// Since READY or RESUMED; `None` if neither came.
    pub(super) ready_for: Option<Duration>,
    /// Whether the session was asked to replay what the handlers were too slow for.
    pub(super) catching_up: bool,
}

/// What follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Next {
    /// The session is gone, for this reason.
    pub(super) lost: Option<LostReason>,
    pub(super) step: Step,
}

/// The next step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Wait, then try this.
    Try { at: Instant, attempt: Attempt },
    /// Wait out the ten minutes, then identify.
    Park { until: Instant },
    /// Stop for good.
    Halt(FatalClose),
}

/// The history that the next step depends on.
#[derive(Clone, Debug)]
pub(super) struct Ladder {
    backoff: Backoff,
    failures: u32,
    rung: Rung,
    closed_normally: bool,
    identified_behind: Option<Instant>,
}

impl Ladder {
    pub(super) const fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            failures: 0,
            rung: Rung::Session,
            closed_normally: false,
            identified_behind: None,
        }
    }

    /// The first thing to try.
    pub(super) const fn first(&self, has_session: bool) -> Attempt {
        if has_session { Attempt::Resume(self.rung) } else { Attempt::Identify }
    }

    /// What to do after a connection ended. `random` lies in 0..1.
    pub(super) fn after(
        &mut self,
        ended: &Ended,
        has_session: bool,
        now: Instant,
        random: f64,
    ) -> Next {
        if let Cause::Closed(Some(code)) = ended.cause
            && let Some(fatal) = FatalClose::from_code(code)
        {
            return Next { lost: None, step: Step::Halt(fatal) };
        }
        let lost = if has_session { self.loss(ended) } else { None };
        let at = now + self.wait(ended, random);
        self.turn(ended, lost.is_some());
        if has_session && lost.is_none() {
            return Next { lost, step: Step::Try { at, attempt: Attempt::Resume(self.rung) } };
        }
        if lost.is_some() && ended.catching_up {
            return Next { lost, step: self.identify_behind(at) };
        }
        Next { lost, step: Step::Try { at, attempt: Attempt::Identify } }
    }

    /// Whether the session is gone, by the table of close codes (Gateway docs; a second 1000 or 1001 in a row is
    /// apolo's own reading, since the docs are silent and trying for ever would never end it).
    const fn loss(&self, ended: &Ended) -> Option<LostReason> {
        match ended.cause {
            Cause::InvalidSession { resumable: false } => Some(LostReason::InvalidSession),
            Cause::Closed(Some(code @ (4003 | 4007 | 4009))) => Some(LostReason::Closed(code)),
            Cause::Closed(Some(code @ (1000 | 1001)))
                if self.closed_normally && ended.ready_for.is_none() =>
            {
                Some(LostReason::Closed(code))
            }
            Cause::NotConnected
            | Cause::Closed(_)
            | Cause::Reconnect
            | Cause::InvalidSession { resumable: true }
            | Cause::Silent
            | Cause::Garbage
            | Cause::Own => None,
        }
    }

    fn wait(&mut self, ended: &Ended, random: f64) -> Duration {
        let Backoff { fast, base, cap, healthy_after, invalid_session, .. } = self.backoff;
        if ended.ready_for.is_some_and(|span| span >= healthy_after) {
            self.failures = 0;
        }
        if ended.cause == Cause::Own && ended.ready_for.is_some() {
            return between((base / 2, base), random);
        }
        let wait = if self.failures == 0 && ended.cause != Cause::NotConnected {
            between(fast, random)
        } else {
            let span = base
                .saturating_mul(1 << self.failures.saturating_sub(1).min(DOUBLINGS_MAX))
                .min(cap);
            between((span / 2, span), random)
        };
        self.failures = self.failures.saturating_add(1);
        match ended.cause {
            Cause::InvalidSession { .. } => wait.max(between(invalid_session, random)),
            Cause::NotConnected
            | Cause::Closed(_)
            | Cause::Reconnect
            | Cause::Silent
            | Cause::Garbage
            | Cause::Own => wait,
        }
    }

    /// Chooses the URL of the next RESUME: what reached READY or RESUMED is kept, what did not is left.
    const fn turn(&mut self, ended: &Ended, lost: bool) {
        let closed_normally = matches!(ended.cause, Cause::Closed(Some(1000 | 1001)));
        let still = self.closed_normally && ended.ready_for.is_none();
        self.closed_normally = !lost && (closed_normally || still);
        if lost {
            self.rung = Rung::Session;
        } else if ended.ready_for.is_none() {
            self.rung = match ended.attempt {
                Attempt::Resume(Rung::Session) => Rung::Main,
                Attempt::Resume(Rung::Main) | Attempt::Identify => Rung::Session,
            };
        }
    }

    fn identify_behind(&mut self, at: Instant) -> Step {
        let free = self.identified_behind.map(|last| last + self.backoff.behind_identify);
        match free {
            Some(until) if until > at => {
                self.identified_behind = Some(until);
                Step::Park { until }
            }
            Some(_) | None => {
                self.identified_behind = Some(at);
                Step::Try { at, attempt: Attempt::Identify }
            }
        }
    }
}

/// Beyond this many doublings every cap is reached; it keeps the shift in range.
const DOUBLINGS_MAX: u32 = 16;

fn between((low, high): (Duration, Duration), random: f64) -> Duration {
    low + high.saturating_sub(low).mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RESUME: Attempt = Attempt::Resume(Rung::Session);
    const MAIN: Attempt = Attempt::Resume(Rung::Main);

    fn ended(cause: Cause, attempt: Attempt, ready_for: Option<u64>) -> Ended {
        let ready_for = ready_for.map(Duration::from_secs);
        Ended { cause, attempt, ready_for, catching_up: false }
    }

    /// The attempt that follows a first connection that ended so, and whether the session is lost.
    fn first(cause: Cause) -> (Option<Attempt>, Option<LostReason>) {
        let mut ladder = Ladder::new(Backoff::default());
        let next = ladder.after(&ended(cause, RESUME, Some(60)), true, Instant::now(), 0.5);
        match next.step {
            Step::Try { attempt, .. } => (Some(attempt), next.lost),
            Step::Park { .. } | Step::Halt(_) => (None, next.lost),
        }
    }

    #[test]
    fn every_close_code_leads_where_discords_table_says() {
        let resumed = (Some(RESUME), None);
        for code in [4000, 4001, 4002, 4005, 4006, 4008, 1000, 1001, 1006, 1011, 4999] {
            assert_eq!(first(Cause::Closed(Some(code))), resumed, "{code}");
        }
        for code in [4003, 4007, 4009] {
            let lost = Some(LostReason::Closed(code));
            assert_eq!(first(Cause::Closed(Some(code))), (Some(Attempt::Identify), lost));
        }
        for code in [4004, 4010, 4011, 4012, 4013, 4014] {
            assert_eq!(first(Cause::Closed(Some(code))), (None, None), "{code}");
        }
        assert_eq!(first(Cause::Closed(None)), resumed);
    }

    #[test]
    fn every_other_end_keeps_the_session_but_op_9_false() {
        let kept = [
            Cause::NotConnected,
            Cause::Reconnect,
            Cause::InvalidSession { resumable: true },
            Cause::Silent,
            Cause::Garbage,
            Cause::Own,
        ];
        for cause in kept {
            assert_eq!(first(cause), (Some(RESUME), None), "{cause:?}");
        }
        let lost = Some(LostReason::InvalidSession);
        let invalid = Cause::InvalidSession { resumable: false };
        assert_eq!(first(invalid), (Some(Attempt::Identify), lost));
    }

    #[test]
    fn a_url_that_did_not_lead_to_resumed_is_left_and_one_that_did_is_kept() {
        let mut ladder = Ladder::new(Backoff::default());
        let mut attempt = RESUME;
        let mut tried = Vec::new();
        for ready_for in [None, None, None, Some(60), Some(60)] {
            let end = ended(Cause::NotConnected, attempt, ready_for);
            let Step::Try { attempt: next, .. } =
                ladder.after(&end, true, Instant::now(), 0.5).step
            else {
                panic!("{end:?}")
            };
            attempt = next;
            tried.push(next);
        }

        assert_eq!(tried, [MAIN, RESUME, MAIN, MAIN, MAIN]);
    }

    #[test]
    fn failed_connects_alone_never_lead_to_an_identify() {
        let mut ladder = Ladder::new(Backoff::default());
        let mut attempt = RESUME;
        for _ in 0..10_000 {
            for cause in [Cause::NotConnected, Cause::Silent, Cause::Closed(None)] {
                let next = ladder.after(&ended(cause, attempt, None), true, Instant::now(), 0.9);
                let Step::Try { attempt: next, .. } = next.step else { panic!("{next:?}") };
                assert!(matches!(next, Attempt::Resume(_)));
                attempt = next;
            }
        }
    }

    /// 448 shards lose Discord at once, and reach it again an hour later.
    #[test]
    fn an_hour_without_discord_is_no_storm_and_everything_resumes_within_half_a_minute() {
        let began = Instant::now();
        let back = began + Duration::from_secs(3_600);
        let mut seconds = std::collections::BTreeMap::<u64, u32>::new();
        for shard in 0..448_u32 {
            let mut ladder = Ladder::new(Backoff::default());
            let (mut now, mut attempt, mut attempts) = (began, RESUME, 0);
            let mut cause = Cause::Closed(None);
            let mut ready = Some(3_600);
            while now < back {
                // Spread as good randomness is, and the same in every run.
                let random = f64::from((shard * 7_919 + attempts * 104_729) % 1_000) / 1_000.0;
                let next = ladder.after(&ended(cause, attempt, ready), true, now, random);
                let Step::Try { at, attempt: next } = next.step else { panic!("{next:?}") };
                assert!(matches!(next, Attempt::Resume(_)), "no session is given up");
                (now, attempt, cause, ready) = (at, next, Cause::NotConnected, None);
                attempts += 1;
                *seconds.entry((now - began).as_secs()).or_default() += 1;
            }
            assert!(attempts <= 250, "{attempts} attempts of one shard");
            assert!(now <= back + Duration::from_secs(30), "resumed soon after its return");
        }

        // Beyond the first doublings a fifteenth to a thirtieth of the fleet tries in a second.
        let most = seconds.range(300..3_600).map(|(_, count)| *count).max();
        assert!(most.is_some_and(|most| most <= 448 / 8), "{most:?} attempts in one second");
    }

    #[test]
    fn after_a_healthy_connection_the_retry_leaves_most_of_a_second_to_the_handshake() {
        for random in [0.0, 0.5, 1.0] {
            let mut ladder = Ladder::new(Backoff::default());
            let now = Instant::now();
            let end = ended(Cause::Reconnect, RESUME, Some(60));

            let Step::Try { at, .. } = ladder.after(&end, true, now, random).step else {
                panic!("no retry")
            };

            assert!(at - now <= Duration::from_millis(250));
        }
    }

    #[test]
    fn op_9_waits_one_to_five_seconds() {
        for random in [0.0, 0.5, 1.0] {
            let mut ladder = Ladder::new(Backoff::default());
            let now = Instant::now();
            let end = ended(Cause::InvalidSession { resumable: false }, RESUME, None);

            let Step::Try { at, .. } = ladder.after(&end, true, now, random).step else {
                panic!("no retry")
            };

            assert!((1.0..=5.0).contains(&(at - now).as_secs_f64()));
        }
    }

    #[test]
    fn a_session_lost_behind_identifies_once_in_ten_minutes() {
        let mut ladder = Ladder::new(Backoff::default());
        let now = Instant::now();
        let mut end = ended(Cause::InvalidSession { resumable: false }, RESUME, None);
        end.catching_up = true;

        let Step::Try { at: identified, attempt: Attempt::Identify } =
            ladder.after(&end, true, now, 0.0).step
        else {
            panic!("no identify")
        };
        let minute = now + Duration::from_secs(60);
        let again = ladder.after(&end, true, minute, 0.0).step;
        let later = ladder.after(&end, true, minute + Duration::from_secs(1_201), 0.0).step;

        assert_eq!(again, Step::Park { until: identified + Duration::from_secs(600) });
        assert!(matches!(later, Step::Try { attempt: Attempt::Identify, .. }));
    }

    fn causes() -> impl Strategy<Value = Cause> {
        prop_oneof![
            Just(Cause::NotConnected),
            prop_oneof![Just(1000_u16), Just(1001), 4000_u16..4004, 4005_u16..4010]
                .prop_map(|code| Cause::Closed(Some(code))),
            Just(Cause::Closed(None)),
            Just(Cause::Reconnect),
            any::<bool>().prop_map(|resumable| Cause::InvalidSession { resumable }),
            Just(Cause::Silent),
            Just(Cause::Garbage),
        ]
    }

    proptest! {
        /// Whatever ends the connections, and however long each lasted.
        #[test]
        fn attempts_never_come_faster_than_promised(
            ends in prop::collection::vec(
                (causes(), prop::option::of(0_u64..30_000), 0.0..1.0_f64), 1..200),
        ) {
            let mut ladder = Ladder::new(Backoff::default());
            let mut now = Instant::now();
            let mut attempt = RESUME;
            let mut attempts = vec![now];
            let mut has_session = true;
            for (cause, ready_ms, random) in ends {
                let ready_for = ready_ms.map(Duration::from_millis);
                has_session |= ready_for.is_some();
                now += ready_for.unwrap_or_default();
                let end = Ended { cause, attempt, ready_for, catching_up: false };
                let next = ladder.after(&end, has_session, now, random);
                let Step::Try { at, attempt: tried } = next.step else { panic!("{next:?}") };
                prop_assert_eq!(tried == Attempt::Identify, next.lost.is_some() || !has_session);
                has_session &= next.lost.is_none();
                (now, attempt) = (at, tried);
                attempts.push(at);
            }

            for pair in attempts.windows(2) {
                prop_assert!(pair[1] - pair[0] >= Duration::from_millis(50));
            }
            for window in attempts.windows(21) {
                prop_assert!(window[20] - window[0] >= Duration::from_secs(60));
            }
        }
    }
}
