//! Dispatches of a replay that came before their turn.

use std::collections::BTreeMap;

use super::name::EventName;
use crate::model::Sequence;

/// A dispatch that waits for the ones before it.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) sequence: Sequence,
    pub(super) name: EventName,
    pub(super) json: String,
}

/// Puts a replay that comes out of order back in order, within bounds.
///
/// Only a replay: its end is marked by RESUMED, so nothing waits for long. In the live stream a hole is a loss.
#[derive(Debug, Default)]
pub(super) struct Held {
    early: BTreeMap<Sequence, Early>,
    bytes: usize,
}

/// Dispatches that wait: how far a replay may be out of order. Neighbours were seen to be swapped, not more.
const EARLY_MAX: usize = 64;

/// Bytes of their payloads.
const BYTES_MAX: usize = 4 * 1_024 * 1_024;

impl Held {
    /// Keeps a dispatch until its turn; gives it back where there is no room.
    pub(super) fn keep(&mut self, early: Early) -> Result<(), Early> {
        let bytes = self.bytes + early.json.len();
        if self.early.len() >= EARLY_MAX || bytes > BYTES_MAX {
            return Err(early);
        }
        self.bytes = bytes;
        if let Some(same) = self.early.insert(early.sequence, early) {
            self.bytes -= same.json.len();
        }
        Ok(())
    }

    /// Takes the first that waits, if its turn is not after `next`.
    pub(super) fn take_up_to(&mut self, next: Sequence) -> Option<Early> {
        let first = self.early.first_entry()?;
        if *first.key() > next {
            return None;
        }
        let early = first.remove();
        self.bytes -= early.json.len();
        Some(early)
    }

    /// Takes the first that waits, whether or not it is its turn.
    pub(super) fn take_first(&mut self) -> Option<Early> {
        self.take_up_to(Sequence(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn early(sequence: u64, bytes: usize) -> Early {
        let name = EventName::new("TYPING_START");
        Early { sequence: Sequence(sequence), name, json: "x".repeat(bytes) }
    }

    #[test]
    fn what_waits_is_taken_in_order_and_in_its_turn() {
        let mut held = Held::default();
        for sequence in [7, 6, 9] {
            held.keep(early(sequence, 1)).unwrap();
        }

        assert!(held.take_up_to(Sequence(5)).is_none());
        assert_eq!(held.take_up_to(Sequence(6)).unwrap().sequence, Sequence(6));
        assert_eq!(held.take_up_to(Sequence(7)).unwrap().sequence, Sequence(7));
        assert!(held.take_up_to(Sequence(8)).is_none());
        assert_eq!(held.take_first().unwrap().sequence, Sequence(9));
    }

    #[test]
    fn it_is_bounded_by_number_and_by_bytes() {
        let mut held = Held::default();
        for sequence in 0..64 {
            held.keep(early(sequence, 1)).unwrap();
        }
        assert_eq!(held.keep(early(64, 1)).unwrap_err().sequence, Sequence(64));

        let mut held = Held::default();
        held.keep(early(1, BYTES_MAX)).unwrap();
        assert!(held.keep(early(2, 1)).is_err());
    }
}
