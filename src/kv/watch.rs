//! Following what changes.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::watch;

use super::{Kv, KvError, UserChange};
use crate::state::State;

/// Changes that are taken out of a state at a time: what a slow reader holds beside the state.
const PAGE: usize = 256;

/// A key has changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// The change's number. To go on behind it, watch from the next.
    pub revision: u64,
    /// Which key.
    pub key: Arc<str>,
    /// How.
    pub change: UserChange,
}

/// What changes, in order and without a gap, as this node applies it.
#[derive(Debug)]
pub struct Watch {
    kv: Kv,
    states: watch::Receiver<Arc<State>>,
    namespace: Arc<str>,
    prefix: Arc<str>,
    next: u64,
    found: VecDeque<Change>,
}

impl Watch {
    pub(super) fn new(kv: Kv, namespace: Arc<str>, prefix: Arc<str>, next: u64) -> Self {
        let states = kv.states.clone();
        Self { kv, states, namespace, prefix, next, found: VecDeque::new() }
    }

    /// Waits for the next change. Nothing is lost where the future is dropped.
    ///
    /// # Errors
    ///
    /// [`KvError::Compacted`] where the changes were forgotten before they were asked for, and
    /// [`KvError::Stopped`].
    pub async fn next(&mut self) -> Result<Change, KvError> {
        loop {
            if let Some(change) = self.found.pop_front() {
                return Ok(change);
            }
            self.look()?;
            if self.found.is_empty() {
                tokio::select! {
                    changed = self.states.changed() => changed.map_err(|_| KvError::Stopped)?,
                    () = self.kv.writes.closed() => return Err(KvError::Stopped),
                }
            }
        }
    }

    /// The first revision that has not been looked at yet: what to go on from where nothing is found.
    #[must_use]
    pub fn next_revision(&self) -> u64 {
        self.found.front().map_or(self.next, |change| change.revision)
    }

    fn look(&mut self) -> Result<(), KvError> {
        let state = Arc::clone(&self.states.borrow_and_update());
        for (revision, event) in state.user().changes(self.next)? {
            if self.found.len() >= PAGE {
                return Ok(());
            }
            self.next = revision + 1;
            if event.path.namespace == self.namespace && event.path.key.starts_with(&*self.prefix) {
                let (key, change) = (Arc::clone(&event.path.key), event.change.clone());
                self.found.push_back(Change { revision, key, change });
            }
        }
        Ok(())
    }
}
