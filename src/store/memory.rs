//! The store in memory: for tests, and for a cluster in a simulation.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::{Backend, Done, Recovered, Snapshot, Write, WriteError};

/// A store without a disk. Clones share their content, so that a node can be started again on it.
#[derive(Clone, Debug)]
pub struct Memory {
    content: Arc<Mutex<Recovered>>,
    failure: Arc<watch::Sender<Option<WriteError>>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { content: Arc::default(), failure: Arc::new(watch::Sender::new(None)) }
    }
}

impl Memory {
    /// What it holds.
    #[must_use]
    pub fn recovered(&self) -> Recovered {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !content.is_empty() {
            content.promise = None;
        }
        content
    }

    /// Lets every later write fail.
    pub fn fail(&self, error: WriteError) {
        self.failure.send_replace(Some(error));
    }
}

impl Backend for Memory {
    fn submit(&self, write: Write, done: Done) {
        if let Some(error) = self.failure.borrow().clone() {
            return done(Err(error));
        }
        let applied = {
            let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
            apply(&mut content, write)
        };
        done(applied);
    }

    fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), WriteError> {
        if let Some(error) = self.failure.borrow().clone() {
            return Err(error);
        }
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        content.snapshot = Some(snapshot.clone());
        Ok(())
    }

    fn failure(&self) -> watch::Receiver<Option<WriteError>> {
        self.failure.subscribe()
    }
}

fn apply(content: &mut Recovered, write: Write) -> Result<(), WriteError> {
    match write {
        Write::Append(records) => content.records.extend(records),
        Write::Vote(vote) => content.vote = Some(vote),
        Write::Truncate(after) => {
            let from = after.map_or(0, |after| after.index + 1);
            content.records.retain(|record| record.position.index < from);
        }
        Write::Purge(to) => {
            content.purged = content.purged.max(Some(to));
            content.records.retain(|record| record.position.index > to.index);
        }
        Write::Committed(committed) => content.committed = committed,
        // A simulation knows its cluster.
        Write::Cluster(_) => {}
        Write::Promise(promise) => match &content.promise {
            Some(known) if *known != promise => {
                return Err(WriteError::OtherCluster(known.cluster));
            }
            _ => content.promise = Some(promise),
        },
    }
    Ok(())
}
