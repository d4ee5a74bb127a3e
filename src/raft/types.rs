//! openraft's types, filled in with ours.

use std::fmt;

use openraft::{
    EmptyNode,
    impls::leader_id_std::LeaderId,
    type_config::alias::{
        EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf,
    },
    vote::leader_id_std::CommittedLeaderId,
};
use serde::{Deserialize, Serialize};

use crate::{
    model::NodeId,
    state::{CodecError, Command, Outcome, decode_command, encode_command},
    store::Position,
};

openraft::declare_raft_types!(
    /// One leader per term, so that a log id is a term and an index.
    pub(super) Types:
        D = Proposal,
        R = Outcome,
        NodeId = NodeId,
        // Where a member is found changes too often to be replicated: the transport knows.
        Node = EmptyNode,
        LeaderId = LeaderId<u64, NodeId>,
);

pub(super) type Entry = EntryOf<Types>;
pub(super) type LogId = LogIdOf<Types>;
pub(super) type Membership = StoredMembershipOf<Types>;
pub(super) type Snapshot = SnapshotOf<Types, Vec<u8>>;
pub(super) type SnapshotMeta = SnapshotMetaOf<Types>;
pub(super) type Vote = VoteOf<Types>;

/// A command as an entry's payload: inside, the bytes carry the version that the state gives them.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(into = "Vec<u8>", try_from = "Vec<u8>")]
pub(super) struct Proposal(pub(super) Command);

impl From<Proposal> for Vec<u8> {
    fn from(Proposal(command): Proposal) -> Self {
        encode_command(&command)
    }
}

impl TryFrom<Vec<u8>> for Proposal {
    type Error = CodecError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, CodecError> {
        decode_command(&bytes).map(Self)
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

pub(super) fn position(id: &LogId) -> Position {
    Position { term: id.leader_id.term, index: id.index }
}

pub(super) fn log_id(position: Position) -> LogId {
    LogId { leader_id: CommittedLeaderId::new(position.term), index: position.index }
}
