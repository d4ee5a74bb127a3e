//! From a state to a file's bytes, piece by piece.

use bytes::Bytes;

use super::{Counts, End, FRAME, FrameKind, Header, MAGIC, PREAMBLE, VERSION, seed};
use crate::model::{ClusterId, UnixMillis};
use crate::state::user::{UserState, Value, chained};

/// The bytes of a backup of `user`, in pieces of the size of a chunk. To take one is the work of a millisecond; the
/// first one looks at every key.
pub fn frames(
    user: &UserState,
    cluster: ClusterId,
    made_at: UnixMillis,
) -> impl Iterator<Item = Bytes> {
    let header = postcard::to_stdvec(&header(user, cluster, made_at)).expect("it serializes");
    let (mut digest, mut written) = (seed(&header), 0);
    let mut chunks = user.chunks().fuse();
    let mut first = Some([&preamble(VERSION)[..], &frame(FrameKind::Header, &header)].concat());
    let mut ended = false;
    std::iter::from_fn(move || {
        if let Some(first) = first.take() {
            return Some(first.into());
        }
        if let Some(chunk) = chunks.next() {
            digest = chained(&digest, &chunk);
            written += 1;
            return Some(frame(FrameKind::Chunk, &chunk).into());
        }
        let end = postcard::to_stdvec(&End { chunks: written, digest }).expect("it serializes");
        let last = !std::mem::replace(&mut ended, true);
        last.then(|| frame(FrameKind::End, &end).into())
    })
}

fn header(user: &UserState, cluster: ClusterId, made_at: UnixMillis) -> Header {
    let (mut counts, mut bytes, mut locks) = (Counts::default(), 0, 0);
    for (path, entry) in user.all() {
        match &entry.value {
            Value::Bytes(_) => counts.values += 1,
            Value::Counter(_) => counts.counters += 1,
            Value::Board(board) => {
                counts.leaderboards += 1;
                counts.members += board.len() as u64;
            }
            Value::Lock { .. } => {
                locks += 1;
                continue;
            }
        }
        bytes += entry.bytes(path);
    }
    let apolo = env!("CARGO_PKG_VERSION").to_owned();
    Header { cluster, made_at, apolo, revision: user.revision(), counts, bytes, locks }
}

pub(super) fn preamble(version: u32) -> [u8; PREAMBLE] {
    let mut bytes = [0; PREAMBLE];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

pub(super) fn frame(kind: FrameKind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRAME + payload.len());
    let length = u32::try_from(payload.len()).expect("a chunk is short");
    bytes.push(kind as u8);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    // Of its own, so that a length that has changed is not taken for a file that ends early.
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}
