//! What becomes of a directory that failed the gate: its content is put aside whole, and a tombstone stays.
//!
//! A node that lost votes or entries it acknowledged must not act as the member that it was. The tombstone makes sure
//! that the loss is not forgotten with the next start.

use std::{
    fmt, fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::model::{ClusterId, NodeId, UnixMillis};

use super::{ballast, directory, farewell, identity, promise, snapshot, sync};

/// Quarantines are directories in the data directory whose name begins so and ends in seconds since 1970.
pub(super) const PREFIX: &str = "quarantine-";

/// The tombstone's name.
pub(super) const TOMBSTONE: &str = "tombstone";

/// How many names are tried: two quarantines in one second are a start that is repeated without pause.
const NAMES_MAX: u32 = 1000;

/// What is left of a data directory that was lost.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The cluster that it belonged to, if that could be read.
    pub cluster: Option<ClusterId>,
    /// The member that it was, if that could be read. It must not come back.
    pub node: Option<NodeId>,
    /// When it was noticed.
    pub at: UnixMillis,
    /// What was found, in words.
    pub damage: String,
}

impl Tombstone {
    /// What an operator can do about it.
    pub(super) fn advice(&self) -> Advice<'_> {
        Advice(self)
    }
}

/// A sentence for an error.
pub(super) struct Advice<'a>(&'a Tombstone);

impl fmt::Display for Advice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.cluster {
            Some(cluster) => write!(
                f,
                "This node lost cluster {cluster}: it may join it anew, and never form one here."
            )?,
            None => f.write_str(
                "Which cluster this node has lost can't be read: it never forms one here.",
            )?,
        }
        f.write_str(
            " If it was the only node, restore a backup, or start with a new --data-dir: \
             then every shard identifies anew",
        )
    }
}

/// Puts the directory's content aside. What stays is the tombstone, the lock and earlier quarantines.
pub(super) fn quarantine(directory: &Path, tombstone: &Tombstone) -> io::Result<PathBuf> {
    let bytes = encode(tombstone);
    // First the tombstone: without it, a start that comes between would find a new directory.
    sync::replace(&directory.join(TOMBSTONE), &[&bytes])?;
    let moved = make(directory, tombstone.at)?;
    for name in [directory::SLED, snapshot::FILE, promise::FILE, identity::FILE] {
        match fs::rename(directory.join(name), moved.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    for name in [ballast::FILE, farewell::INTENDED] {
        sync::remove(&directory.join(name))?;
    }
    sync::directory(&moved)?;
    sync::directory(directory)?;
    Ok(moved)
}

/// Removes the directory's content, which nobody needs any more. What stays is the tombstone, the lock and earlier
/// quarantines.
pub(super) fn clear(directory: &Path, tombstone: &Tombstone) -> io::Result<()> {
    sync::replace(&directory.join(TOMBSTONE), &[&encode(tombstone)])?;
    match fs::remove_dir_all(directory.join(directory::SLED)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let small = [snapshot::FILE, promise::FILE, identity::FILE, ballast::FILE];
    for name in small.into_iter().chain([farewell::INTENDED]) {
        sync::remove(&directory.join(name))?;
    }
    Ok(())
}

fn make(directory: &Path, at: UnixMillis) -> io::Result<PathBuf> {
    let seconds = at.0 / 1000;
    for attempt in 0..NAMES_MAX {
        let name = match attempt {
            0 => format!("{PREFIX}{seconds}"),
            _ => format!("{PREFIX}{seconds}-{attempt}"),
        };
        let path = directory.join(name);
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// The tombstone in `directory`, if there is one. One that does not read is one that tells nothing.
pub(super) fn tombstone(directory: &Path) -> io::Result<Option<Tombstone>> {
    match fs::read(directory.join(TOMBSTONE)) {
        Ok(bytes) => Ok(Some(decode(&bytes).unwrap_or_else(|| Tombstone {
            cluster: None,
            node: None,
            at: UnixMillis(0),
            damage: "the tombstone is unreadable".to_owned(),
        }))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

const VERSION: u8 = 1;

fn encode(tombstone: &Tombstone) -> Vec<u8> {
    let body = postcard::to_extend(tombstone, vec![VERSION]).expect("our types serialize");
    let mut bytes = crc32fast::hash(&body).to_le_bytes().to_vec();
    bytes.extend_from_slice(&body);
    bytes
}

fn decode(bytes: &[u8]) -> Option<Tombstone> {
    let (sum, body) = bytes.split_first_chunk::<4>()?;
    let (version, tombstone) = body.split_first()?;
    if u32::from_le_bytes(*sum) != crc32fast::hash(body) || *version != VERSION {
        return None;
    }
    postcard::from_bytes(tombstone).ok()
}
