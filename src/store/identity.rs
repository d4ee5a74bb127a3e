//! The identity file: whose directory this is and what it has acknowledged, outside sled.
//!
//! sled can lose its tail and open without a word. This file is how that is noticed. It has two slots in two blocks of
//! the disk, written in turn, so that a torn write spoils only the older one.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::model::{BootEpoch, ClusterId, NodeId};

use super::{
    Position, Vote,
    sync::{self, FILE_MODE},
};

/// The newest format of a data directory that this apolo reads, and the one that it writes.
pub(super) const FORMAT: u16 = 1;

/// The file's name.
pub(super) const FILE: &str = "identity";

const MAGIC: [u8; 8] = *b"apolo-id";

/// A slot's size, in bytes: one sector, which disks write whole.
pub(super) const SLOT_BYTES: usize = 512;

/// The distance between the slots, in bytes: one block, so that no write touches both.
const SLOT_DISTANCE: u64 = 4096;

/// magic, format, length, checksum
const HEAD: usize = 8 + 2 + 2 + 4;

/// Whose directory this is, and what it has acknowledged.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster, once it is known.
    pub cluster: Option<ClusterId>,
    /// The member.
    pub node: NodeId,
    /// Which start of this directory runs.
    pub boot: BootEpoch,
    /// The highest vote that was acknowledged.
    pub vote: Option<Vote>,
    /// The last entry that was acknowledged.
    pub last: Option<Position>,
    /// The chain of checksums up to that entry.
    pub(super) chain: u32,
    /// Whether the database had been created when this was written: until then nothing was acknowledged.
    pub(super) ready: bool,
}

impl Identity {
    /// That of a new directory.
    pub(super) const fn new(node: NodeId, cluster: Option<ClusterId>) -> Self {
        Self { cluster, node, boot: BootEpoch(0), vote: None, last: None, chain: 0, ready: false }
    }
}

/// What an identity file held.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Found {
    /// There is no such file.
    Nothing,
    /// The newer of the intact slots.
    Identity { identity: Identity, sequence: u64 },
    /// No slot is intact.
    Unreadable,
    /// A newer apolo wrote it.
    Newer(u16),
}

/// The open file.
#[derive(Debug)]
pub(super) struct IdentityFile {
    file: File,
    sequence: u64,
}

impl IdentityFile {
    /// Creates the file with `identity` in both slots, durably.
    pub(super) fn create(directory: &Path, identity: &Identity) -> io::Result<Self> {
        let slot = encode(identity, 1);
        let gap = [0; SLOT_DISTANCE as usize - SLOT_BYTES];
        let path = directory.join(FILE);
        sync::replace(&path, &[&slot, &gap, &slot])?;
        Self::open(&path, 1)
    }

