//! What is stored, and the trait that stores it.

use std::fmt;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::model::ClusterId;

use super::{Promise, Pulse, WriteError};

/// Where an entry stands in the log: entries of a later term supersede those of an earlier one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Position {
    /// The term of the leader that proposed it.
    pub term: u64,
    /// Its index; consecutive.
    pub index: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.term, self.index)
    }
}

/// One log entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Where it stands.
    pub position: Position,
    /// The entry itself.
    pub bytes: Vec<u8>,
}

/// A vote: what is needed to compare two of them, and the vote itself.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Vote {
    /// Its term.
    pub term: u64,
    /// Whether a quorum granted it.
    pub committed: bool,
    /// The vote itself, at most [`Vote::BYTES_MAX`] long.
    pub bytes: Vec<u8>,
}

impl Vote {
    /// The longest vote, in bytes: the identity file's slots have a fixed size.
    pub const BYTES_MAX: usize = 128;

    /// By what a vote may only grow.
    pub(super) const fn rank(&self) -> (u64, bool) {
        (self.term, self.committed)
    }
}

/// A snapshot: the state after every entry up to `last`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Snapshot {
    /// The last entry that is part of it.
    pub last: Option<Position>,
    /// What Raft wants to know about it.
    pub meta: Vec<u8>,
    /// The state.
    pub state: Vec<u8>,
}

/// What a store held when it was opened.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Recovered {
    /// The last vote.
    pub vote: Option<Vote>,
    /// The last entry that was known to be committed. It may lag behind.
    pub committed: Option<Position>,
    /// The last entry that was purged.
    pub purged: Option<Position>,
    /// The log behind it, in order and without holes.
    pub records: Vec<Record>,
    /// The last snapshot.
    pub snapshot: Option<Snapshot>,
    /// What was promised, as long as there is no log: with a log the cluster has been formed.
    pub promise: Option<Promise>,
}

impl Recovered {
    /// Whether nothing was ever logged.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty() && self.purged.is_none() && self.snapshot.is_none()
    }
}

/// A change of what is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Write {
    /// Entries at the log's end, in order.
    Append(Vec<Record>),
    /// The vote.
    Vote(Vote),
    /// Drop every entry after this one, or all.
    Truncate(Option<Position>),
    /// Drop every entry up to this one. Its effect may be lost, and then it is repeated at the next snapshot.
    Purge(Position),
    /// What is known to be committed. Its effect may be lost.
    Committed(Option<Position>),
    /// The cluster that this directory belongs to, once and for all.
    Cluster(ClusterId),
    /// What this node promises, once and for all: the directory belongs to that cluster from then on.
    Promise(Promise),
}

impl Write {
    /// Whether its [`Done`] waits for the disk. Raft's core awaits the others inline, so they must not.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        match self {
            Self::Append(_)
            | Self::Vote(_)
            | Self::Truncate(_)
            | Self::Cluster(_)
            | Self::Promise(_) => true,
            Self::Purge(_) | Self::Committed(_) => false,
        }
    }

    /// The bytes that it brings, roughly.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Append(records) => records.iter().map(|record| record.bytes.len() + 64).sum(),
            Self::Vote(_)
            | Self::Truncate(_)
            | Self::Purge(_)
            | Self::Committed(_)
            | Self::Cluster(_)
            | Self::Promise(_) => 64,
        }
    }
}

/// Told how a write went. It runs on the store's writer thread and must not block.
pub type Done = Box<dyn FnOnce(Result<(), WriteError>) + Send>;

/// Something that stores a log. [`Disk`](super::Disk) does, and for tests and simulations [`Memory`](super::Memory).
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Hands a write over. Writes take effect in the order of these calls. `done` is called once the write is durable
    /// if it [is to be](Write::is_durable), else as soon as it is queued. Blocks while the queue is full.
    fn submit(&self, write: Write, done: Done);

    /// Stores a snapshot durably, in place of the one before. Blocks for as long as the disk takes.
    ///
    /// # Errors
    ///
    /// [`WriteError`], which is final: the store accepts nothing more.
    fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), WriteError>;

    /// The first error, once there is one. A node must stop then.
    fn failure(&self) -> watch::Receiver<Option<WriteError>>;

    /// How long the write that is under way takes. Nothing is ever under way where no disk can hang.
    fn pulse(&self) -> Pulse {
        Pulse::default()
    }
}
