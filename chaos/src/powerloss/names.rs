use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
};

/// Which sync makes a created, renamed or removed name durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameRule {
    /// Only an fsync of the directory that holds it, as POSIX has it. Safe under it is safe everywhere.
    #[default]
    DirectorySync,
    /// Any fsync commits the whole metadata journal, as ext4 does in practice.
    AnySync,
}

/// The names of all directories: what programs see, what the platter holds, and the changes in their order.
#[derive(Debug, Default)]
pub(super) struct Names {
    live: BTreeMap<u64, Entries>,
    durable: BTreeMap<u64, Entries>,
    journal: Vec<NameChange>,
}

/// The entries of one directory by name.
pub(super) type Entries = BTreeMap<OsString, u64>;

/// One atomic change: a rename across directories is a single one with two edits.
pub(super) type NameChange = Vec<Edit>;

/// One entry set (`Some(inode)`) or removed (`None`).
#[derive(Clone, Debug)]
pub(super) struct Edit {
    pub(super) directory: u64,
    pub(super) name: OsString,
    pub(super) inode: Option<u64>,
}

impl Names {
    /// The entries that programs see in `directory`.
    pub(super) fn entries(&self, directory: u64) -> Option<&Entries> {
        self.live.get(&directory)
    }

    /// Gives a new directory its empty set of entries. Its own name in its parent is a change like any other.
    pub(super) fn add_directory(&mut self, inode: u64) {
        self.live.insert(inode, Entries::new());
        self.durable.insert(inode, Entries::new());
    }

    pub(super) fn change(&mut self, change: NameChange) {
        apply(&mut self.live, &change);
        self.journal.push(change);
    }

    /// Makes the changes of `directory` durable, and every earlier one that they stand on: a rename into it is atomic,
    /// so it takes the other directory's earlier changes along.
    pub(super) fn sync(&mut self, directory: u64) {
        let mut touched = BTreeSet::from([directory]);
        let mut covered = vec![false; self.journal.len()];
        for (at, change) in self.journal.iter().enumerate().rev() {
            if change.iter().any(|edit| touched.contains(&edit.directory)) {
                covered[at] = true;
                touched.extend(change.iter().map(|edit| edit.directory));
            }
        }
        let mut covered = covered.into_iter();
        let durable = &mut self.durable;
        self.journal.retain(|change| {
            let synced = covered.next().unwrap_or(false);
            if synced {
                apply(durable, change);
            }
            !synced
        });
    }

    pub(super) fn sync_all(&mut self) {
        self.keep(self.journal.len());
    }

    /// How many changes are not durable.
    pub(super) fn pending(&self) -> usize {
        self.journal.len()
    }

    /// Power is gone: the first `kept` changes of the journal had been written, the rest never happened.
    pub(super) fn lose_all_but(&mut self, kept: usize) {
        self.keep(kept);
        self.journal.clear();
        self.live.clone_from(&self.durable);
    }

    fn keep(&mut self, changes: usize) {
        for change in self.journal.drain(..changes) {
            apply(&mut self.durable, &change);
        }
    }

    /// Every inode that a name leads to, live or after a power cut.
    pub(super) fn referenced(&self) -> BTreeSet<u64> {
        let named =
            self.live.values().chain(self.durable.values()).flat_map(BTreeMap::values).copied();
        named.chain(self.journal.iter().flatten().filter_map(|edit| edit.inode)).collect()
    }

    /// Forgets directories that are gone for good.
    pub(super) fn retain(&mut self, keep: impl Fn(u64) -> bool) {
        self.live.retain(|inode, _| keep(*inode));
        self.durable.retain(|inode, _| keep(*inode));
    }

    /// Gives every inode the number that `renumber` returns, after a power cut.
    pub(super) fn renumber(&mut self, renumber: impl Fn(u64) -> u64) {
        debug_assert!(self.journal.is_empty(), "only a restored disk is renumbered");
        let moved = |entries: &Entries| {
            entries
                .iter()
                .map(|(name, inode)| (name.clone(), renumber(*inode)))
                .collect::<Entries>()
        };
        self.live =
            self.live.iter().map(|(inode, entries)| (renumber(*inode), moved(entries))).collect();
        self.durable.clone_from(&self.live);
    }
}

fn apply(directories: &mut BTreeMap<u64, Entries>, change: &NameChange) {
    for edit in change {
        let entries = directories.entry(edit.directory).or_default();
        match edit.inode {
            Some(inode) => entries.insert(edit.name.clone(), inode),
            None => entries.remove(&edit.name),
        };
    }
}
