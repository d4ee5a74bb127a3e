//! Which messages have run already. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

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

/// A sender counts its deadline from when it began, and a receiver from when the message came, which is later by what
/// the way takes: so far apart may two arrivals of one message put it.
const DEADLINE_SLACK: Duration = Duration::from_secs(5);

/// The window of messages that must not run again, each with a `T` that yields its answer.
#[derive(Debug)]
pub(super) struct Once<T> {
    entries: BTreeMap<Key, Entry<T>>,
    /// Those that have run, by when their senders stop asking.
    done: BTreeSet<(Instant, Key)>,
    running: usize,
    running_for: BTreeMap<Receiver, usize>,
    /// The bytes of the answers of those that have run.
    bytes: usize,
    /// Of messages with a deadline up to here, some that have run were forgotten for want of room.
    gaps_until: Option<Instant>,
}

#[derive(Debug)]
struct Entry<T> {
    answer: T,
    /// Later than its sender's.
    deadline: Instant,
    /// The bytes of its answer, once it has run.
    done: Option<usize>,
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            done: BTreeSet::new(),
            running: 0,
            running_for: BTreeMap::new(),
            bytes: 0,
            gaps_until: None,
        }
    }
}

impl<T: Clone> Once<T> {
    /// An earlier arrival of the message: its handler runs, or has run.
    pub(super) fn find(&self, key: Key) -> Option<T> {
        Some(self.entries.get(&key)?.answer.clone())
    }

    /// A message that is not here begins to run, whose sender wants its answer by `deadline`: `answer` is where that will
    /// be. False if too many run already.
    pub(super) fn begin(&mut self, key: Key, answer: T, deadline: Instant) -> bool {
        let (receiver, _) = key;
        let running_for = self.running_for.get(&receiver).copied().unwrap_or_default();
        if self.running >= RUNNING_MAX || running_for >= RECEIVER_MAX {
            return false;
        }
        let fresh = self.entries.insert(key, Entry { answer, deadline, done: None }).is_none();
        assert!(fresh, "a message began twice");
        self.running += 1;
        self.running_for.insert(receiver, running_for + 1);
        true
    }

    /// Its handler has finished, with an answer of so many bytes.
    pub(super) fn finish(&mut self, key: Key, bytes: usize) {
        let running = self.entries.get_mut(&key).filter(|entry| entry.done.is_none());
        let Some(entry) = running else { return };
        entry.done = Some(bytes);
        self.done.insert((entry.deadline, key));
        self.bytes += bytes;
        self.end_one(key.0);
        while self.done.len() > UNCONFIRMED_MAX || self.bytes > UNCONFIRMED_BYTES_MAX {
            let Some((deadline, soonest)) = self.done.first().copied() else { return };
            self.forget(soonest);
            self.gaps_until = self.gaps_until.max(Some(deadline));
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
        let done = self.entries.get(&key).and_then(|entry| Some((entry.deadline, entry.done?)));
        if let Some((deadline, bytes)) = done {
            self.entries.remove(&key);
            self.done.remove(&(deadline, key));
            self.bytes -= bytes;
        }
    }

    /// Forgets those that no sender asks for any more.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((deadline, key)) = self.done.first().copied()
            && deadline + DEADLINE_SLACK < now
        {
            self.forget(key);
        }
    }

