use serde::{Deserialize, Serialize};

/// Where a log ends: the term and the serial of its last entry. A later term is more, as in Raft.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// The term in which it was written; 0 for an empty log.
    pub term: u64,
    /// Its number, from 1 on; 0 for an empty log.
    pub serial: u64,
}

impl Mark {
    /// The bytes of this entry, the same in every process: whoever reads them back can tell every wrong byte. The term
    /// comes first.
    ///
    /// 64 to 1,600 bytes; with `large` one in 31 is 100 KiB, close to the largest that a node ever appends.
    pub(super) fn payload(self, large: bool) -> Vec<u8> {
        let mut state = (self.serial ^ self.term << 40).wrapping_mul(GOLDEN) | 1;
        let large = large && self.serial.is_multiple_of(LARGE_EVERY);
        let length = if large { LARGE_BYTES } else { 64 + (state >> 32) as usize % 1_537 };
        let mut bytes = self.term.to_le_bytes().to_vec();
        while bytes.len() < length {
            // xorshift64: no two entries look alike, and nothing compresses or repeats.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// The term that the entry behind this one is first written in: they rise as the log is rewritten.
    pub(super) fn next_term(self) -> u64 {
        self.term.max(1)
    }

    /// Whether a log that ends here is due for a truncation: then a few entries are taken away and written anew in the
    /// next term. Where that came about and was lost again, it is due again.
    pub(super) fn truncate_to(self) -> Option<u64> {
        let due = self.serial > 0
            && self.serial.is_multiple_of(REWRITE_EVERY)
            && self.term == self.serial / REWRITE_EVERY;
        due.then(|| self.serial - REWRITTEN)
    }
}

/// The last serial of the batch that starts with `serial`: 1 to 8 entries, none of them beyond a truncation.
pub(super) fn batch_end(serial: u64) -> u64 {
    let end = serial + serial.wrapping_mul(GOLDEN) % 8;
    end.min(serial.next_multiple_of(REWRITE_EVERY))
}

/// The vote that goes before the batch that starts with `serial`: it rises with it.
pub(super) fn vote(serial: u64) -> u64 {
    serial / ENTRIES_PER_VOTE
}

/// The serial below which entries are purged once `serial` is acknowledged, if it is time for it.
pub(super) fn purge_before(serial: u64) -> Option<u64> {
    (serial.is_multiple_of(PURGE_EVERY) && serial > PURGE_KEEPS).then(|| serial - PURGE_KEEPS)
}

/// Spreads consecutive numbers (2^64 divided by the golden ratio).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
const LARGE_EVERY: u64 = 31;
const LARGE_BYTES: usize = 100 * 1024;
const ENTRIES_PER_VOTE: u64 = 16;
const PURGE_EVERY: u64 = 50;
const PURGE_KEEPS: u64 = 120;
/// A truncation comes after so many entries, and takes so many away.
const REWRITE_EVERY: u64 = 40;
const REWRITTEN: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_differ_by_serial_and_by_term() {
        let one = Mark { term: 1, serial: 31 };

        assert_ne!(one.payload(false), Mark { term: 2, ..one }.payload(false));
        assert_ne!(one.payload(false), Mark { serial: 32, ..one }.payload(false));
        assert_eq!(one.payload(true).len(), LARGE_BYTES);
    }

    #[test]
    fn a_log_is_truncated_once_in_each_term_and_again_if_that_was_lost() {
        assert_eq!(Mark { term: 1, serial: 40 }.truncate_to(), Some(35));
        assert_eq!(Mark { term: 2, serial: 40 }.truncate_to(), None);
        assert_eq!(Mark { term: 2, serial: 80 }.truncate_to(), Some(75));
        assert!((1..=40).all(|serial| batch_end(serial) <= 40));
    }
}
