//! The words of a message.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{NodeId, ShardId};

/// The most bytes of a message's data, as JSON: half of a frame, so that a message fits with all that goes with it.
pub const DATA_MAX: usize = 512 * 1024;

/// A message's id. It stays the same however often the message is sent.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub Uuid);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// It wants an answer.
    Request,
    /// It answers a request.
    Response,
    /// It wants none.
    Broadcast,
    /// It says why there is no answer.
    Error,
}

/// Who sends a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Sender {
    /// The node.
    pub node: NodeId,
    /// The shard on whose behalf, where there is one.
    pub shard: Option<ShardId>,
}

/// Whom a handler runs for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Receiver {
    /// A shard, wherever it runs.
    Shard(ShardId),
    /// A node.
    Node(NodeId),
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shard(shard) => write!(f, "shard {shard}"),
            Self::Node(node) => write!(f, "node {node}"),
        }
    }
}
