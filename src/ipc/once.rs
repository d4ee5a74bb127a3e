//! Which messages have run already. Pure.

use std::collections::{BTreeMap, VecDeque};

use super::message::{MessageId, Receiver};

/// A message for one receiver.
pub(super) type Key = (Receiver, MessageId);

/// Messages under way at once, over all receivers of a node: each holds at most [`DATA_MAX`](super::DATA_MAX), and
/// peers can't send more than their streams carry.
pub(super) const RUNNING_MAX: usize = 16_384;

/// Of these for one receiver: one whose handlers hang does not take the others' room.
pub(super) const RECEIVER_MAX: usize = 1_024;

/// Answers that are kept for a sender that has not confirmed them, since it may ask again. Who has its answer confirms,
/// so this many are in doubt at once only where thousands of requests lose their connection together.
pub(super) const UNCONFIRMED_MAX: usize = 4_096;

/// The most bytes of such answers.
pub(super) const UNCONFIRMED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The window of messages that must not run again, each with a `T` that yields its answer.
#[derive(Debug)]
pub(super) struct Once<T> {
    entries: BTreeMap<Key, Entry<T>>,
    /// Those that have run, the oldest first; some are confirmed and gone.
    done: VecDeque<Key>,
    running: usize,
    running_for: BTreeMap<Receiver, usize>,
    /// How many have run and are not confirmed, and the bytes of their answers.
    unconfirmed: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Entry<T> {
    answer: T,
    /// The bytes of its answer, once it has run.
    done: Option<usize>,
}

/// What a message is to the window.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Begun<T> {
    /// It has not run: it does now.
    First,
    /// It runs, or has run.
    Again(T),
    /// Too many run.
    Full,
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            done: VecDeque::new(),
            running: 0,
            running_for: BTreeMap::new(),
            unconfirmed: 0,
            bytes: 0,
        }
    }
}

impl<T: Clone> Once<T> {
    /// A message has come. `answer` is where its answer will be, if it is the first of its id.
    pub(super) fn begin(&mut self, key: Key, answer: T) -> Begun<T> {
        if let Some(entry) = self.entries.get(&key) {
            return Begun::Again(entry.answer.clone());
        }
        let (receiver, _) = key;
        let running_for = self.running_for.get(&receiver).copied().unwrap_or_default();
        if self.running >= RUNNING_MAX || running_for >= RECEIVER_MAX {
            return Begun::Full;
        }
        self.running += 1;
        self.running_for.insert(receiver, running_for + 1);
        self.entries.insert(key, Entry { answer, done: None });
        Begun::First
    }

    /// Its handler has finished, with an answer of so many bytes.
    pub(super) fn finish(&mut self, key: Key, bytes: usize) {
        let running = self.entries.get_mut(&key).filter(|entry| entry.done.is_none());
        let Some(entry) = running else { return };
        entry.done = Some(bytes);
        self.end_one(key.0);
        self.unconfirmed += 1;
        self.bytes += bytes;
        self.done.push_back(key);
        while self.unconfirmed > UNCONFIRMED_MAX || self.bytes > UNCONFIRMED_BYTES_MAX {
            let Some(oldest) = self.done.pop_front() else { return };
            self.forget(oldest);
        }
        // Those that are confirmed leave gaps.
        if self.done.len() > 2 * UNCONFIRMED_MAX {
            let entries = &self.entries;
            self.done.retain(|key| entries.get(key).is_some_and(|entry| entry.done.is_some()));
        }
    }

    /// It has not run after all, and may yet.
    pub(super) fn withdraw(&mut self, key: Key) {
        if self.entries.get(&key).is_some_and(|entry| entry.done.is_none()) {
            self.entries.remove(&key);
            self.end_one(key.0);
        }
    }

    fn end_one(&mut self, receiver: Receiver) {
        self.running -= 1;
        if let Some(running) = self.running_for.get_mut(&receiver) {
            *running -= 1;
            if *running == 0 {
                self.running_for.remove(&receiver);
            }
        }
    }

