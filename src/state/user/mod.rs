//! What the bot keeps in the cluster: values with a time to live, counters, leaderboards and locks.
//!
//! It promises that every change takes the next revision, so that of two tokens of one lock the later is the greater;
//! that a key is gone as soon as the state's time has reached its end, on all replicas at the same entry of the log;
//! that a node's batch counts once however often it was proposed; that a restore takes the place of everything in one
//! step, or changes nothing; and that all of it stays within its bounds, exactly
//! counted. It knows no clock: each batch brings the leader's logical time, which only grows, and stands still while
//! nobody leads. So a change of leader prolongs a time to live, and never cuts one short.
//!
//! Maps are persistent: the state is copied with each batch of entries, and a copy shares all that did not change.
//!
//! ```text
//!   UserBatch { now_ms, ops } ──▶ time, expiry ──▶ each op: check, account, change, remember ──▶ UserOutcome of each
//! ```

mod apply;
mod board;
mod history;
mod item;
mod limits;
mod op;
mod path;
mod restore;
mod staging;
mod table;
#[cfg(test)]
mod tests;
mod value;

pub use board::Board;
pub use history::{Compacted, UserChange, UserEvent};
pub use item::{CHUNK_BYTES_MAX, CHUNK_ITEMS_MAX, ChunkError, Item, chained, decode_chunk};
pub use limits::{
    BATCH_BYTES_MAX, BATCH_OPS_MAX, ENTRY_BYTES, EXPIRED_MAX, HISTORY_BYTES_MAX, HISTORY_MAX,
    KEY_BYTES_MAX, MEMBER_BYTES, MEMBERS_MAX, NAME_BYTES_MAX, NAMESPACE_BYTES_MAX, TOTAL_BYTES_MAX,
    TTL_MS_MAX, VALUE_BYTES_MAX,
};
pub use op::{Condition, Sender, UserBatch, UserOp, UserOutcome, UserRefusal};
pub use path::Path;
pub use restore::{
    RESTORE_MS_MAX, Restore, RestoreId, RestorePlan, RestoreRefusal, RestoreStep, Restored,
};
pub use value::{Entry, Kind, Value};

use std::{ops::Bound, sync::Arc};

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use crate::model::{BootEpoch, NodeId};
use history::History;
use staging::Restoring;
use table::Table;

/// Everything that the bot keeps. Cheap to clone.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct UserState {
    revision: u64,
    now_ms: u64,
    table: Table,
    history: History,
    /// Each node's last batch.
    senders: RedBlackTreeMapSync<NodeId, Sent>,
    /// Not part of the state's version 4.
    restoring: Restoring,
}

/// The last batch of a node, and what came of it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct Sent {
    boot: BootEpoch,
    number: u64,
    outcomes: Arc<[UserOutcome]>,
}

impl UserState {
    /// The last change's number. The first is 1.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The logical time, in milliseconds: how long the cluster has been led, as far as the log has told.
    #[must_use]
    pub const fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// What counts of [`TOTAL_BYTES_MAX`], in bytes: keys, values, names, and a fixed cost of each.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.table.bytes()
    }

    /// What a key holds, unless its time is over.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<&Entry> {
        self.table.get(path).filter(|entry| !entry.is_over(self.now_ms))
    }

    /// The keys of a namespace that begin with `prefix`, in order; from behind `after` on, where that is given.
    pub fn scan<'a>(
        &'a self,
        namespace: &'a str,
        prefix: &'a str,
        after: Option<&str>,
    ) -> impl Iterator<Item = (&'a Path, &'a Entry)> {
        let start = match after.filter(|after| *after >= prefix) {
            Some(after) => Bound::Excluded(Path::new(namespace, after)),
            None => Bound::Included(Path::new(namespace, prefix)),
        };
        self.table
            .entries()
            .range((start, Bound::Unbounded))
            .take_while(move |(path, _)| {
                &*path.namespace == namespace && path.key.starts_with(prefix)
            })
            .filter(|(_, entry)| !entry.is_over(self.now_ms))
    }

    /// Everything that is there, namespace by namespace.
    pub fn all(&self) -> impl Iterator<Item = (&Path, &Entry)> {
        self.table.entries().iter().filter(|(_, entry)| !entry.is_over(self.now_ms))
    }

    /// The changes from a revision on.
    ///
    /// # Errors
    ///
    /// [`Compacted`] where they are not remembered any more.
    pub fn changes(&self, from: u64) -> Result<impl Iterator<Item = (u64, &UserEvent)>, Compacted> {
        self.history.since(from)
    }

    /// The logical time at which the next key is to go, or a restore that does not end, in milliseconds.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        let key = self.table.next_due().map(|(at, _)| *at);
        key.into_iter().chain(self.restoring.until_ms()).min()
    }

    /// What all of it may come to when it is written, in bytes: with what a restore has put aside.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.bytes() + self.restoring.bytes()
    }

    /// Leaves out as many revisions as may have been given by those that a recovery forgets: a lock's token is never
    /// given twice.
    pub(super) fn leap(&mut self) {
        self.restoring.abandon();
        self.revision += LEAP;
        self.history.forget(self.revision);
    }

    /// Forgets a node that never comes back.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.senders.remove_mut(&node);
    }
}

/// More changes than a cluster makes between two words to one of its voters.
const LEAP: u64 = 1 << 32;
