//! What the histories came to.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use super::{CLIENTS, LinearOptions, fault::Fault};
use crate::linear::Verdict;

/// What the histories came to.
#[derive(Clone, Debug)]
pub struct LinearReport {
    /// The histories, in order.
    pub recorded: Vec<Recorded>,
    /// Why no packets were dropped, where they could not be.
    pub without_cuts: Option<String>,
    nodes: usize,
    histories: usize,
    operations: usize,
}

/// One history.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Operations that were answered.
    pub answered: usize,
    /// Changes of which nobody knows whether they happened.
    pub unknown: usize,
    /// Operations that have certainly not happened: no connection, or the node said so.
    pub refused: usize,
    /// Reads without an answer.
    pub unread: usize,
    /// How many terms later it was when the fault had struck.
    pub terms: u64,
    /// Whether another node led then.
    pub new_leader: bool,
    /// The longest time in which no operation of any client was answered.
    pub stall: Duration,
    /// The longest time from a call to its answer, of any client.
    pub slowest: Duration,
    /// What the checker says.
    pub verdict: Verdict,
    /// How long it took.
    pub checked_in: Duration,
    /// Where the history is, if it does not hold.
    pub saved: Option<PathBuf>,
    pub(super) fault: Fault,
}

impl LinearReport {
    pub(super) const fn new(options: &LinearOptions, without_cuts: Option<String>) -> Self {
        let LinearOptions { nodes, histories, operations, .. } = *options;
        Self { recorded: Vec::new(), without_cuts, nodes, histories, operations }
    }

    /// The history that does not hold, if there is one.
    #[must_use]
    pub fn failed(&self) -> Option<&Recorded> {
        self.recorded.iter().find(|recorded| !recorded.verdict.holds())
    }

    /// Whether all histories are there and linearizable.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.recorded.len() == self.histories
            && self.failed().is_none()
            && self.recorded.iter().all(|it| it.answered >= self.operations)
    }

    /// Whether the faults were felt: the leadership moved, and some operations came to nothing or to nobody knows what.
    /// A run of each fault or more must show all of it.
    #[must_use]
    pub fn is_hard(&self) -> bool {
        let any = |felt: fn(&Recorded) -> bool| self.recorded.iter().any(felt);
        any(|it| it.new_leader)
            && any(|it| it.unknown > 0)
            && any(|it| it.refused > 0)
            && any(|it| it.unread > 0)
    }

    fn sum(&self, of: fn(&Recorded) -> usize) -> usize {
        self.recorded.iter().map(of).sum()
    }
}

impl fmt::Display for LinearReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.recorded.len();
        let Self { nodes, operations, .. } = self;
        writeln!(f, "histories          {count}, {nodes} nodes, {CLIENTS} clients")?;
        let [answered, unknown] = [self.sum(|it| it.answered), self.sum(|it| it.unknown)];
        let [refused, unread] = [self.sum(|it| it.refused), self.sum(|it| it.unread)];
        let least = self.recorded.iter().map(|it| it.answered).min().unwrap_or(0);
        writeln!(f, "operations         {answered} answered, {least} in a history at least")?;
        writeln!(f, "                   ({operations} wanted)")?;
        writeln!(
            f,
            "without an answer  {unknown} changes in doubt, {refused} operations refused,"
        )?;
        writeln!(f, "                   {unread} reads failed")?;
        let leaders = self.recorded.iter().filter(|it| it.new_leader).count();
        writeln!(f, "leaders            {leaders} faults after which another node led")?;
        if let Some(reason) = &self.without_cuts {
            writeln!(f, "no cuts            {reason}")?;
        }
        let mut faults: BTreeMap<String, Vec<&Recorded>> = BTreeMap::new();
        for recorded in &self.recorded {
            faults.entry(recorded.fault.to_string()).or_default().push(recorded);
        }
        for (fault, recorded) in faults {
            let sum = |of: fn(&Recorded) -> usize| recorded.iter().copied().map(of).sum::<usize>();
            let terms: u64 = recorded.iter().map(|it| it.terms).sum();
            let stall = recorded.iter().map(|it| it.stall).max().unwrap_or_default();
            let slowest = recorded.iter().map(|it| it.slowest).max().unwrap_or_default();
            writeln!(
                f,
                "{fault} {:>4} histories, {:>7} answered, {:>5} in doubt, {terms:>3} terms, stall {stall:.2?}, slowest answer {slowest:.2?} at most",
                recorded.len(),
                sum(|it| it.answered),
                sum(|it| it.unknown),
            )?;
        }
        let slowest = self.recorded.iter().map(|it| it.checked_in).max().unwrap_or_default();
        writeln!(f, "checked            in {slowest:.2?} each at most")?;
        let Some(failed) = self.failed() else {
            return write!(f, "verdict            linearizable");
        };
        writeln!(f, "verdict            after {}: {}", failed.fault, failed.verdict)?;
        match &failed.saved {
            Some(path) => write!(f, "the history        {}", path.display()),
            None => Ok(()),
        }
    }
}
