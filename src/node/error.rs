//! Why a node did not start, or could not go on.

use std::path::PathBuf;

use thiserror::Error;

use super::FactsError;
use crate::cluster::{PeerError, SeekError};
use crate::config::ConfigError;
use crate::consumer;
use crate::gateway::{RefusedUrl, RestError};
use crate::http;
use crate::invite::EnrolError;
use crate::raft::{FormError, ProposeError, RaftFailure, StartError};
use crate::state::Refusal;
use crate::store::OpenError;
use crate::transport::{self, AuthorityError};

/// Why a node did not start, or could not go on. Each says what to do about it.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The token is missing.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory can't be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Raft did not start.
    #[error(transparent)]
    Raft(#[from] StartError),
    /// The cluster of one was not formed.
    #[error("form a cluster: {0}")]
    Form(#[from] FormError),
    /// The HTTP port can't be used.
    #[error(transparent)]
    Http(#[from] http::BindError),
    /// The consumers' token can't be had.
    #[error(transparent)]
    BotToken(#[from] consumer::TokenError),
    /// The socket in the data directory can't be made.
    #[error("serve HTTP: {0}")]
    Socket(std::io::Error),
    /// The system starts no more threads.
    #[error(
        "no threads could be started: {0}; raise the process limit (`ulimit -u`, or the container's pids limit)"
    )]
    Threads(std::io::Error),
    /// Discord's API did not answer, or refused the token.
    #[error(transparent)]
    Discord(#[from] RestError),
    /// Discord's API named a gateway that must not get the token.
    #[error(
        "the gateway that DISCORD_API named is not trusted with the token: {0}; check DISCORD_API"
    )]
    Gateway(#[from] RefusedUrl),
    /// The bot, its total or its budget do not fit what is committed.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// A commit failed.
    #[error("commit the node's start: {0}")]
    Propose(#[from] ProposeError),
    /// The state turned a commit down.
    #[error("the cluster refuses this node: {0}")]
    Refused(#[from] Refusal),
    /// The disk or Raft failed while the node ran.
    #[error("{0}; the node stops, its sessions are resumed at the next start")]
    Failed(#[from] RaftFailure),
    /// The cluster's authority can't be used.
    #[error("the cluster's authority in {directory}: {source}")]
    Authority {
        /// Where it should be.
        directory: PathBuf,
        /// What is wrong with it.
        source: AuthorityError,
    },
    /// The token to join with can't be used.
    #[error("the token to join with, in {}: {problem}", path.display())]
    JoinToken {
        /// The token's file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The leaf that this node was given can't be used.
    #[error("the leaf that this node was given: {source}")]
    Leaf {
        /// What is wrong with it.
        source: AuthorityError,
    },
    /// The leaf that this node was given is of no use any more, and there is no token.
    #[error(
        "{}: {problem}; make a token on a member with `apolo token create --name {name}`, and name its file with --join-token-file", path.display()
    )]
    LeafUseless {
        /// The leaf's file.
        path: PathBuf,
        /// Why.
        problem: String,
        /// This node's name.
        name: String,
    },
    /// The token did not let this node in.
    #[error("join with a token: {0}")]
    Enrol(#[from] EnrolError),
    /// A peer is written wrongly.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The QUIC port can't be used.
    #[error(transparent)]
    Transport(#[from] transport::StartError),
    /// A promise to form a cluster could not be kept.
    #[error("become a member: {0}")]
    Seek(#[from] SeekError),
    /// It was told to stop before it was a member.
    #[error("stopped before this node was a member of a cluster")]
    Stopped,
    /// The cluster has removed this node.
    #[error(
        "this node was removed from its cluster; to let it join again as a new one, empty its data directory"
    )]
    Removed,
    /// The leader knows that this node's data directory is older than it was; or the node has left, and could not note it.
    #[error("{0}; it was put aside, and the next start joins the cluster as a new node")]
    OldCopy(String),
    /// What is in the data directory could not be put aside.
    #[error(transparent)]
    SetAside(OpenError),
    /// It left, and could not note that.
    #[error(
        "this node has left its cluster, and its data directory could not be marked ({0}); delete it"
    )]
    Farewell(std::io::Error),
    /// A part of the node ended that should run for ever.
    #[error("{0} ended unexpectedly; this is a bug in apolo")]
    Ended(&'static str),
}

impl NodeError {
    /// Whether the operator's settings are at fault, rather than the machine or Discord.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Config(_)
                | Self::Facts(_)
                | Self::Authority { .. }
                | Self::Peer(_)
                | Self::JoinToken { .. }
                | Self::LeafUseless { .. }
        )
    }
}
