//! What the rounds came to.

use std::{fmt, time::Duration};

use crate::kills::Audit;

/// One kill.
#[derive(Clone, Debug)]
pub struct Failover {
    /// Who was killed: its part in Raft.
    pub role: &'static str,
    /// Shards that it owned.
    pub shards: usize,
    /// From the kill to the last shard's RESUMED.
    pub resumed_in: Duration,
}

/// What the rounds came to.
#[derive(Clone, Debug)]
pub struct ClusterReport {
    /// Nodes.
    pub nodes: usize,
    /// Shards.
    pub shards: u32,
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
    /// The kills.
    pub failovers: Vec<Failover>,
}

impl ClusterReport {
    /// Whether everything held that must: nothing lost, nothing identified anew, no two owners at once, every second
    /// delivery marked, no rule broken.
    #[must_use]
    pub fn holds(&self) -> bool {
        let Audit { lost, unmarked, unknown_sessions, .. } = self.audit;
        (lost, unmarked, unknown_sessions) == (0, 0, 0)
            && self.identifies == u64::from(self.shards)
            && self.resumes.1 == 0
            && self.overlaps == 0
            && self.broken.is_empty()
    }

    fn percentile(&self, percent: usize) -> Duration {
        let mut spans: Vec<_> = self.failovers.iter().map(|it| it.resumed_in).collect();
        spans.sort_unstable();
        let last = spans.len().saturating_sub(1);
        spans.get(last * percent / 100).copied().unwrap_or_default()
    }
}

impl fmt::Display for ClusterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Audit { sent, handled, lost, told, twice, unmarked, .. } = self.audit;
        let leaders = self.failovers.iter().filter(|it| it.role == "leader").count();
        let moved: usize = self.failovers.iter().map(|it| it.shards).sum();
        writeln!(f, "nodes              {}, {} shards", self.nodes, self.shards)?;
        writeln!(f, "kills              {}, {leaders} of the leader", self.failovers.len())?;
        writeln!(f, "shards moved       {moved}")?;
        writeln!(f, "events sent        {sent}")?;
        writeln!(f, "handled            {handled}, {twice} of them twice")?;
        writeln!(f, "lost               {lost}, of {told} the bot was told")?;
        writeln!(f, "twice, not marked  {unmarked}")?;
        writeln!(f, "two owners at once {}", self.overlaps)?;
        writeln!(f, "identifies         {} for {} shards", self.identifies, self.shards)?;
        writeln!(f, "resumes            {} accepted, {} refused", self.resumes.0, self.resumes.1)?;
        let [p50, p99, max] = [50, 99, 100].map(|percent| self.percentile(percent));
        let n = self.failovers.len();
        writeln!(
            f,
            "kill to RESUMED    p50 {p50:.2?}, p99 {p99:.2?}, max {max:.2?} (n = {n}, the last shard each)"
        )?;
        for rule in &self.broken {
            writeln!(f, "rule broken        {rule}")?;
        }
        Ok(())
    }
}