    /// Reads the file.
    pub(super) fn read(directory: &Path) -> io::Result<Found> {
        match std::fs::read(directory.join(FILE)) {
            Ok(bytes) => Ok(decode(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Opens a file that was read, to go on after `sequence`.
    pub(super) fn resume(directory: &Path, sequence: u64) -> io::Result<Self> {
        Self::open(&directory.join(FILE), sequence)
    }

    fn open(path: &Path, sequence: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).mode(FILE_MODE).open(path)?;
        Ok(Self { file, sequence })
    }

    /// Writes `identity` into the slot whose turn it is, and returns once it is durable.
    pub(super) fn write(&mut self, identity: &Identity) -> io::Result<()> {
        self.sequence += 1;
        let offset = (self.sequence % 2) * SLOT_DISTANCE;
        self.file.write_all_at(&encode(identity, self.sequence), offset)?;
        self.file.sync_data()
    }
}

/// A slot of the file.
pub(super) fn encode(identity: &Identity, sequence: u64) -> [u8; SLOT_BYTES] {
    let body = postcard::to_stdvec(&(sequence, identity)).expect("our types serialize");
    let mut slot = [0; SLOT_BYTES];
    let length = u16::try_from(body.len()).expect("a vote has at most Vote::BYTES_MAX bytes");
    slot[..8].copy_from_slice(&MAGIC);
    slot[8..10].copy_from_slice(&FORMAT.to_le_bytes());
    slot[10..12].copy_from_slice(&length.to_le_bytes());
    slot[HEAD..HEAD + body.len()].copy_from_slice(&body);
    let sum = checksum(&slot, body.len());
    slot[12..HEAD].copy_from_slice(&sum.to_le_bytes());
    slot
}

fn decode(bytes: &[u8]) -> Found {
    let distance = usize::try_from(SLOT_DISTANCE).unwrap_or(usize::MAX);
    let slots = [0, distance].map(|offset| decode_slot(bytes.get(offset..offset + SLOT_BYTES)));
    slots.into_iter().max_by_key(Found::precedence).unwrap_or(Found::Unreadable)
}

impl Found {
    /// A newer format hides whatever an older slot says; then the later slot wins.
    const fn precedence(&self) -> (u8, u64) {
        match self {
            Self::Newer(_) => (3, 0),
            Self::Identity { sequence, .. } => (2, *sequence),
            Self::Unreadable => (1, 0),
            Self::Nothing => (0, 0),
        }
    }
}

/// What a slot holds.
pub(super) fn decode_slot(slot: Option<&[u8]>) -> Found {
    let Some(slot) = slot.and_then(|slot| <&[u8; SLOT_BYTES]>::try_from(slot).ok()) else {
        return Found::Unreadable;
    };
    let format = u16::from_le_bytes([slot[8], slot[9]]);
    let length = usize::from(u16::from_le_bytes([slot[10], slot[11]]));
    let sum = u32::from_le_bytes([slot[12], slot[13], slot[14], slot[15]]);
    if slot[..8] != MAGIC || length > SLOT_BYTES - HEAD || sum != checksum(slot, length) {
        return Found::Unreadable;
    }
    if format > FORMAT {
        return Found::Newer(format);
    }
    match postcard::from_bytes(&slot[HEAD..HEAD + length]) {
        Ok((sequence, identity)) => Found::Identity { identity, sequence },
        Err(_) => Found::Unreadable,
    }
}

fn checksum(slot: &[u8; SLOT_BYTES], length: usize) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&slot[..12]);
    hasher.update(&slot[HEAD..HEAD + length]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(term: u64) -> Identity {
        let vote = Vote { term, committed: true, bytes: vec![7; Vote::BYTES_MAX] };
        let last = Some(Position { term, index: u64::MAX });
        let cluster = Some(ClusterId::mint());
        let new = Identity::new(NodeId(u64::MAX), cluster);
        Identity { boot: BootEpoch(u64::MAX), vote: Some(vote), last, chain: u32::MAX, ..new }
    }

    #[test]
    fn the_later_slot_is_read_and_the_earlier_one_if_it_is_torn() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = IdentityFile::create(directory.path(), &identity(1)).unwrap();
        let (second, third) = (identity(2), identity(3));
        file.write(&second).unwrap();
        file.write(&third).unwrap();

        let found = IdentityFile::read(directory.path()).unwrap();
        file.file.write_all_at(&[0xff; 100], SLOT_DISTANCE + 200).unwrap();
        let found_torn = IdentityFile::read(directory.path()).unwrap();

        assert_eq!(found, Found::Identity { identity: third, sequence: 3 });
        assert_eq!(found_torn, Found::Identity { identity: second, sequence: 2 });
    }

    #[test]
    fn every_flipped_bit_of_a_slot_is_found() {
        let identity = identity(1);
        let slot = encode(&identity, 1);
        let used = HEAD + postcard::to_stdvec(&(1_u64, &identity)).unwrap().len();

        for bit in 0..used * 8 {
            let mut flipped = slot;
            flipped[bit / 8] ^= 1 << (bit % 8);

            assert_eq!(decode_slot(Some(&flipped)), Found::Unreadable, "bit {bit}");
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut slot = encode(&identity(1), 9);
        slot[8..10].copy_from_slice(&(FORMAT + 1).to_le_bytes());
        let length = usize::from(u16::from_le_bytes([slot[10], slot[11]]));
        let sum = checksum(&slot, length);
        slot[12..HEAD].copy_from_slice(&sum.to_le_bytes());

        assert_eq!(decode_slot(Some(&slot)), Found::Newer(FORMAT + 1));
    }
}