    /// Whether a message that is not here, and that its sender wants answered by `deadline`, has certainly not run.
    pub(super) fn would_know(&self, deadline: Instant) -> bool {
        self.gaps_until.is_none_or(|until| until + DEADLINE_SLACK < deadline)
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

    /// Answers that may be asked for again.
    pub(super) fn unconfirmed(&self) -> usize {
        self.done.len()
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

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[test]
    fn a_message_runs_once_until_its_answer_is_confirmed() {
        let mut once = Once::default();

        assert!(once.begin(key(1), 'a', soon()));
        assert_eq!(once.find(key(1)), Some('a'));
        once.finish(key(1), 10);
        assert_eq!(once.find(key(1)), Some('a'));
        once.forget(key(1));

        assert_eq!((once.len(), once.unconfirmed(), once.bytes), (0, 0, 0));
    }

    #[test]
    fn large_answers_are_forgotten_sooner() {
        let mut once = Once::default();
        for n in 0..3 {
            assert!(once.begin(key(n), n, soon()));
            once.finish(key(n), UNCONFIRMED_BYTES_MAX / 2);
        }

        assert_eq!((once.find(key(0)), once.find(key(1))), (None, Some(1)));
    }

    #[test]
    fn an_answer_is_kept_until_its_sender_stops_asking() {
        let mut once = Once::default();
        let deadline = soon();
        assert!(once.begin(key(1), 'a', deadline));
        assert!(once.begin(key(2), 'b', deadline));
        once.finish(key(1), 10);

        once.expire(deadline + DEADLINE_SLACK);
        assert_eq!(once.find(key(1)), Some('a'));
        once.expire(deadline + 2 * DEADLINE_SLACK);

        assert_eq!((once.len(), once.unconfirmed(), once.bytes), (1, 0, 0), "one still runs");
    }

    #[test]
    fn it_is_known_of_which_messages_some_were_forgotten_that_their_senders_may_still_ask_for() {
        let mut once = Once::default();
        let deadline = soon();
        assert!(once.would_know(deadline));
        for n in 0..=UNCONFIRMED_MAX as u128 {
            assert!(once.begin(key(n), n, deadline));
            once.finish(key(n), 1);
        }

        assert!(!once.would_know(deadline));
        assert!(once.would_know(deadline + 2 * DEADLINE_SLACK));
    }

    #[test]
    fn one_message_runs_once_for_each_of_its_receivers() {
        let mut once = Once::default();
        let (receiver, id) = key(1);
        let other = (Receiver::Shard(ShardId(1)), id);

        assert!(once.begin((receiver, id), (), soon()));
        assert!(once.begin(other, (), soon()));
    }

    #[test]
    fn what_runs_is_never_forgotten_and_no_more_than_the_bound_is_kept() {
        let mut once = Once::default();
        assert!(once.begin(key(0), 0, soon()));
        for n in 1..=UNCONFIRMED_MAX as u128 + 10 {
            assert!(once.begin(key(n), n, soon()));
            once.finish(key(n), 1);
        }

        assert_eq!(once.find(key(0)), Some(0));
        assert_eq!(once.find(key(10)), None, "its sender is the first to stop asking");
        assert_eq!(once.find(key(11)), Some(11));
        assert!(once.entries.len() <= UNCONFIRMED_MAX + 2);
    }

    #[test]
    fn confirmed_answers_take_no_room_from_those_in_doubt() {
        let mut once = Once::default();
        for n in 0..20 * UNCONFIRMED_MAX as u128 {
            assert!(once.begin(key(n), n, soon()));
            once.finish(key(n), 1);
            if n % 1_000 != 0 {
                once.forget(key(n));
            }
        }

        assert_eq!(once.find(key(0)), Some(0));
        assert!(once.done.len() <= UNCONFIRMED_MAX);
    }

    #[test]
    fn more_than_the_bound_do_not_run_at_once_for_one_receiver_nor_for_all() {
        let mut once = Once::default();
        for n in 0..RECEIVER_MAX as u128 {
            assert!(once.begin(key(n), (), soon()));
        }
        assert!(!once.begin(key(u128::MAX), (), soon()));
        once.withdraw(key(3));
        assert!(once.begin(key(u128::MAX), (), soon()));

        let of = |shard, n| (Receiver::Shard(ShardId(shard)), MessageId(Uuid::from_u128(n)));
        for shard in 1..16 {
            for n in 0..RECEIVER_MAX as u128 {
                assert!(once.begin(of(shard, n), (), soon()));
            }
        }
        assert!(!once.begin(of(99, 0), (), soon()));
        assert_eq!(once.running(), RUNNING_MAX);
    }
}
