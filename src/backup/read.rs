//! From a file's bytes to what it holds, or what is wrong with it.

use serde::de::DeserializeOwned;
use thiserror::Error;

use super::{
    Counts, End, FILE_BYTES_MAX, FRAME, FrameKind, Header, MAGIC, PREAMBLE, SHORT_BYTES_MAX,
    VERSION, seed,
};
use crate::state::user::{CHUNK_BYTES_MAX, Item, Path, chained, decode_chunk};

/// A file that is whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Backup<'a> {
    /// What it says of itself.
    pub header: Header,
    /// What its digest begins with.
    pub seed: [u8; 32],
    /// The digest of all of it.
    pub digest: [u8; 32],
    /// The items, as the log of a restore carries them.
    pub chunks: Vec<&'a [u8]>,
}

/// What is wrong with a file.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum BackupError {
    /// It is another program's.
    #[error("it is no backup of apolo, or its very first bytes are damaged")]
    Foreign,
    /// It is a later apolo's.
    #[error(
        "it has format version {0}, and this apolo reads versions up to {VERSION}; use the apolo that made it, or a later one"
    )]
    Newer(u32),
    /// It ends early.
    #[error(
        "it ends in the middle, behind byte {at}: it was not written or copied to its end; copy it again, or take an earlier backup"
    )]
    Truncated {
        /// How long it is.
        at: usize,
    },
    /// Something in it has changed.
    #[error(
        "it is damaged behind byte {at}: it is not what was written there; copy it again, or take an earlier backup"
    )]
    Damaged {
        /// Where the damaged part begins.
        at: usize,
    },
    /// All is as it was written, and can't have been written by apolo.
    #[error("it is whole but wrong behind byte {at}, so no apolo made it: {why}")]
    Malformed {
        /// Where that begins.
        at: usize,
        /// What.
        why: String,
    },
    /// Something follows its end.
    #[error("{0} bytes follow its end: something was written behind it, or over it; copy it again")]
    Trailing(usize),
    /// It is longer than a backup can be.
    #[error("it has {0} bytes, and a backup has {FILE_BYTES_MAX} at most")]
    Long(usize),
}

/// Reads a file, and checks everything in it.
///
/// # Errors
///
/// [`BackupError`].
pub fn read(bytes: &[u8]) -> Result<Backup<'_>, BackupError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(BackupError::Long(bytes.len()));
    }
    preamble(bytes)?;
    let mut rest = Rest { bytes, at: PREAMBLE };
    let (at, payload) = rest.frame(|kind| kind == FrameKind::Header as u8)?.1;
    let header: Header = decode(at, payload)?;
    let seed = seed(payload);
    let (mut digest, mut chunks, mut seen) = (seed, Vec::new(), Seen::default());
    loop {
        let wanted = [FrameKind::Chunk as u8, FrameKind::End as u8];
        let (kind, (at, payload)) = rest.frame(|kind| wanted.contains(&kind))?;
        if kind == FrameKind::Chunk as u8 {
            let items = decode_chunk(payload).map_err(|error| malformed(at, &error))?;
            items.into_iter().for_each(|item| seen.count(item));
            digest = chained(&digest, payload);
            chunks.push(payload);
            continue;
        }
        let end: End = decode(at, payload)?;
        if end.digest != digest || end.chunks as usize != chunks.len() {
            return Err(BackupError::Damaged { at });
        }
        if seen.counts != header.counts {
            return Err(malformed(at, &"its header counts something else"));
        }
        return match rest.bytes.len() - rest.at {
            0 => Ok(Backup { header, seed, digest, chunks }),
            more => Err(BackupError::Trailing(more)),
        };
    }
}

fn preamble(bytes: &[u8]) -> Result<(), BackupError> {
    let shown = bytes.len().min(MAGIC.len());
    if bytes[..shown] != MAGIC[..shown] {
        return Err(BackupError::Foreign);
    }
    let preamble = bytes.get(..PREAMBLE).ok_or(BackupError::Truncated { at: bytes.len() })?;
    let number = |at: usize| u32_at(preamble, at);
    if number(12) != crc32fast::hash(&preamble[..12]) {
        return Err(BackupError::Damaged { at: 0 });
    }
    match number(8) {
        VERSION => Ok(()),
        other => Err(BackupError::Newer(other)),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// A payload, and where its frame begins.
type Payload<'a> = (usize, &'a [u8]);

struct Rest<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Rest<'a> {
    /// The next frame: its kind, which must be a fitting one, and its payload.
    fn frame(&mut self, fits: impl Fn(u8) -> bool) -> Result<(u8, Payload<'a>), BackupError> {
        let (all, at) = (self.bytes, self.at);
        let truncated = || BackupError::Truncated { at: all.len() };
        let head = all.get(at..at + FRAME).ok_or_else(truncated)?;
        if u32_at(head, 9) != crc32fast::hash(&head[..9]) {
            return Err(BackupError::Damaged { at });
        }
        let (kind, length) = (head[0], u32_at(head, 1) as usize);
        let most = if kind == FrameKind::Chunk as u8 { CHUNK_BYTES_MAX } else { SHORT_BYTES_MAX };
        if !fits(kind) || length > most {
            return Err(malformed(at, &format!("a part of kind {kind} and {length} bytes")));
        }
        let begin = at + FRAME;
        let payload = all.get(begin..begin + length).ok_or_else(truncated)?;
        if u32_at(head, 5) != crc32fast::hash(payload) {
            return Err(BackupError::Damaged { at });
        }
        self.at = begin + length;
        Ok((kind, (at, payload)))
    }
}

fn decode<T: DeserializeOwned>(at: usize, payload: &[u8]) -> Result<T, BackupError> {
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        Ok((_, more)) => Err(malformed(at, &format!("{} bytes too many", more.len()))),
        Err(error) => Err(malformed(at, &error)),
    }
}

fn malformed(at: usize, why: &(impl ToString + ?Sized)) -> BackupError {
    BackupError::Malformed { at, why: why.to_string() }
}

/// What has been seen.
#[derive(Default)]
struct Seen {
    counts: Counts,
    /// The leaderboard whose members come.
    board: Option<Path>,
}

impl Seen {
    fn count(&mut self, item: Item) {
        match item {
            Item::Value { .. } => self.counts.values += 1,
            Item::Counter { .. } => self.counts.counters += 1,
            Item::Members { path, members } => {
                self.counts.members += members.len() as u64;
                if self.board.as_ref() != Some(&path) {
                    self.counts.leaderboards += 1;
                    self.board = Some(path);
                }
            }
        }
    }
}
