//! What the bots wrote and what the simulator knows, compared.

use std::fmt;

use apolo::{
    http::View,
    simulator::{ShardTruth, Truth},
};

use crate::kills::Audit;

/// Guilds and their members, over all shards, by the cluster's account and in truth.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Guilds, as the cluster has counted them and as there are.
    pub guilds: (u64, u64),
    /// Their members.
    pub members: (u64, u64),
    /// Shards of which one of the two is not true.
    pub wrong: usize,
}

impl Totals {
    pub(super) fn new(view: &View, truth: &Truth) -> Self {
        let mut totals = Self::default();
        for ShardTruth { shard, guilds, members, .. } in &truth.shards {
            let told = view.shards.iter().find(|row| row.shard.0 == *shard);
            let told = told.map(|row| (row.guilds, row.members)).unwrap_or_default();
            totals.guilds.0 += u64::from(told.0);
            totals.guilds.1 += u64::from(*guilds);
            totals.members.0 += told.1;
            totals.members.1 += members;
            totals.wrong += usize::from(told != (*guilds, *members));
        }
        totals
    }
}

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
    /// What the cluster has counted, where a node is left to ask.
    pub totals: Option<Totals>,
}

impl Account {
    pub(super) fn new(shards: usize, audit: Audit, truth: &Truth, totals: Option<Totals>) -> Self {
        let broken = truth.broken.iter();
        Self {
            shards,
            audit,
            identifies: truth.identifies_accepted + truth.identifies_refused,
            resumes: (truth.resumes_accepted, truth.resumes_refused),
            overlaps: truth.overlaps(0).len(),
            totals,
            broken: broken
                .map(|(rule, broken)| format!("{rule:?} × {}: {}", broken.count, broken.last))
                .collect(),
        }
    }

    /// Whether everything held that must in any scenario in which processes live or die: nothing lost, nothing
    /// identified anew, no two owners at once, every second delivery marked, no rule broken, every guild and member
    /// counted.
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
            && self.totals.is_none_or(|totals| totals.wrong == 0)
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
        if let Some(Totals { guilds, members, wrong }) = self.totals {
            writeln!(f, "guilds             {} counted, {} in truth", guilds.0, guilds.1)?;
            writeln!(f, "members            {} counted, {} in truth", members.0, members.1)?;
            writeln!(f, "shards miscounted  {wrong}")?;
        }
        for rule in &self.broken {
            writeln!(f, "rule broken        {rule}")?;
        }
        Ok(())
    }
}
