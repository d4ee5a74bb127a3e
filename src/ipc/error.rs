//! Why a request has no answer.

use thiserror::Error;

use super::message::DATA_MAX;
use crate::model::{NodeId, ShardId};

/// Why a request has no answer.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum IpcError {
    /// Nothing is registered for the event where the receiver runs.
    #[error("no handler is registered for {event:?} where the receiver runs")]
    NoHandler {
        /// The event.
        event: String,
    },
    /// The handler returned an error.
    #[error("the handler failed: {message}")]
    HandlerFailed {
        /// In its words.
        message: String,
    },
    /// The handler panicked. The shard goes on.
    #[error("the handler panicked")]
    HandlerPanicked,
    /// The data, or the answer, is larger than [`DATA_MAX`].
    #[error("{bytes} bytes of data, and {DATA_MAX} is the most")]
    TooLarge {
        /// Its bytes, as JSON.
        bytes: usize,
    },
    /// The bot has fewer shards.
    #[error("there is no shard {0}")]
    UnknownShard(ShardId),
    /// The cluster has no such node.
    #[error("there is no node {0}")]
    UnknownNode(NodeId),
    /// How many shards the bot has is not decided yet.
    #[error("the number of shards is not decided yet")]
    Unsharded,
    /// The receiver's owner was lost with the message on its way, or does not know any more what became of it. The handler
    /// may have run.
    #[error("the receiver's owner was lost; the handler may have run: {may_have_run}")]
    OwnerLost {
        /// Whether the handler may have run.
        may_have_run: bool,
    },
    /// No answer came in time.
    #[error("no answer came in time; the handler may have run: {may_have_run}")]
    TimedOut {
        /// Whether the handler may have run.
        may_have_run: bool,
    },
    /// The receiver runs nowhere, and no leader can change that: too few nodes are up.
    #[error("the receiver runs nowhere, and without a quorum it will not")]
    NoQuorum,
    /// Too much is under way already.
    #[error("too many messages are under way; try again later")]
    Overloaded,
    /// What was sent, or what came back, is not what was expected.
    #[error("the data can't be read: {0}")]
    Undecodable(String),
}

impl IpcError {
    /// A word for programs: metrics, and bots in other languages.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoHandler { .. } => "noHandler",
            Self::HandlerFailed { .. } => "handlerFailed",
            Self::HandlerPanicked => "handlerPanicked",
            Self::TooLarge { .. } => "tooLarge",
            Self::UnknownShard(_) => "unknownShard",
            Self::UnknownNode(_) => "unknownNode",
            Self::Unsharded => "unsharded",
            Self::OwnerLost { .. } => "ownerLost",
            Self::TimedOut { .. } => "timedOut",
            Self::NoQuorum => "noQuorum",
            Self::Overloaded => "overloaded",
            Self::Undecodable(_) => "undecodable",
        }
    }

    /// Whether the handler may have run all the same.
    #[must_use]
    pub const fn may_have_run(&self) -> bool {
        match self {
            Self::HandlerFailed { .. } | Self::HandlerPanicked | Self::Undecodable(_) => true,
            Self::OwnerLost { may_have_run } | Self::TimedOut { may_have_run } => *may_have_run,
            Self::NoHandler { .. }
            | Self::TooLarge { .. }
            | Self::UnknownShard(_)
            | Self::UnknownNode(_)
            | Self::Unsharded
            | Self::NoQuorum
            | Self::Overloaded => false,
        }
    }
}
