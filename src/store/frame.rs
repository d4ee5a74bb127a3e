//! Records as sled's keys and values: split into chunks, checksummed, chained.
//!
//! sled keeps up to twenty values in one page and puts a page of more than 128 KiB into a file of its own, which
//! nothing ever syncs. So no value is longer than [`CHUNK_BYTES_MAX`].
//!
//! The chain makes each record depend on all before it. So an entry that sled brought back from the past is found out,
//! though its own checksum is right.

use super::{Position, Record};

/// The longest value, in bytes. Twenty of them and their keys stay below sled's 128 KiB for a page.
pub(super) const CHUNK_BYTES_MAX: usize = 4096;

/// The format of a chunk.
const VERSION: u8 = 1;

/// version, checksum
const HEAD: usize = 1 + 4;

/// term, chain, number of chunks
const FIRST: usize = 8 + 4 + 2;

/// A chunk's key: index, then the chunk's number, so that iteration yields entries in order.
pub(super) type Key = [u8; 10];

/// A record with the chain up to and with it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Linked {
    pub(super) record: Record,
    pub(super) chain: u32,
}

/// A record that is not what was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Broken {
    pub(super) index: u64,
}

/// The chain's value with `record` added.
pub(super) fn link(chain: u32, record: &Record) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&chain.to_le_bytes());
    hasher.update(&record.position.term.to_le_bytes());
    hasher.update(&record.position.index.to_le_bytes());
    hasher.update(&record.bytes);
    hasher.finalize()
}

/// Where the chain begins again after a snapshot took the place of everything up to `position`.
pub(super) fn seed(position: Position) -> u32 {
    link(0, &Record { position, bytes: Vec::new() })
}

pub(super) fn key(index: u64, chunk: u16) -> Key {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&index.to_be_bytes());
    key[8..].copy_from_slice(&chunk.to_be_bytes());
    key
}

/// The index in a key; nothing if it is no key of ours.
pub(super) fn index_of(key: &[u8]) -> Option<u64> {
    let key: &Key = key.try_into().ok()?;
    Some(u64::from_be_bytes(*key.first_chunk()?))
}

/// The longest record, in bytes: eight times the longest entry that is ever proposed.
pub(super) const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// The chunks of a record.
///
/// # Panics
///
/// If the record is longer than [`RECORD_BYTES_MAX`]; the writer refuses those before.
pub(super) fn encode(linked: &Linked) -> Vec<(Key, Vec<u8>)> {
    let Record { position, bytes } = &linked.record;
    let room = CHUNK_BYTES_MAX - HEAD - FIRST;
    let count = bytes.len().div_ceil(room).max(1);
    let count = u16::try_from(count).expect("the writer refuses longer records");
    (0..count)
        .map(|chunk| {
            let key = key(position.index, chunk);
            let mut value = vec![VERSION, 0, 0, 0, 0];
            if chunk == 0 {
                value.extend_from_slice(&position.term.to_le_bytes());
                value.extend_from_slice(&linked.chain.to_le_bytes());
                value.extend_from_slice(&count.to_le_bytes());
            }
            let from = usize::from(chunk) * room;
            value.extend_from_slice(&bytes[from..bytes.len().min(from + room)]);
            seal(&key, &mut value);
            (key, value)
        })
        .collect()
}

/// Puts the chunks back together that sled yields, one after the other.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    linked: Option<Linked>,
    chunks: u16,
    expected: u16,
}

impl Assembly {
    /// Adds the next chunk. Yields the record once it is complete.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> Result<Option<Linked>, Broken> {
        let index = index_of(key).unwrap_or(u64::MAX);
        let broken = Broken { index };
        let body = open(key, value).ok_or(broken)?;
        let chunk = u16::from_be_bytes([key[8], key[9]]);
        let pending = self.linked.as_ref().map(|linked| linked.record.position.index);
        if chunk == 0 {
            if let Some(index) = pending {
                return Err(Broken { index });
            }
            let (head, bytes) = body.split_first_chunk::<FIRST>().ok_or(broken)?;
            let term = u64::from_le_bytes(*head.first_chunk().ok_or(broken)?);
            let chain = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
            self.expected = u16::from_le_bytes([head[12], head[13]]);
            let record = Record { position: Position { term, index }, bytes: bytes.to_vec() };
            self.linked = Some(Linked { record, chain });
            self.chunks = 1;
        } else {
            let Some(linked) = self.linked.as_mut() else { return Err(broken) };
            if linked.record.position.index != index || chunk != self.chunks {
                return Err(Broken { index: linked.record.position.index });
            }
            linked.record.bytes.extend_from_slice(body);
            self.chunks += 1;
        }
        Ok(if self.chunks == self.expected { self.linked.take() } else { None })
    }

    /// What is left over at the end: a record whose last chunks are missing.
    pub(super) fn finish(self) -> Option<Broken> {
        self.linked.map(|linked| Broken { index: linked.record.position.index })
    }
}

