//! What runs on this node, for whoever shows it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use crate::gateway::{Commands, Received, Status};
use crate::model::{Epoch, Sequence, ShardId};

/// A cloneable view of the shards that run on this node.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<ShardId, Entry>>>);

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) epoch: Epoch,
    pub(super) progress: Arc<Mutex<Progress>>,
    pub(super) status: watch::Receiver<Status>,
    pub(super) received: Received,
    pub(super) commands: Commands,
    /// Ends it; the agent starts what it owns and does not run.
    pub(super) stop: CancellationToken,
    /// How often it connected in the last ten minutes, where that is too often.
    pub(super) connects_of_late: Option<usize>,
}

/// A shard as it is now.
#[derive(Clone, Debug)]
pub struct ShardNow {
    /// The shard.
    pub shard: ShardId,
    /// The epoch under which it runs.
    pub epoch: Epoch,
    /// How far it has come.
    pub progress: Progress,
    /// Its connection.
    pub status: Status,
    /// The last sequence that came from the socket.
    pub received: Sequence,
    /// How often it connected in the last ten minutes, where that is too often.
    pub connects_of_late: Option<usize>,
}

impl Board {
    /// Every shard that runs, in order.
    #[must_use]
    pub fn shards(&self) -> Vec<ShardNow> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .iter()
            .map(|(shard, entry)| ShardNow {
                shard: *shard,
                epoch: entry.epoch,
                progress: *entry.progress.lock().unwrap_or_else(PoisonError::into_inner),
                status: entry.status.borrow().clone(),
                received: entry.received.sequence(),
                connects_of_late: entry.connects_of_late,
            })
            .collect()
    }

    /// The epoch under which a shard runs here.
    #[must_use]
    pub fn epoch(&self, shard: ShardId) -> Option<Epoch> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(&shard).map(|entry| entry.epoch)
    }

    /// The way to send gateway commands over a shard that runs here.
    #[must_use]
    pub fn commands(&self, shard: ShardId) -> Option<Commands> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(&shard).map(|entry| entry.commands.clone())
    }

    /// Ends a shard that runs here, so that the agent starts it anew: its handlers get their time, its connection is
    /// closed, and its session goes on from the last checkpoint. False where it does not run here, or ends already.
    #[must_use]
    pub fn respawn(&self, shard: ShardId) -> bool {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = entries.get(&shard).filter(|entry| !entry.stop.is_cancelled());
        runs.map(|entry| entry.stop.cancel()).is_some()
    }

    pub(super) fn put(&self, shard: ShardId, entry: Entry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(shard, entry);
    }

    pub(super) fn set_connects_of_late(&self, shard: ShardId, count: Option<usize>) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(&shard) {
            entry.connects_of_late = count;
        }
    }

    pub(super) fn remove(&self, shard: ShardId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&shard);
    }
}
