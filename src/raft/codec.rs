//! What the store keeps as bytes: entries, votes, and what Raft wants to know about a snapshot.

use std::io;

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::store::{self, Record};

use super::types::{Entry, Snapshot, SnapshotMeta, Vote, position};

/// The version that is written. The store adds the checksums.
const VERSION: u8 = 1;

/// Bytes that are not what they were stored as.
#[derive(Debug, Error)]
pub(super) enum CodecError {
    #[error("decode: format version {0} is not {VERSION}, which this apolo reads; update apolo")]
    Version(u8),
    #[error("decode: {0}")]
    Malformed(#[from] postcard::Error),
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
    decode(&record.bytes)
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
