//! What the store keeps as bytes: entries, votes, and what Raft wants to know about a snapshot.

use std::io;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    state::{self, decode_command},
    store::{self, Record},
};

use super::types::{Entry, LogId, Snapshot, SnapshotMeta, Vote, position};

/// The version that is written. The store adds the checksums.
const VERSION: u8 = 1;

/// Bytes that are not what they were stored as.
#[derive(Debug, Error)]
pub(super) enum CodecError {
    #[error("decode: format version {0} is not {VERSION}, which this apolo reads; update apolo")]
    Version(u8),
    #[error("decode: {0}")]
    Malformed(#[from] postcard::Error),
    #[error("{0}")]
    Command(#[from] state::CodecError),
}

impl From<CodecError> for io::Error {
    fn from(error: CodecError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

pub(super) fn encode_entry(entry: &Entry) -> Record {
    Record { position: position(&entry.log_id), bytes: encode(entry) }
}

pub(super) fn decode_entry(record: &Record) -> Result<Entry, CodecError> {
    decode(&record.bytes).map_err(|error| command_of(&record.bytes).unwrap_or(error))
}

/// What is wrong with an entry's command, which postcard does not pass on. The payload is laid out as openraft's.
fn command_of(entry: &[u8]) -> Option<CodecError> {
    #[derive(serde::Deserialize)]
    enum Payload {
        Blank,
        Normal(Bytes),
    }
    let (_, Payload::Normal(command)) = decode::<(LogId, Payload)>(entry).ok()? else {
        return None;
    };
    decode_command(&command).err().map(CodecError::Command)
}

pub(super) fn encode_vote(vote: &Vote) -> store::Vote {
    store::Vote { term: vote.leader_id.term, committed: vote.committed, bytes: encode(vote) }
}

pub(super) fn decode_vote(vote: &store::Vote) -> Result<Vote, CodecError> {
    decode(&vote.bytes)
}

pub(super) fn encode_snapshot(snapshot: &Snapshot) -> store::Snapshot {
    store::Snapshot {
        last: snapshot.meta.last_log_id.as_ref().map(position),
        meta: encode(&snapshot.meta),
        state: snapshot.snapshot.clone(),
    }
}

pub(super) fn decode_snapshot(snapshot: &store::Snapshot) -> Result<Snapshot, CodecError> {
    let meta: SnapshotMeta = decode(&snapshot.meta)?;
    Ok(Snapshot { meta, snapshot: snapshot.state.clone() })
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION])
        .expect("a Vec takes any length, and our types serialize")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => Ok(postcard::from_bytes(rest)?),
        other => Err(CodecError::Version(other.map_or(0, |(version, _)| *version))),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        fmt::Write as _,
    };

    use openraft::{EmptyNode, EntryPayload, impls::leader_id_std::LeaderId};

    use super::*;
    use crate::{
        model::{Format, NodeId},
        raft::types::{Membership, Proposal, log_id},
        state::Command,
        store::Position,
    };

    const NODE: NodeId = NodeId(300);

    fn at(index: u64) -> LogId {
        log_id(Position { term: 3, index })
    }

    fn entry(payload: EntryPayload<Proposal, NodeId, EmptyNode>) -> Vec<u8> {
        encode_entry(&Entry { log_id: at(258), payload }).bytes
    }

    /// One of every kind that openraft and this apolo write.
    fn one_of_each() -> Vec<(&'static str, Vec<u8>)> {
        let nodes = BTreeMap::from([(NODE, EmptyNode::default())]);
        let membership = openraft::Membership::new(vec![BTreeSet::from([NODE])], nodes).unwrap();
        let vote = Vote { leader_id: LeaderId { term: 3, voted_for: NODE }, committed: true };
        let meta = SnapshotMeta {
            last_log_id: Some(at(258)),
            last_membership: Membership::new(Some(at(1)), membership.clone()),
        };
        let snapshot = Snapshot { meta, snapshot: Vec::new() };
        vec![
            ("blank", entry(EntryPayload::Blank)),
            ("normal", entry(EntryPayload::Normal(Proposal(Command::Unhalt)))),
            ("membership", entry(EntryPayload::Membership(membership))),
            ("vote", encode_vote(&vote).bytes),
            // Its last byte is a field that openraft reserves and leaves empty.
            ("snapshot-meta", encode_snapshot(&snapshot).meta),
        ]
    }

    #[test]
    fn an_entry_of_a_newer_apolo_says_which_format_it_is_of() {
        let raised = EntryPayload::Normal(Proposal(Command::RaiseFormat(Format::MAX)));
        let mut bytes = entry(raised);
        // The format's number is the last byte.
        *bytes.last_mut().unwrap() += 1;

        let refused = decode_entry(&Record { position: position(&at(258)), bytes }).unwrap_err();

        assert_eq!(
            refused.to_string(),
            "decode: format version 7 is newer than what this apolo reads; update apolo"
        );
    }

    #[test]
    fn bytes_written_by_version_1_are_still_read_and_written_the_same() {
        let mut written = String::new();
        for (name, bytes) in one_of_each() {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = writeln!(written, "{name} {hex}");
            let read = match name {
                "vote" => decode::<Vote>(&bytes).map(|vote| encode(&vote)),
                "snapshot-meta" => decode::<SnapshotMeta>(&bytes).map(|meta| encode(&meta)),
                _ => decode::<Entry>(&bytes).map(|entry| encode(&entry)),
            };
            assert_eq!(read.unwrap(), bytes, "{name}");
        }

        assert_eq!(written, include_str!("../../tests/data/raft/bytes-v1.txt"));
    }
}
