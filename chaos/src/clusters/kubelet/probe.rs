//! The three probes of a container over time. Pure: whoever holds them asks over HTTP and says what was heard.
//!
//! Until the startup probe has succeeded the other two are not asked. Each has an answer under way at most.

use std::time::Duration;

use tokio::time::Instant;

use super::manifest::{Container, ProbeSpec};

/// Which probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Startup,
    Readiness,
    Liveness,
}

/// One probe.
#[derive(Debug)]
pub(super) struct Probe {
    spec: ProbeSpec,
    next: Instant,
    asked: bool,
    /// What was heard last, and how often in a row.
    row: (bool, u32),
    verdict: bool,
}

impl Probe {
    fn new(spec: ProbeSpec, started: Instant, verdict: bool) -> Self {
        let next = started + Duration::from_secs(spec.initial_delay_seconds);
        Self { spec, next, asked: false, row: (verdict, 0), verdict }
    }

    /// Whether it is to be asked; if so, it counts as asked.
    fn ask(&mut self, now: Instant) -> bool {
        let due = !self.asked && self.next <= now;
        if due {
            self.asked = true;
            self.next = now + Duration::from_secs(self.spec.period_seconds);
        }
        due
    }

    fn heard(&mut self, success: bool) {
        self.asked = false;
        self.row = if self.row.0 == success { (success, self.row.1 + 1) } else { (success, 1) };
        let threshold =
            if success { self.spec.success_threshold } else { self.spec.failure_threshold };
        if self.row.1 >= threshold {
            self.verdict = success;
        }
    }
}

/// The probes of one life of a container.
#[derive(Debug)]
pub(super) struct Probes {
    startup: Probe,
    readiness: Probe,
    liveness: Probe,
    /// The startup probe has failed for good.
    never_started: bool,
}

impl Probes {
    pub(super) fn new(container: &Container, started: Instant) -> Self {
        Self {
            startup: Probe::new(container.startup_probe.clone(), started, false),
            readiness: Probe::new(container.readiness_probe.clone(), started, false),
            liveness: Probe::new(container.liveness_probe.clone(), started, true),
            never_started: false,
        }
    }

    /// When somebody is to be asked next; nothing while all answers are under way.
    pub(super) fn due(&self) -> Option<Instant> {
        let waiting = self.asked_of().into_iter().filter(|probe| !probe.asked);
        waiting.map(|probe| probe.next).min()
    }

    fn asked_of(&self) -> Vec<&Probe> {
        if self.startup.verdict {
            vec![&self.readiness, &self.liveness]
        } else {
            vec![&self.startup]
        }
    }

    /// Who is to be asked, and counts as asked.
    pub(super) fn ask(&mut self, now: Instant) -> Vec<(Kind, ProbeSpec)> {
        let probes = if self.startup.verdict {
            vec![(Kind::Readiness, &mut self.readiness), (Kind::Liveness, &mut self.liveness)]
        } else {
            vec![(Kind::Startup, &mut self.startup)]
        };
        let due = probes
            .into_iter()
            .filter_map(|(kind, probe)| probe.ask(now).then(|| (kind, probe.spec.clone())));
        due.collect()
    }

    pub(super) fn heard(&mut self, kind: Kind, success: bool) {
        match kind {
            Kind::Readiness => self.readiness.heard(success),
            Kind::Liveness => self.liveness.heard(success),
            Kind::Startup => {
                self.startup.heard(success);
                let (heard, times) = self.startup.row;
                self.never_started |= !heard && times >= self.startup.spec.failure_threshold;
            }
        }
    }

    pub(super) fn ready(&self) -> bool {
        self.startup.verdict && self.readiness.verdict
    }

    /// The probe for which the container is to be stopped.
    pub(super) fn failed(&self) -> Option<Kind> {
        if self.never_started {
            return Some(Kind::Startup);
        }
        (!self.liveness.verdict).then_some(Kind::Liveness)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Kind::{Liveness, Readiness, Startup};

    /// Every 2, 2 and 5 s; 3, 2 and 2 failures in a row; two successes in a row for ready.
    fn probes(started: Instant) -> Probes {
        let spec = |period_seconds, failure_threshold, success_threshold| ProbeSpec {
            period_seconds,
            failure_threshold,
            success_threshold,
            initial_delay_seconds: 0,
            ..ProbeSpec::default()
        };
        Probes {
            startup: Probe::new(spec(2, 3, 1), started, false),
            readiness: Probe::new(spec(2, 2, 2), started, false),
            liveness: Probe::new(spec(5, 2, 1), started, true),
            never_started: false,
        }
    }

    fn started(now: Instant) -> Probes {
        let mut probes = probes(now);
        probes.ask(now);
        probes.heard(Startup, true);
        probes
    }

    fn asked(probes: &mut Probes, now: Instant) -> Vec<Kind> {
        probes.ask(now).into_iter().map(|(kind, _)| kind).collect()
    }

    #[test]
    fn the_startup_probe_is_alone_until_it_succeeds() {
        let now = Instant::now();
        let mut probes = probes(now);

        assert_eq!(asked(&mut probes, now), [Startup]);
        assert_eq!(probes.due(), None);
        probes.heard(Startup, true);
        assert_eq!(asked(&mut probes, now), [Readiness, Liveness]);
    }

    #[test]
    fn each_is_asked_again_after_its_period_and_not_while_it_has_not_answered() {
        let now = Instant::now();
        let mut probes = started(now);
        let after = |seconds| now + Duration::from_secs(seconds);
        asked(&mut probes, now);
        probes.heard(Readiness, true);

        assert_eq!(probes.due(), Some(after(2)));
        assert_eq!(asked(&mut probes, after(1)), []);
        assert_eq!(asked(&mut probes, after(6)), [Readiness]);
        probes.heard(Liveness, true);
        assert_eq!(asked(&mut probes, after(6)), [Liveness]);
    }

    #[test]
    fn an_initial_delay_is_waited_for() {
        let now = Instant::now();
        let spec = ProbeSpec { initial_delay_seconds: 7, ..ProbeSpec::default() };
        let mut probe = Probe::new(spec, now, false);

        assert!(!probe.ask(now + Duration::from_secs(6)));
        assert!(probe.ask(now + Duration::from_secs(7)));
    }

    #[test]
    fn only_a_row_changes_what_is_thought_of_it() {
        let mut probes = started(Instant::now());

        let ready = [true, false, true, true, false, true, false, false].map(|success| {
            probes.heard(Readiness, success);
            probes.ready()
        });

        assert_eq!(ready, [false, false, false, true, true, true, true, false]);
        assert_eq!(probes.failed(), None);
    }

    #[test]
    fn liveness_fails_after_its_threshold() {
        let mut probes = started(Instant::now());

        probes.heard(Liveness, false);
        assert_eq!(probes.failed(), None);
        probes.heard(Liveness, false);
        assert_eq!(probes.failed(), Some(Liveness));
    }

    #[test]
    fn one_that_never_starts_is_stopped() {
        let mut probes = probes(Instant::now());

        let failed = [(); 3].map(|()| {
            probes.heard(Startup, false);
            probes.failed()
        });

        assert_eq!(failed, [None, None, Some(Startup)]);
    }
}
