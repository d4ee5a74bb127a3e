//! The last entries, for whoever reads along.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{Entry, Fact};
use crate::model::UnixMillis;

/// Entries that are kept: a day of a calm cluster, and a failover of a large one whole.
pub const ENTRIES_MAX: usize = 1_024;

/// Shards that all entries name together, at most: some megabytes of JSON. The oldest entries go first.
const SHARDS_NAMED_MAX: usize = 256 * 1024;

/// A cloneable view of what happened since this process has started.
#[derive(Clone, Debug)]
pub struct Timeline(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: Mutex<Kept>,
    last: watch::Sender<u64>,
    /// Below every id.
    first: u64,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Arc<Entry>>,
    /// Ids of shards in all of them.
    shards: usize,
}

impl Timeline {
    /// An empty one of a process that has started at `started`. Its ids begin there, so that a reader who comes from this
    /// node's last process, or from another node, is given what is new to it.
    #[must_use]
    pub fn new(started: UnixMillis) -> Self {
        let last = watch::Sender::new(started.0);
        Self(Arc::new(Inner { kept: Mutex::default(), last, first: started.0 }))
    }

    /// Adds what happened, seen at `at`.
    pub fn push(&self, facts: impl IntoIterator<Item = Fact>, at: UnixMillis) {
        let mut kept = self.kept();
        let before = *self.0.last.borrow();
        let mut id = before;
        for fact in facts {
            id += 1;
            let entry = fact.entry(id, at);
            kept.shards += entry.shards.len();
            kept.entries.push_back(Arc::new(entry));
            while kept.entries.len() > ENTRIES_MAX || kept.shards > SHARDS_NAMED_MAX {
                let Some(oldest) = kept.entries.pop_front() else { break };
                kept.shards -= oldest.shards.len();
            }
        }
        if id > before {
            self.0.last.send_replace(id);
        }
    }

    /// The entries behind `id`, oldest first. An id that this process has not given yet is another process': all are
    /// new to whoever names it.
    #[must_use]
    pub fn since(&self, id: u64) -> Vec<Arc<Entry>> {
        let kept = self.kept();
        let known = (self.0.first..=*self.0.last.borrow()).contains(&id);
        let id = if known { id } else { 0 };
        kept.entries.iter().filter(|entry| entry.id > id).cloned().collect()
    }

    /// The last id, and its changes.
    #[must_use]
    pub fn last(&self) -> watch::Receiver<u64> {
        self.0.last.subscribe()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
