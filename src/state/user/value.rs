//! What a key holds.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Board, Path, limits::ENTRY_BYTES};

/// What a key holds. It is of one kind for as long as it lives.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// Bytes.
    Bytes(Bytes),
    /// A number that is added to.
    Counter(i64),
    /// Members and their scores.
    Board(Board),
    /// A lock that is held; one that nobody holds is no key.
    Lock {
        /// By whom.
        holder: Arc<str>,
    },
}

/// The kind of what a key holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Kind {
    /// Bytes.
    Value,
    /// A number that is added to.
    Counter,
    /// Members and their scores.
    Leaderboard,
    /// A lock.
    Lock,
}

/// A key's value and its place in history.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What it holds.
    pub value: Value,
    /// The revision that made the key. A lock's is its token.
    pub created: u64,
    /// The revision that changed it last.
    pub modified: u64,
    /// The logical time at which it is gone, in milliseconds.
    pub expires_at: Option<u64>,
}

impl Value {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Bytes(_) => Kind::Value,
            Self::Counter(_) => Kind::Counter,
            Self::Board(_) => Kind::Leaderboard,
            Self::Lock { .. } => Kind::Lock,
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Counter(_) => 8,
            Self::Board(board) => board.bytes(),
            Self::Lock { holder } => holder.len() as u64,
        }
    }
}

impl Entry {
    /// What it counts of [`TOTAL_BYTES_MAX`](super::TOTAL_BYTES_MAX) at `path`, in bytes.
    #[must_use]
    pub fn bytes(&self, path: &Path) -> u64 {
        ENTRY_BYTES + path.bytes() as u64 + self.value.bytes()
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now_ms: u64) -> bool {
        self.expires_at.is_some_and(|at| at <= now_ms)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value => "value",
            Self::Counter => "counter",
            Self::Leaderboard => "leaderboard",
            Self::Lock => "lock",
        })
    }
}
