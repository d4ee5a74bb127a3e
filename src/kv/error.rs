//! What can go wrong.

use thiserror::Error;

use crate::state::user::{Compacted, UserRefusal};

/// Why there is no answer, or not the wished one.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum KvError {
    /// The state says no. Nothing has changed.
    #[error("{0}")]
    Refused(#[from] UserRefusal),
    /// Nobody leads. Nothing has changed.
    #[error(
        "no leader answered in time, so nothing was read or changed; try again, and let `apolo status` show which nodes are missing"
    )]
    Unavailable,
    /// The write was sent, and nobody has said in time what became of it.
    #[error(
        "the outcome of the write is unknown: it may have happened, or may yet; read the key before writing it again"
    )]
    InDoubt,
    /// Too many operations wait on this node. Nothing has changed.
    #[error(
        "this node has more to write than the cluster takes, so nothing was changed; write less, or try again later"
    )]
    Busy,
    /// A watch asked for changes that are forgotten.
    #[error("{0}")]
    Compacted(#[from] Compacted),
    /// The node stops.
    #[error("this node stops, or was removed; ask another one")]
    Stopped,
}

impl KvError {
    /// Whether the same may succeed later, and has not happened yet.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable | Self::Busy)
    }
}
