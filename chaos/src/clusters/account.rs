//! What the bots wrote and what the simulator knows, compared.

use std::fmt;

use apolo::simulator::Truth;

use crate::kills::Audit;

/// What became of the events and the sessions over a whole scenario.
#[derive(Clone, Debug)]
pub struct Account {
    /// Shards.
    pub shards: usize,
    /// What became of the events.
    pub audit: Audit,
    /// IDENTIFYs over all lives.
    pub identifies: u64,
    /// RESUMEs that Discord accepted, and refused.
    pub resumes: (u64, u64),
    /// Pairs of connections that held one shard at once.
    pub overlaps: usize,
    /// Rules of Discord's that were broken.
    pub broken: Vec<String>,
}

impl Account {
    pub(super) fn new(shards: usize, audit: Audit, truth: &Truth) -> Self {
        let broken = truth.broken.iter();
        Self {
            shards,
            audit,
            identifies: truth.identifies_accepted + truth.identifies_refused,
            resumes: (truth.resumes_accepted, truth.resumes_refused),
            overlaps: truth.overlaps(0).len(),
            broken: broken
                .map(|(rule, broken)| format!("{rule:?} × {}: {}", broken.count, broken.last))
                .collect(),
        }
    }

    /// Whether everything held that must in any scenario in which processes live or die: nothing lost, nothing
    /// identified anew, no two owners at once, every second delivery marked, no rule broken.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.overlaps == 0 && self.holds_but_for_overlaps()
    }

    /// The same where a process is frozen: its connections stay open, though it does nothing with them.
    pub(super) fn holds_but_for_overlaps(&self) -> bool {
        let Audit { lost, unmarked, unknown_sessions, .. } = self.audit;
        (lost, unmarked, unknown_sessions) == (0, 0, 0)
            && self.identifies == self.shards as u64
            && self.resumes.1 == 0
            && self.broken.is_empty()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Audit { sent, handled, lost, told, twice, unmarked, .. } = self.audit;
        writeln!(f, "events sent        {sent}")?;
        writeln!(f, "handled            {handled}, {twice} of them twice")?;
        writeln!(f, "lost               {lost}, of {told} the bot was told")?;
        writeln!(f, "twice, not marked  {unmarked}")?;
        writeln!(f, "two owners at once {}", self.overlaps)?;
        writeln!(f, "identifies         {} for {} shards", self.identifies, self.shards)?;
        writeln!(f, "resumes            {} accepted, {} refused", self.resumes.0, self.resumes.1)?;
        for rule in &self.broken {
            writeln!(f, "rule broken        {rule}")?;
        }
        Ok(())
    }
}
