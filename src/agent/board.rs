//! What runs on this node, for whoever shows it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use super::progress::Progress;
use crate::gateway::{Commands, Received, Status};
use crate::model::{Epoch, Sequence, ShardId};

/// A cloneable view of the shards that run on this node.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<ShardId, Entry>>>);

#[derive(Clone, Debug)]
struct Entry {
    epoch: Epoch,
    progress: Arc<Mutex<Progress>>,
    status: watch::Receiver<Status>,
    received: Received,
    commands: Commands,
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

    pub(super) fn put(
        &self,
        shard: ShardId,
        epoch: Epoch,
        progress: Arc<Mutex<Progress>>,
        status: watch::Receiver<Status>,
        received: Received,
        commands: Commands,
    ) {
        let entry = Entry { epoch, progress, status, received, commands };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(shard, entry);
    }

    pub(super) fn remove(&self, shard: ShardId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&shard);
    }
}
