//! What is kept, as it travels to another cluster.

use std::sync::Arc;

use bytes::Bytes;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{BATCH_BYTES_MAX, Path, TTL_MS_MAX, UserState, Value};

/// Items of one chunk, where each member of a leaderboard is one, so that applying it takes milliseconds.
pub const CHUNK_ITEMS_MAX: usize = 1_024;

/// Bytes of one chunk. An item with the longest value fits, and so do 256 members of the longest names.
pub const CHUNK_BYTES_MAX: usize = BATCH_BYTES_MAX;

/// Members of a leaderboard in one item.
const MEMBERS: usize = 256;

/// A key with what it holds, without its place in the history of the cluster that it comes from. Locks do not travel:
/// their holders belong to their cluster's life. New variants go to the end.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Item {
    /// A value.
    Value {
        /// Where.
        path: Path,
        /// What.
        value: Bytes,
        /// How long it lives yet, in milliseconds.
        ttl_ms: Option<u64>,
    },
    /// A counter.
    Counter {
        /// Where.
        path: Path,
        /// What it is.
        value: i64,
        /// How long it lives yet, in milliseconds.
        ttl_ms: Option<u64>,
    },
    /// Some members of a leaderboard; the items of one follow each other.
    Members {
        /// The leaderboard.
        path: Path,
        /// Each with its score.
        members: Vec<(Arc<str>, i64)>,
    },
}

/// A chunk that holds something else than items.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ChunkError {
    /// It is longer than any that is made.
    #[error("a chunk has {0} bytes; {CHUNK_BYTES_MAX} are the most")]
    Long(usize),
    /// It has more items than any that is made, or none.
    #[error("a chunk has {0} items; 1 to {CHUNK_ITEMS_MAX} are allowed")]
    Items(usize),
    /// It is no row of items.
    #[error("a chunk can't be read: {0}")]
    Malformed(#[from] postcard::Error),
}

impl Item {
    /// Where it belongs.
    #[must_use]
    pub const fn path(&self) -> &Path {
        match self {
            Self::Value { path, .. } | Self::Counter { path, .. } | Self::Members { path, .. } => {
                path
            }
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Value { .. } | Self::Counter { .. } => 1,
            Self::Members { members, .. } => members.len().max(1),
        }
    }
}

impl UserState {
    /// All that is kept but for locks, in the order of the keys.
    pub fn items(&self) -> impl Iterator<Item = Item> {
        let now_ms = self.now_ms;
        self.all().flat_map(move |(path, entry)| {
            let path = path.clone();
            let ttl_ms = entry.expires_at.map(|at| (at - now_ms).min(TTL_MS_MAX));
            match &entry.value {
                Value::Bytes(value) => vec![Item::Value { path, value: value.clone(), ttl_ms }],
                Value::Counter(value) => vec![Item::Counter { path, value: *value, ttl_ms }],
                Value::Lock { .. } => Vec::new(),
                Value::Board(board) => {
                    let all: Vec<_> =
                        board.ranked().map(|(name, score)| (Arc::clone(name), score)).collect();
                    let some = all.chunks(MEMBERS).map(<[_]>::to_vec);
                    some.map(|members| Item::Members { path: path.clone(), members }).collect()
                }
            }
        })
    }

    /// The same in chunks, each of which is one entry of a log.
    pub fn chunks(&self) -> impl Iterator<Item = Bytes> {
        let mut items = self.items().peekable();
        std::iter::from_fn(move || {
            let (mut chunk, mut weight) = (Vec::new(), 0);
            while let Some(item) = items.peek() {
                weight += item.weight();
                let bytes = postcard::to_stdvec(item).expect("our types serialize");
                let fits =
                    weight <= CHUNK_ITEMS_MAX && chunk.len() + bytes.len() <= CHUNK_BYTES_MAX;
                if !fits && !chunk.is_empty() {
                    break;
                }
                chunk.extend_from_slice(&bytes);
                items.next();
            }
            (!chunk.is_empty()).then(|| Bytes::from(chunk))
        })
    }
}

/// The items of a chunk.
///
/// # Errors
///
/// [`ChunkError`].
pub fn decode_chunk(mut chunk: &[u8]) -> Result<Vec<Item>, ChunkError> {
    if chunk.len() > CHUNK_BYTES_MAX {
        return Err(ChunkError::Long(chunk.len()));
    }
    let (mut items, mut weight) = (Vec::new(), 0);
    while !chunk.is_empty() {
        let (item, rest) = postcard::take_from_bytes::<Item>(chunk)?;
        weight += item.weight();
        items.push(item);
        chunk = rest;
    }
    if (1..=CHUNK_ITEMS_MAX).contains(&weight) { Ok(items) } else { Err(ChunkError::Items(weight)) }
}

/// A digest of everything up to a chunk: SHA-256 of the one before, and the chunk. Unlike a hash that runs on, it can be
/// part of a state.
#[must_use]
pub fn chained(before: &[u8; 32], chunk: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(before);
    context.update(chunk);
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}
