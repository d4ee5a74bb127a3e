//! The promise file: with whom, and under which founder, this node forms a cluster.
//!
//! A cluster is formed once every member has promised one founder and one cluster id. So a promise is durable before
//! anybody hears of it, and no second one is ever made in a directory.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::model::{ClusterId, NodeId};

use super::sync;

/// The file's name.
pub(super) const FILE: &str = "promise";

/// The file's format.
const VERSION: u8 = 1;

/// What every member of a cluster that is being formed has promised: to be a member of this one and of no other.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// The cluster, which the founder has named.
    pub cluster: ClusterId,
    /// The only one who may form it.
    pub founder: NodeId,
    /// Its first members, the founder among them, and their names.
    pub members: BTreeMap<NodeId, String>,
}

/// What a promise file held.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Found {
    Nothing,
    Promise(Promise),
    Unreadable,
    Newer(u8),
}

impl Found {
    /// The promise, if that is what it is.
    pub(super) fn promise(self) -> Option<Promise> {
        match self {
            Self::Promise(promise) => Some(promise),
            Self::Nothing | Self::Unreadable | Self::Newer(_) => None,
        }
    }
}

/// Writes the promise, and returns once it is durable.
pub(super) fn save(directory: &Path, promise: &Promise) -> io::Result<()> {
    sync::replace(&directory.join(FILE), &[&encode(promise)])
}

/// Reads the promise.
pub(super) fn load(directory: &Path) -> io::Result<Found> {
    match fs::read(directory.join(FILE)) {
        Ok(bytes) => Ok(decode(&bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(error),
    }
}

pub(super) fn encode(promise: &Promise) -> Vec<u8> {
    let body = postcard::to_extend(promise, vec![VERSION]).expect("our types serialize");
    let mut bytes = crc32fast::hash(&body).to_le_bytes().to_vec();
    bytes.extend_from_slice(&body);
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Found {
    let Some((sum, body)) = bytes.split_first_chunk::<4>() else { return Found::Unreadable };
    if u32::from_le_bytes(*sum) != crc32fast::hash(body) {
        return Found::Unreadable;
    }
    match body.split_first() {
        Some((&VERSION, promise)) => {
            postcard::from_bytes(promise).map_or(Found::Unreadable, Found::Promise)
        }
        Some((&version, _)) if version > VERSION => Found::Newer(version),
        _ => Found::Unreadable,
    }
}