/// A small fact's value: versioned and checksummed together with its name.
pub(super) fn seal_fact(name: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut value = vec![VERSION, 0, 0, 0, 0];
    value.extend_from_slice(bytes);
    seal(name, &mut value);
    value
}

/// A fact's bytes, if they are what was written under `name`.
pub(super) fn open_fact<'a>(name: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    open(name, value)
}

fn seal(key: &[u8], value: &mut [u8]) {
    let sum = checksum(key, value[0], &value[HEAD..]);
    value[1..HEAD].copy_from_slice(&sum.to_le_bytes());
}

fn open<'a>(key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (head, body) = value.split_first_chunk::<HEAD>()?;
    let sum = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    (head[0] == VERSION && sum == checksum(key, head[0], body)).then_some(body)
}

fn checksum(key: &[u8], version: u8, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(&[version]);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn linked(index: u64, length: usize) -> Linked {
        let bytes = (0..length).map(|i| (i % 251) as u8).collect();
        let record = Record { position: Position { term: 3, index }, bytes };
        let chain = link(0, &record);
        Linked { record, chain }
    }

    fn assemble(chunks: &[(Key, Vec<u8>)]) -> Result<Vec<Linked>, Broken> {
        let mut assembly = Assembly::default();
        let mut found = Vec::new();
        for (key, value) in chunks {
            found.extend(assembly.add(key, value)?);
        }
        assembly.finish().map_or(Ok(found), Err)
    }

    proptest! {
        #[test]
        fn records_come_back_whatever_their_length(lengths in prop::collection::vec(0_usize..20_000, 1..5)) {
            let records: Vec<_> =
                lengths.iter().zip(0..).map(|(length, index)| linked(index, *length)).collect();

            let chunks: Vec<_> = records.iter().flat_map(encode).collect();

            prop_assert!(chunks.iter().all(|(_, value)| value.len() <= CHUNK_BYTES_MAX));
            prop_assert!(chunks.is_sorted());
            prop_assert_eq!(assemble(&chunks), Ok(records));
        }

        #[test]
        fn a_flipped_bit_is_found(length in 0_usize..9000, at in any::<prop::sample::Index>(), bit in 0_u32..8) {
            let mut chunks = encode(&linked(5, length));
            let chunk = at.index(chunks.len());
            let byte = at.index(chunks[chunk].1.len());
            chunks[chunk].1[byte] ^= 1_u8 << bit;

            prop_assert_eq!(assemble(&chunks), Err(Broken { index: 5 }));
        }
    }

    #[test]
    fn a_missing_or_misplaced_chunk_is_found() {
        let chunks = encode(&linked(5, 12_000));
        assert_eq!(chunks.len(), 3);
        let without = |gone: usize| {
            let mut rest = chunks.clone();
            rest.remove(gone);
            rest.extend(encode(&linked(6, 10)));
            assemble(&rest)
        };
        let mut moved = chunks.clone();
        moved[1].0 = key(5, 2);

        for gone in 0..3 {
            assert_eq!(without(gone), Err(Broken { index: 5 }), "chunk {gone}");
        }
        assert_eq!(assemble(&chunks[..2]), Err(Broken { index: 5 }));
        assert_eq!(assemble(&moved), Err(Broken { index: 5 }));
    }

    #[test]
    fn a_facts_flipped_bits_and_another_facts_value_are_found() {
        let value = seal_fact(b"vote", &[1, 2, 3]);

        assert_eq!(open_fact(b"vote", &value), Some(&[1, 2, 3][..]));
        assert_eq!(open_fact(b"purged", &value), None);
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1_u8 << (bit % 8);
            assert_eq!(open_fact(b"vote", &flipped), None, "bit {bit}");
        }
    }
}
