//! What can go wrong with a log.

use std::io;

use thiserror::Error;

use crate::model::NodeId;

/// The most commands that are proposed at once; more are refused. One tick of 448 shards needs a handful.
pub(super) const IN_FLIGHT_MAX: usize = 256;

/// The longest command, in bytes: what replicates within a heartbeat's time.
pub(super) const COMMAND_BYTES_MAX: usize = 128 * 1024;

/// Why Raft did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// What the store holds is intact, but this apolo can't read it.
    #[error("failed to read the log: {0}")]
    Unreadable(#[from] io::Error),
    /// openraft refused.
    #[error("failed to start raft: {0}")]
    Raft(String),
}

/// Why a cluster was not formed.
#[derive(Debug, Error)]
pub enum FormError {
    /// The log says that there is one already.
    #[error("this node is a member of a cluster already")]
    AlreadyFormed,
    /// Raft stopped.
    #[error("raft stopped: {0}")]
    Stopped(String),
}

/// Why a command has no outcome.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ProposeError {
    /// This node does not lead.
    #[error("this node does not lead{}", leader.map_or_else(String::new, |leader| format!("; node {leader} does")))]
    NotLeader {
        /// Who does, if it is known.
        leader: Option<NodeId>,
    },
    /// Too many commands wait already. This one was not proposed.
    #[error("{IN_FLIGHT_MAX} commands are in flight already")]
    Overloaded,
    /// It was proposed, and may or may not come to be committed.
    #[error("the outcome is unknown: {why}")]
    Unknown {
        /// What came in between.
        why: &'static str,
    },
    /// It is longer than an entry may be.
    #[error("the command has {bytes} bytes; {COMMAND_BYTES_MAX} are the most")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Raft stopped, and the node must end.
    #[error("raft stopped: {0}")]
    Stopped(String),
}

impl ProposeError {
    /// Whether proposing the same again may succeed. After [`Unknown`](Self::Unknown) it may then be applied twice,
    /// which the state guards against by epochs and growing numbers.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::NotLeader { .. } | Self::Overloaded | Self::Unknown { .. } => true,
            Self::TooLong { .. } | Self::Stopped(_) => false,
        }
    }
}
