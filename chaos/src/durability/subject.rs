use super::{bare_sled::BareSled, entry::Mark, protocol::Found, store::Store};
use apolo::store::Barrier;
use std::path::Path;

/// What is put to the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Subject {
    /// A node's store.
    Store,
    /// The same without the fdatasync in its barrier. It loses what it acknowledged, and its gate must notice.
    StoreFlushOnly,
    /// Bare sled with the barrier: `flush`, then `fdatasync` of its file.
    Sled,
    /// Bare sled trusting its own `flush`. It loses what it acknowledged: the proof that the volume forgets.
    SledFlushOnly,
}

/// An open subject.
pub(super) trait Journal {
    /// Appends entries with rising serials; they are durable when it returns.
    fn append(&mut self, entries: &[(Mark, Vec<u8>)]) -> Result<(), String>;
    /// Saves a vote; it is durable when it returns.
    fn vote(&mut self, vote: u64) -> Result<(), String>;
    /// Removes the entries behind `serial`; they are gone for good when it returns.
    fn truncate(&mut self, serial: u64) -> Result<(), String>;
    /// Removes the entries below `serial`, whenever that becomes durable.
    fn purge(&mut self, serial: u64) -> Result<(), String>;
    /// Reads everything back.
    fn find(&self) -> Found;
}

impl Subject {
    /// The name that the command line has for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::StoreFlushOnly => "store-flush-only",
            Self::Sled => "sled",
            Self::SledFlushOnly => "sled-flush-only",
        }
    }

    /// Whether it is up to entries of 100 KiB.
    pub(super) fn large_entries(self) -> bool {
        match self {
            Self::Store | Self::StoreFlushOnly => true,
            Self::Sled | Self::SledFlushOnly => false,
        }
    }

    /// Opens it in `directory`; what it finds wrong there is not an [`Ok`].
    pub(super) fn open(self, directory: &Path) -> Result<Box<dyn Journal>, Found> {
        match self {
            Self::Store => Store::open(directory, Barrier::Synced),
            Self::StoreFlushOnly => Store::open(directory, Barrier::FlushOnly),
            Self::Sled => BareSled::open(directory, true),
            Self::SledFlushOnly => BareSled::open(directory, false),
        }
    }
}