    /// Forgets one that has run: its sender has the answer, and won't ask again.
    pub(super) fn forget(&mut self, key: Key) {
        let bytes = self.entries.get(&key).and_then(|entry| entry.done);
        if let Some(bytes) = bytes {
            self.entries.remove(&key);
            self.unconfirmed -= 1;
            self.bytes -= bytes;
        }
    }

    /// Messages that are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Handlers that run.
    pub(super) const fn running(&self) -> usize {
        self.running
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::ShardId;

    fn key(n: u128) -> Key {
        (Receiver::Shard(ShardId(0)), MessageId(Uuid::from_u128(n)))
    }

    #[test]
    fn a_message_runs_once_until_its_answer_is_confirmed() {
        let mut once = Once::default();

        assert_eq!(once.begin(key(1), 'a'), Begun::First);
        assert_eq!(once.begin(key(1), 'b'), Begun::Again('a'));
        once.finish(key(1), 10);
        assert_eq!(once.begin(key(1), 'c'), Begun::Again('a'));
        once.forget(key(1));

        assert_eq!((once.len(), once.unconfirmed, once.bytes), (0, 0, 0));
    }

    #[test]
    fn large_answers_are_forgotten_sooner() {
        let mut once = Once::default();
        for n in 0..3 {
            assert_eq!(once.begin(key(n), n), Begun::First);
            once.finish(key(n), UNCONFIRMED_BYTES_MAX / 2);
        }

        assert_eq!(once.begin(key(0), 9), Begun::First);
        assert_eq!(once.begin(key(1), 9), Begun::Again(1));
    }

    #[test]
    fn one_message_runs_once_for_each_of_its_receivers() {
        let mut once = Once::default();
        let (receiver, id) = key(1);
        let other = (Receiver::Shard(ShardId(1)), id);

        assert_eq!(once.begin((receiver, id), ()), Begun::First);
        assert_eq!(once.begin(other, ()), Begun::First);
    }

    #[test]
    fn what_runs_is_never_forgotten_and_no_more_than_the_bound_is_kept() {
        let mut once = Once::default();
        assert_eq!(once.begin(key(0), 0), Begun::First);
        for n in 1..=UNCONFIRMED_MAX as u128 + 10 {
            assert_eq!(once.begin(key(n), n), Begun::First);
            once.finish(key(n), 1);
        }

        assert_eq!(once.begin(key(0), 9), Begun::Again(0));
        assert_eq!(once.begin(key(10), 9), Begun::First, "it is the oldest of those that have run");
        assert_eq!(once.begin(key(11), 9), Begun::Again(11));
        assert!(once.entries.len() <= UNCONFIRMED_MAX + 2);
    }

    #[test]
    fn confirmed_answers_take_no_room_from_those_in_doubt() {
        let mut once = Once::default();
        for n in 0..20 * UNCONFIRMED_MAX as u128 {
            assert_eq!(once.begin(key(n), n), Begun::First);
            once.finish(key(n), 1);
            if n % 1_000 != 0 {
                once.forget(key(n));
            }
        }

        assert_eq!(once.begin(key(0), 9), Begun::Again(0));
        assert!(once.done.len() <= 2 * UNCONFIRMED_MAX);
    }

    #[test]
    fn more_than_the_bound_do_not_run_at_once_for_one_receiver_nor_for_all() {
        let mut once = Once::default();
        for n in 0..RECEIVER_MAX as u128 {
            assert_eq!(once.begin(key(n), ()), Begun::First);
        }
        assert_eq!(once.begin(key(u128::MAX), ()), Begun::Full);
        once.withdraw(key(3));
        assert_eq!(once.begin(key(u128::MAX), ()), Begun::First);

        let of = |shard, n| (Receiver::Shard(ShardId(shard)), MessageId(Uuid::from_u128(n)));
        for shard in 1..16 {
            for n in 0..RECEIVER_MAX as u128 {
                assert_eq!(once.begin(of(shard, n), ()), Begun::First);
            }
        }
        assert_eq!(once.begin(of(99, 0), ()), Begun::Full);
        assert_eq!(once.running(), RUNNING_MAX);
    }
}
