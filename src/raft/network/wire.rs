//! What Raft's peers say to each other, as bytes: a version, then postcard. Enums grow at the end.

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::model::{LogIndex, NodeId};
use crate::state::Outcome;

use super::super::{
    codec::CodecError,
    types::{SnapshotMeta, Types, Vote},
};

/// The version that is written.
const VERSION: u8 = 1;

/// A request of Raft's own.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<Types>),
    PreVote(VoteRequest<Types>),
    Transfer(TransferLeaderRequest<Types>),
    /// The asker has the cluster's certificate and is no member yet.
    Admit(NodeId),
    /// The asker wants to know whether it is a member.
    Standing(NodeId),
    /// The asker wants to read what was committed before it asked.
    ReadIndex(NodeId),
}

impl Ask {
    /// Who must have sent it: the node that leads, or wants to.
    pub(super) fn sender(&self) -> NodeId {
        match self {
            Self::Append(request) => request.vote.leader_id.voted_for,
            Self::Vote(request) | Self::PreVote(request) => request.vote.leader_id.voted_for,
            Self::Transfer(request) => request.from_leader().leader_id.voted_for,
            Self::Admit(node) | Self::Standing(node) | Self::ReadIndex(node) => *node,
        }
    }
}

/// The answer to it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Append(AppendEntriesResponse<Types>),
    Vote(VoteResponse<Types>),
    Transfer(TransferLeaderResponse<Types>),
    /// It is not its turn yet: a restarted voter neither votes nor lets itself be asked.
    NotYet,
    /// The asker is no member, as of the membership at this index.
    NotMember(u64),
    /// The asker is a member; it will hear from the leader.
    Admitted,
    /// The node that was asked does not lead, or could not change the members now.
    AskElsewhere(Option<NodeId>),
    /// The asker was removed for good.
    Gone,
    /// The asker is a member, as far as is known here.
    Member,
    /// Whoever has applied this entry reads all that was committed when this was asked.
    ReadAt(LogIndex),
}

/// What comes before a snapshot's bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SnapshotHead {
    pub(super) vote: Vote,
    pub(super) meta: SnapshotMeta,
    pub(super) bytes: u64,
}

/// What comes after them, from the other side.
pub(super) type SnapshotReply = SnapshotResponse<Types>;

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Forwarded {
    /// It is committed, and applied on the leader up to this index.
    Applied { index: LogIndex, outcome: Outcome },
    /// The node that was asked does not lead.
    NotLeader { leader: Option<NodeId> },
    /// Too many commands wait. This one was not proposed.
    Overloaded,
    /// It was proposed, and may or may not come to be committed.
    Unknown,
}

pub(super) fn encode(message: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(message, vec![VERSION])
        .expect("a Vec takes any length, and our types serialize")
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => Ok(postcard::from_bytes(rest)?),
        other => Err(CodecError::Version(other.map_or(0, |(version, _)| *version))),
    }
}
