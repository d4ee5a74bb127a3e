//! Everything that can go wrong with a data directory, and what an operator can do about it.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use thiserror::Error;

use crate::model::ClusterId;

use super::{Farewell, Position, Tombstone};

/// Why a data directory was not opened. Nothing in it was lost by trying.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "data directory {path} is in use by the process with pid {}; stop it, or choose another --data-dir",
        pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string())
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Who holds it, if the lock file says so.
        pid: Option<u32>,
    },
    /// Nothing can be written there.
    #[error(
        "data directory {path} can't be written ({source}); mount it read-write and give it to the user that runs apolo"
    )]
    ReadOnly {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file system is full.
    #[error(
        "no space left for data directory {path}; nothing is lost: free some space (64 MiB are plenty) and start again"
    )]
    DiskFull {
        /// The directory.
        path: PathBuf,
    },
    /// It holds something else.
    #[error(
        "{path} is not empty and no apolo data directory (it holds {found:?}); choose an empty or new --data-dir"
    )]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// The first file that does not belong there.
        found: String,
    },
    /// Others may write to it.
    #[error(
        "data directory {path} has mode {mode:04o}: others could change it; run chmod 700 {path}"
    )]
    Exposed {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A newer apolo wrote it.
    #[error(
        "data directory {path} has format {found}, and this apolo reads up to {known}; run the newer apolo again"
    )]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u16,
        /// The newest that this apolo reads.
        known: u16,
    },
    /// It was damaged, and has been put aside just now.
    #[error(
        "data directory {path} is damaged: {damage}. It was moved to {moved}. {}",
        tombstone.advice()
    )]
    Quarantined {
        /// The directory.
        path: PathBuf,
        /// Where its content is.
        moved: PathBuf,
        /// What was found.
        damage: Damage,
        /// What stays in its place.
        tombstone: Box<Tombstone>,
    },
    /// It was damaged and put aside by an earlier start.
    #[error("data directory {path} lost what it knew ({}). {}", tombstone.damage, tombstone.advice())]
    Lost {
        /// The directory.
        path: PathBuf,
        /// What is known about the loss.
        tombstone: Box<Tombstone>,
    },
    /// It belongs to another cluster than the one asked for.
    #[error("data directory {path} belongs to cluster {found}, not to {wanted}")]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Whose it should be.
        wanted: ClusterId,
    },
    /// Its node has left its cluster.
    #[error(
        "data directory {path} is that of a node that left: {farewell}. To let it join again as a new node, delete what \
         is in {path}, or choose another --data-dir"
    )]
    Left {
        /// The directory.
        path: PathBuf,
        /// Who left.
        farewell: Farewell,
    },
    /// The database gave no answer.
    #[error(
        "data directory {path}: the database did not open within {waited:?}; the disk is stalled or the files are damaged. \
         Nothing was changed; if it stays so, restore the directory or start with a new one"
    )]
    Stalled {
        /// The directory.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// Anything else that the system refused.
    #[error("data directory {path}: failed to {what}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    /// What is left of a directory that was lost, just now or earlier. Its cluster may be joined anew, with
    /// [`Options::join`](super::Options::join).
    #[must_use]
    pub fn tombstone(&self) -> Option<&Tombstone> {
        match self {
            Self::Quarantined { tombstone, .. } | Self::Lost { tombstone, .. } => Some(tombstone),
            Self::Locked { .. }
            | Self::ReadOnly { .. }
            | Self::DiskFull { .. }
            | Self::NotOurs { .. }
            | Self::Exposed { .. }
            | Self::NewerFormat { .. }
            | Self::OtherCluster { .. }
            | Self::Left { .. }
            | Self::Stalled { .. }
            | Self::Io { .. } => None,
        }
    }
}

/// What is wrong with a data directory's content.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Damage {
    /// The identity file is gone, but the log is there.
    #[error("the identity file is missing")]
    IdentityMissing,
    /// Neither slot of the identity file is intact.
    #[error("the identity file is unreadable")]
    IdentityUnreadable,
    /// What was promised does not read, and nothing came of it yet.
    #[error("the promise is unreadable")]
    PromiseUnreadable,
    /// The log is gone, but the identity file is there.
    #[error("the log is missing")]
    LogMissing,
    /// The database does not open, also not without its index snapshot.
    #[error("the database does not open: {0}")]
    Database(String),
    /// A part of the database does not read.
    #[error("the database does not read: {0}")]
    Unreadable(String),
    /// A fact is not what its checksum says.
    #[error("the fact {0:?} fails its checksum")]
    Fact(&'static str),
    /// Two places disagree about whose directory this is.
    #[error("the identity file and the database disagree about the {0}")]
    Disagree(&'static str),
    /// The vote is older than one that was acknowledged.
    #[error("the vote of term {acknowledged} was acknowledged and is gone")]
    VoteLost {
        /// The term of the vote that is gone.
        acknowledged: u64,
    },
    /// An entry fails its checksum, or a part of it is gone.
    #[error("entry {index} is broken")]
    EntryBroken {
        /// Its index.
        index: u64,
    },
    /// An entry in the middle is gone.
    #[error("the log has a hole: entry {expected} is missing before entry {found}")]
    Hole {
        /// The index that should have come.
        expected: u64,
        /// The index that came.
        found: u64,
    },
    /// An entry is not the one that its successors were written after.
    #[error("entry {index} does not follow from the one before it")]
    Unchained {
        /// Its index.
        index: u64,
    },
    /// An entry's term is below its predecessor's.
    #[error("entry {index} has an older term than the one before it")]
    TermFell {
        /// Its index.
        index: u64,
    },
    /// Acknowledged entries are gone.
    #[error("entry {acknowledged} was acknowledged and is gone")]
    EntryLost {
        /// The last entry that was acknowledged.
        acknowledged: Position,
    },
    /// The log begins after what the snapshot holds.
    #[error("the log up to {purged} was purged, and no snapshot holds it")]
    SnapshotLost {
        /// The last purged entry.
        purged: Position,
    },
}

/// Why a write failed. The first error is final.
#[derive(Clone, Debug, Error)]
pub enum WriteError {
    /// The disk, or the database.
    #[error("failed to {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Another cluster's id is on record.
    #[error("the data directory belongs to cluster {0}")]
    OtherCluster(ClusterId),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl WriteError {
    pub(super) fn io(what: &'static str, source: io::Error) -> Self {
        Self::Io { what, source: Arc::new(source) }
    }

    /// Whether the disk is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            Self::OtherCluster(_) | Self::Closed => false,
        }
    }
}

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> Self {
        let kind = match &error {
            WriteError::Io { source, .. } => source.kind(),
            WriteError::OtherCluster(_) => io::ErrorKind::InvalidInput,
            WriteError::Closed => io::ErrorKind::BrokenPipe,
        };
        Self::new(kind, error)
    }
}
