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

/// A cloneable view of what happened since this process has started.
#[derive(Clone, Debug)]
pub struct Timeline(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    entries: Mutex<VecDeque<Entry>>,
    last: watch::Sender<u64>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self(Arc::new(Inner { entries: Mutex::default(), last: watch::Sender::new(0) }))
    }
}

impl Timeline {
    /// Adds what happened, seen at `at`.
    pub fn push(&self, facts: impl IntoIterator<Item = Fact>, at: UnixMillis) {
        let mut entries = self.entries();
        let before = *self.0.last.borrow();
        let mut id = before;
        for fact in facts {
            id += 1;
            if entries.len() == ENTRIES_MAX {
                entries.pop_front();
            }
            entries.push_back(fact.entry(id, at));
        }
        if id > before {
            self.0.last.send_replace(id);
        }
    }

    /// The entries behind `id`, oldest first. An id that this process has not given yet is another process': all are
    /// new to whoever names it.
    #[must_use]
    pub fn since(&self, id: u64) -> Vec<Entry> {
        let entries = self.entries();
        let id = if id > *self.0.last.borrow() { 0 } else { id };
        entries.iter().filter(|entry| entry.id > id).cloned().collect()
    }

    /// The last id, and its changes.
    #[must_use]
    pub fn last(&self) -> watch::Receiver<u64> {
        self.0.last.subscribe()
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
