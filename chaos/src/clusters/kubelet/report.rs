//! What a scenario came to, and which promises it broke.

use std::{fmt, time::Duration};

use super::{runner::Status, scenario::Scenario};
use crate::clusters::{account::Account, spans::Spans};

/// What the kubelets did, over all pods.
#[derive(Clone, Debug)]
pub(super) struct Pods {
    made: usize,
    restarts: u32,
    killed: u32,
    stopped_in: Duration,
}

impl Pods {
    pub(super) fn new(statuses: &[Status]) -> Self {
        Self {
            made: statuses.len(),
            restarts: statuses.iter().map(|status| status.starts.saturating_sub(1)).sum(),
            killed: statuses.iter().map(|status| status.killed).sum(),
            stopped_in: statuses.iter().map(|status| status.stopped_in).max().unwrap_or_default(),
        }
    }
}

/// What a scenario came to.
#[derive(Clone, Debug)]
pub struct KubeletReport {
    /// What happened.
    pub scenario: Scenario,
    /// What must hold.
    pub account: Account,
    /// Between two connections of a shard, of each shard each time.
    pub gaps: Spans,
    pub(super) steps: Vec<(&'static str, Duration)>,
    pub(super) pods: Pods,
}

impl KubeletReport {
    /// Whether every promise was kept.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.broken().is_empty()
    }

    /// How long a gap is is shown and no promise: it says as much of the machine.
    fn broken(&self) -> Vec<&'static str> {
        let Self { account, pods, .. } = self;
        let frozen = self.scenario == Scenario::Frozen;
        let handed =
            matches!(self.scenario, Scenario::Rolling | Scenario::Scale | Scenario::Deleted);
        let holds = if frozen { account.holds_but_for_overlaps() } else { account.holds() };
        let kills = u32::from(matches!(self.scenario, Scenario::NodeLost | Scenario::Frozen));
        let promises = [
            (holds, "nothing lost, nothing identified anew, no two owners, all counted"),
            (!handed || account.audit.twice == 0, "nothing twice where shards are handed off"),
            (pods.killed == kills, "every node that is told to stop does so within its grace"),
            (pods.restarts == u32::from(frozen), "no container ends by itself or for a probe"),
        ];
        promises.into_iter().filter(|(kept, _)| !kept).map(|(_, promise)| promise).collect()
    }
}

impl fmt::Display for KubeletReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pods { made, restarts, killed, stopped_in } = &self.pods;
        writeln!(f, "scenario           {:?}", self.scenario)?;
        for (what, took) in &self.steps {
            writeln!(f, "took               {took:.1?}: {what}")?;
        }
        writeln!(f, "pods made          {made}, {restarts} restarts, {killed} killed")?;
        writeln!(f, "SIGTERM to its end {stopped_in:.2?} at most")?;
        write!(f, "{}", self.account)?;
        writeln!(f, "gap of a shard     {}", self.gaps)?;
        for promise in self.broken() {
            writeln!(f, "promise broken     {promise}")?;
        }
        Ok(())
    }
}
