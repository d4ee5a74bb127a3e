//! The keys, what they count, and when they are to go.

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};
use serde::{Deserialize, Serialize};

use super::{Entry, Path};

type Entries = RedBlackTreeMapSync<Path, Entry>;

/// Keys, and what follows from them. Written as the keys alone.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(from = "Entries", into = "Entries")]
pub(super) struct Table {
    entries: Entries,
    /// The keys that are to go, by when.
    due: RedBlackTreeSetSync<(u64, Path)>,
    bytes: u64,
}

impl Table {
    /// What all of it counts, in bytes.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn entries(&self) -> &Entries {
        &self.entries
    }

    pub(super) fn get(&self, path: &Path) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// The key that is to go next, and when.
    pub(super) fn next_due(&self) -> Option<&(u64, Path)> {
        self.due.first()
    }

    pub(super) fn place(&mut self, path: Path, entry: Entry) {
        self.take(&path);
        self.bytes += entry.bytes(&path);
        if let Some(at) = entry.expires_at {
            self.due.insert_mut((at, path.clone()));
        }
        self.entries.insert_mut(path, entry);
    }

    /// Takes a key out. Whether there was one.
    pub(super) fn take(&mut self, path: &Path) -> bool {
        let Some(entry) = self.entries.get(path) else { return false };
        self.bytes -= entry.bytes(path);
        if let Some(at) = entry.expires_at {
            self.due.remove_mut(&(at, path.clone()));
        }
        self.entries.remove_mut(path)
    }
}

impl From<Entries> for Table {
    fn from(entries: Entries) -> Self {
        let bytes = entries.iter().map(|(path, entry)| entry.bytes(path)).sum();
        let due =
            entries.iter().filter_map(|(path, entry)| Some((entry.expires_at?, path.clone())));
        Self { due: due.collect(), bytes, entries }
    }
}

impl From<Table> for Entries {
    fn from(table: Table) -> Self {
        table.entries
    }
}
