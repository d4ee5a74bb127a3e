//! openraft's types, filled in with ours.

use std::fmt;

use bytes::Bytes;
use openraft::{
    EmptyNode,
    impls::leader_id_std::LeaderId,
    type_config::alias::{
        EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf,
    },
    vote::leader_id_std::CommittedLeaderId,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    model::NodeId,
    state::{Command, Outcome, decode_command, encode_command},
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
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Proposal(pub(super) Command);

/// As one run of bytes, which is copied at once; as a sequence each of 96 KiB would be a step.
impl Serialize for Proposal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&encode_command(&self.0))
    }
}

impl<'de> Deserialize<'de> for Proposal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?;
        decode_command(&bytes).map(Self).map_err(D::Error::custom)
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
