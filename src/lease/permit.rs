//! Leave to identify for shards of another node than the leader's: a right bound in time, like a lease.
//!
//! A node asks for all of its waiting shards at once, again and again, and the leader holds each question for a moment.
//! A permit counts on the node's clock from the sending of the question that it answers, so that it never lasts longer
//! there than it does at the leader.

use serde::{Deserialize, Serialize};

use crate::model::ShardId;

/// What a node says to the leader.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum PermitAsk {
    /// These shards wait. One that is not named any more waits no longer.
    Waiting(Vec<ShardId>),
    /// This shard sent its IDENTIFY.
    Sent(ShardId),
    /// This shard had its READY.
    Answered(ShardId),
}

/// What the leader says to the node.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum PermitAnswer {
    /// These shards may identify.
    Granted(Vec<PermitGrant>),
    /// It is noted.
    Noted,
    /// The node that was asked does not lead.
    NotLeader,
}

/// Leave for one shard.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct PermitGrant {
    /// The shard.
    pub shard: ShardId,
    /// For how long it is good, in ms from the sending of the question.
    pub valid_ms: u64,
}
