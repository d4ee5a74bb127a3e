//! The faults that wait for their step.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    fault::{Fault, Step, Url},
    injection::{InjectError, Injection},
};

/// The faults that wait for their step, and how often each kind struck.
#[derive(Debug, Default)]
pub(super) struct Armed {
    faults: Vec<Waiting>,
    struck: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
struct Waiting {
    injection: Injection,
    left: Option<u32>,
    until: Option<Instant>,
}

impl Armed {
    /// Arms a fault.
    pub(super) fn arm(&mut self, injection: Injection, now: Instant) -> Result<(), InjectError> {
        self.forget(now);
        if self.faults.len() >= ARMED_MAX {
            return Err(InjectError::TooMany(self.faults.len()));
        }
        let until = injection.for_ms.and_then(|ms| now.checked_add(Duration::from_millis(ms)));
        self.faults.push(Waiting { left: injection.times, until, injection });
        Ok(())
    }

    /// The fault that strikes at this step, if one does. It counts as struck.
    pub(super) fn strike(
        &mut self,
        step: Step,
        shard: Option<u32>,
        url: Option<Url>,
        now: Instant,
    ) -> Option<Fault> {
        if self.faults.is_empty() {
            return None;
        }
        self.forget(now);
        let waiting = self.faults.iter_mut().find(|waiting| {
            waiting.injection.fault.step() == Some(step) && waiting.injection.covers(shard, url)
        })?;
        if let Some(left) = &mut waiting.left {
            *left -= 1;
        }
        let fault = waiting.injection.fault.clone();
        self.count(&fault);
        Some(fault)
    }

    /// Counts a fault that struck.
    pub(super) fn count(&mut self, fault: &Fault) {
        *self.struck.entry(fault.name()).or_default() += 1;
    }

    /// The rate of the burst that is on for this shard, and when it ends.
    pub(super) fn burst(&mut self, shard: u32, now: Instant) -> Option<(f64, Option<Instant>)> {
        self.forget(now);
        let mut bursts = self.faults.iter().filter(|own| own.injection.covers(Some(shard), None));
        bursts.find_map(|waiting| {
            let Fault::Burst { events_per_second } = waiting.injection.fault else { return None };
            Some((events_per_second, waiting.until))
        })
    }

    /// The names of the dispatches that are withheld from this shard.
    pub(super) fn withheld(&mut self, shard: u32, now: Instant) -> BTreeSet<String> {
        self.forget(now);
        let own = self.faults.iter().filter(|own| own.injection.covers(Some(shard), None));
        own.filter_map(|waiting| match &waiting.injection.fault {
            Fault::Withhold { events } => Some(events),
            _ => None,
        })
        .flatten()
        .cloned()
        .collect()
    }

    /// What is armed.
    pub(super) fn list(&mut self, now: Instant) -> Vec<Injection> {
        self.forget(now);
        self.faults.iter().map(|waiting| waiting.injection.clone()).collect()
    }

    /// How often each kind struck.
    pub(super) fn struck(&self) -> BTreeMap<String, u64> {
        self.struck.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    /// Disarms everything.
    pub(super) fn clear(&mut self) {
        self.faults.clear();
    }

    fn forget(&mut self, now: Instant) {
        self.faults.retain(|waiting| {
            waiting.left != Some(0) && waiting.until.is_none_or(|until| now < until)
        });
    }
}

/// More faults at a time than any scenario has.
const ARMED_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_so_often_and_no_more() {
        let now = Instant::now();
        let mut armed = Armed::default();
        armed.arm(Fault::NoHello.times(2), now).unwrap();

        let struck = (0..4).filter(|_| armed.strike(Step::Hello, None, None, now).is_some());

        assert_eq!(struck.count(), 2);
        assert_eq!(armed.struck()["no_hello"], 2);
    }

    #[test]
    fn a_fault_strikes_only_its_shards_its_url_and_its_step() {
        let now = Instant::now();
        let mut armed = Armed::default();
        armed.arm(Fault::NoReady.on([3]).by(Url::Main), now).unwrap();

        let mut strikes =
            |step, shard, url| armed.strike(step, Some(shard), Some(url), now).is_some();

        assert!(!strikes(Step::Identify, 2, Url::Main));
        assert!(!strikes(Step::Identify, 3, Url::Resume));
        assert!(!strikes(Step::Resume, 3, Url::Main));
        assert!(strikes(Step::Identify, 3, Url::Main));
    }

    #[test]
    fn a_fault_ends_with_its_time() {
        let now = Instant::now();
        let mut armed = Armed::default();
        armed.arm(Fault::Down.lasting(Duration::from_secs(3)), now).unwrap();

        assert!(armed.strike(Step::Down, None, None, now + Duration::from_secs(2)).is_some());
        assert!(armed.strike(Step::Down, None, None, now + Duration::from_secs(3)).is_none());
    }
}
