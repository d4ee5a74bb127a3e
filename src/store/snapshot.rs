//! The snapshot file: written beside the old one, made durable, and moved over it.
//!
//! A plain file and no tree of sled: it is written once and read once, and sled would put pages this large into files
//! that it never syncs.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::{Position, Snapshot, sync};

/// The file's name.
pub(super) const FILE: &str = "snapshot";

const MAGIC: [u8; 8] = *b"apolo-sn";

/// The file's format.
const VERSION: u16 = 1;

/// A checksum covers at most this many bytes: beyond, 32 bits say too little.
const CHUNK_BYTES: usize = 128 * 1024;

/// magic, version, header's length, header's checksum
const HEAD: usize = 8 + 2 + 4 + 4;

#[derive(Serialize, Deserialize)]
struct Header {
    last: Option<Position>,
    meta: Vec<u8>,
    length: u64,
    sums: Vec<u32>,
}

/// What a snapshot file held.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Found {
    Nothing,
    Snapshot(Snapshot),
    Unreadable,
    Newer(u16),
}

/// Stores `snapshot` in place of the one before, and returns once it is durable.
pub(super) fn save(directory: &Path, snapshot: &Snapshot) -> io::Result<()> {
    sync::replace(&directory.join(FILE), &[&head(snapshot)?, &snapshot.state])
}

/// What stands before the state in the file.
pub(super) fn head(snapshot: &Snapshot) -> io::Result<Vec<u8>> {
    let header = Header {
        last: snapshot.last,
        meta: snapshot.meta.clone(),
        length: snapshot.state.len() as u64,
        sums: snapshot.state.chunks(CHUNK_BYTES).map(crc32fast::hash).collect(),
    };
    let header = postcard::to_stdvec(&header).expect("our types serialize");
    let length = u32::try_from(header.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut head = Vec::with_capacity(HEAD + header.len());
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(&sum(VERSION, &header).to_le_bytes());
    head.extend_from_slice(&header);
    Ok(head)
}

/// Reads the snapshot.
pub(super) fn load(directory: &Path) -> io::Result<Found> {
    match fs::read(directory.join(FILE)) {
        Ok(bytes) => Ok(decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(error),
    }
}

/// What a file holds.
pub(super) fn decode(bytes: &[u8]) -> Found {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else { return Found::Unreadable };
    let version = u16::from_le_bytes([head[8], head[9]]);
    let length = u32::from_le_bytes([head[10], head[11], head[12], head[13]]);
    let expected = u32::from_le_bytes([head[14], head[15], head[16], head[17]]);
    let Some((header, state)) =
        usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length))
    else {
        return Found::Unreadable;
    };
    if head[..8] != MAGIC || sum(version, header) != expected {
        return Found::Unreadable;
    }
    if version > VERSION {
        return Found::Newer(version);
    }
    let Ok(header) = postcard::from_bytes::<Header>(header) else { return Found::Unreadable };
    let sums = state.chunks(CHUNK_BYTES).map(crc32fast::hash);
    if header.length != state.len() as u64 || !sums.eq(header.sums.iter().copied()) {
        return Found::Unreadable;
    }
    Found::Snapshot(Snapshot { last: header.last, meta: header.meta, state: state.to_vec() })
}

fn sum(version: u16, header: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&version.to_le_bytes());
    hasher.update(header);
    hasher.finalize()
}
