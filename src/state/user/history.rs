//! The last changes, for whoever watches.

use std::sync::Arc;

use bytes::Bytes;
use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    Path,
    limits::{CHANGE_BYTES, HISTORY_BYTES_MAX, HISTORY_MAX},
};

/// A key has changed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct UserEvent {
    /// Which key.
    pub path: Path,
    /// How.
    pub change: UserChange,
}

/// What became of a key.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum UserChange {
    /// It holds this value.
    Put(Bytes),
    /// The counter is this.
    Count(i64),
    /// A member has this score, or none any more.
    Score(Arc<str>, Option<i64>),
    /// The lock has this holder.
    Acquired(Arc<str>),
    /// The holder gave the lock back.
    Released,
    /// Somebody deleted it.
    Deleted,
    /// Its time was over.
    Expired,
}

/// A watch asked for changes that are not remembered any more.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq, Serialize, Deserialize)]
#[error(
    "changes before revision {oldest} are forgotten; read what there is, and watch from the revision of that"
)]
pub struct Compacted {
    /// The first revision that a watch may begin at.
    pub oldest: u64,
}

/// The last changes by their revision, at most [`HISTORY_MAX`] and [`HISTORY_BYTES_MAX`].
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub(super) struct History {
    events: RedBlackTreeMapSync<u64, UserEvent>,
    /// The last revision that is forgotten.
    forgotten: u64,
    bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    events: RedBlackTreeMapSync<u64, UserEvent>,
    forgotten: u64,
}

impl History {
    /// The changes from a revision on.
    ///
    /// # Errors
    ///
    /// [`Compacted`] where that is forgotten.
    pub(super) fn since(
        &self,
        from: u64,
    ) -> Result<impl Iterator<Item = (u64, &UserEvent)>, Compacted> {
        if from <= self.forgotten {
            return Err(Compacted { oldest: self.forgotten + 1 });
        }
        Ok(self.events.range(from..).map(|(revision, event)| (*revision, event)))
    }

    pub(super) fn add(&mut self, revision: u64, event: UserEvent) {
        self.bytes += cost(&event);
        self.events.insert_mut(revision, event);
        while self.events.size() > HISTORY_MAX || self.bytes > HISTORY_BYTES_MAX {
            let Some((first, bytes)) = self.events.first().map(|(at, it)| (*at, cost(it))) else {
                return;
            };
            self.events.remove_mut(&first);
            self.bytes -= bytes;
            self.forgotten = first;
        }
    }

    /// Forgets all changes up to a revision that is not below the last.
    pub(super) fn forget(&mut self, revision: u64) {
        *self = Self { forgotten: revision, ..Self::default() };
    }

    /// How many changes are remembered, and their bytes.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, u64) {
        (self.events.size(), self.bytes)
    }
}

fn cost(event: &UserEvent) -> u64 {
    let own = match &event.change {
        UserChange::Put(value) => value.len(),
        UserChange::Score(name, _) | UserChange::Acquired(name) => name.len(),
        UserChange::Count(_) | UserChange::Released | UserChange::Deleted | UserChange::Expired => {
            0
        }
    };
    CHANGE_BYTES + (event.path.bytes() + own) as u64
}

impl From<Stored> for History {
    fn from(Stored { events, forgotten }: Stored) -> Self {
        let bytes = events.values().map(cost).sum();
        Self { events, forgotten, bytes }
    }
}

impl From<History> for Stored {
    fn from(History { events, forgotten, .. }: History) -> Self {
        Self { events, forgotten }
    }
}
