use super::verdict::Verdict;
use std::fmt;

/// What many power losses did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Power losses.
    pub cuts: u64,
    /// Entries that were acknowledged.
    pub acknowledged: u64,
    /// Acknowledged entries that were silently not there.
    pub lost_entries: u64,
    /// Cuts after which something acknowledged was silently not there.
    pub cuts_with_loss: u64,
    /// Cuts after which the vote had fallen.
    pub votes_fallen: u64,
    /// Cuts after which something was handed out that was never written.
    pub wrong: u64,
    /// Cuts after which the subject put its files aside.
    pub quarantined: u64,
    /// Cuts after which the subject refused to open.
    pub refused: u64,
    /// Cuts after which the process that opened what was left panicked or hung.
    pub died: u64,
    /// What the volumes dropped: writes, bytes, names.
    pub dropped: Dropped,
    /// The first few cuts that were not [`Verdict::Kept`], in words.
    pub remarks: Vec<String>,
}

/// What volumes dropped at power cuts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Writes and resizes, torn ones too.
    pub changes: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Created, renamed and removed names.
    pub names: u64,
}

/// More remarks than this say nothing new.
const REMARKS_MAX: usize = 10;

impl Report {
    /// Counts one cut.
    pub(super) fn add(&mut self, verdict: &Verdict, moment: &str) {
        self.cuts += 1;
        match verdict {
            Verdict::Kept => return,
            Verdict::Lost { entries, vote_fell } => {
                self.lost_entries += entries;
                self.cuts_with_loss += 1;
                self.votes_fallen += u64::from(*vote_fell);
            }
            Verdict::Wrong(_) => self.wrong += 1,
            Verdict::Quarantined(_) => self.quarantined += 1,
            Verdict::Refused(_) => self.refused += 1,
            Verdict::Died(_) => self.died += 1,
        }
        if self.remarks.len() < REMARKS_MAX {
            self.remarks.push(format!("{moment}: {verdict:?}"));
        }
    }

    /// Counts what a volume dropped.
    pub(super) fn add_dropped(&mut self, stats: crate::powerloss::Stats) {
        self.dropped.changes += stats.lost_changes;
        self.dropped.bytes += stats.lost_bytes;
        self.dropped.names += stats.lost_names;
    }

    /// Adds what another thread counted.
    pub(super) fn merge(&mut self, other: Self) {
        self.cuts += other.cuts;
        self.acknowledged += other.acknowledged;
        self.lost_entries += other.lost_entries;
        self.cuts_with_loss += other.cuts_with_loss;
        self.votes_fallen += other.votes_fallen;
        self.wrong += other.wrong;
        self.quarantined += other.quarantined;
        self.refused += other.refused;
        self.died += other.died;
        self.dropped.changes += other.dropped.changes;
        self.dropped.bytes += other.dropped.bytes;
        self.dropped.names += other.dropped.names;
        self.remarks.extend(other.remarks);
        self.remarks.truncate(REMARKS_MAX);
    }

    /// Whether nothing acknowledged was lost silently and nothing wrong was handed out.
    pub fn is_safe(&self) -> bool {
        self.cuts_with_loss == 0 && self.wrong == 0
    }

    /// Whether it is safe and no memory was put aside either.
    pub fn is_whole(&self) -> bool {
        self.is_safe() && self.quarantined == 0 && self.refused == 0 && self.died == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "power cuts    {:>10}", self.cuts)?;
        writeln!(f, "acknowledged  {:>10}", self.acknowledged)?;
        writeln!(f, "lost          {:>10} in {} cuts", self.lost_entries, self.cuts_with_loss)?;
        writeln!(f, "votes fallen  {:>10}", self.votes_fallen)?;
        writeln!(f, "wrong         {:>10}", self.wrong)?;
        writeln!(f, "quarantined   {:>10}", self.quarantined)?;
        writeln!(f, "refused       {:>10}", self.refused)?;
        writeln!(f, "died          {:>10}", self.died)?;
        let Dropped { changes, bytes, names } = self.dropped;
        write!(f, "dropped       {changes:>10} writes ({bytes} bytes), {names} names")?;
        self.remarks.iter().try_for_each(|remark| write!(f, "\n  {remark}"))
    }
}
