//! The bounded queue between the connection and whoever delivers.
//!
//! It is bounded by items and by bytes, and the sender never waits. A few places are kept free of dispatches, so that a
//! marker (a new session, a lost one, the end of a connection) finds room in a queue that is full of events.
//!
//! What one poll of the socket yields crosses in a [`Batch`](super::batch::Batch), with few locks and few wake-ups.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use tokio::{sync::Notify, task::coop};

use super::port::Item;

/// How much may wait in a shard's queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FeedLimits {
    /// Dispatches. The default, 4,096, is what Discord's own replay buffer is believed to hold (3,500) and some more:
    /// a longer queue would only delay the RESUME that catches up.
    pub items: usize,
    /// Bytes of payload. The default, 32 MiB, is twice the largest payload, and keeps 64 stuck shards below 2 GiB.
    pub bytes: usize,
}

impl Default for FeedLimits {
    fn default() -> Self {
        Self { items: 4_096, bytes: 32 * 1_024 * 1_024 }
    }
}

impl FeedLimits {
    /// Whether half of the queue is free.
    const fn is_low(self, level: Level) -> bool {
        level.items <= self.items / 2 && level.bytes <= self.bytes / 2
    }
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Level {
    pub(super) items: usize,
    pub(super) bytes: usize,
}

impl Level {
    pub(super) const fn plus(self, other: Self) -> Self {
        Self { items: self.items + other.items, bytes: self.bytes + other.bytes }
    }
}

/// Makes a queue and returns its two ends.
pub(crate) fn feed(limits: FeedLimits) -> (Intake, Feed) {
    let shared = Arc::new(Shared {
        limits,
        queue: Mutex::default(),
        unread: AtomicBool::new(false),
        idle: AtomicBool::new(false),
        drained: Notify::new(),
    });
    (Intake(Arc::new(Sender(Arc::clone(&shared)))), Feed { shared })
}

/// The receiving end of a shard's queue.
#[derive(Debug)]
pub struct Feed {
    shared: Arc<Shared>,
}

impl Feed {
    /// Waits for the next item; `None` once the supervisor has returned and the queue is empty. Cancel safe.
    pub async fn recv(&mut self) -> Option<Item> {
        poll_fn(|cx| self.poll_taken(cx, Queue::pop)).await
    }

    /// Waits for at least one item, and appends up to `limit` of them to `items`. Returns how many; 0 is the end, or a
    /// `limit` of 0. Cancel safe.
    pub async fn recv_many(&mut self, items: &mut Vec<Item>, limit: usize) -> usize {
        if limit == 0 {
            return 0;
        }
        let taken = poll_fn(|cx| self.poll_taken(cx, |queue| queue.take(items, limit))).await;
        taken.unwrap_or(0)
    }

    /// Takes the next item, if one is there.
    pub fn try_recv(&mut self) -> Option<Item> {
        let mut queue = self.shared.queue();
        let item = queue.pop()?;
        self.shared.taken(queue);
        Some(item)
    }

    /// Items that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.level().items
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes something, or waits for it; `None` at the end.
    fn poll_taken<T>(
        &self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut Queue) -> Option<T>,
    ) -> Poll<Option<T>> {
        let budget = ready!(coop::poll_proceed(cx));
        let mut queue = self.shared.queue();
        let taken = take(&mut queue);
        if taken.is_none() && !queue.finished {
            queue.reader = Some(cx.waker().clone());
            self.shared.idle.store(true, Ordering::Relaxed);
            return Poll::Pending;
        }
        budget.made_progress();
        self.shared.taken(queue);
        Poll::Ready(taken)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.shared.unread.store(true, Ordering::SeqCst);
        let waiting = std::mem::take(&mut *self.shared.queue());
        self.shared.drained.notify_one();
        drop(waiting);
    }
}

/// The sending end.
#[derive(Clone, Debug)]
pub(crate) struct Intake(Arc<Sender>);

impl Intake {
    pub(super) fn limits(&self) -> FeedLimits {
        self.0.0.limits
    }

    /// How much waits.
    pub(super) fn level(&self) -> Level {
        self.0.0.level()
    }

    /// Whether the receiver is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.0.0.unread.load(Ordering::Relaxed)
    }

    /// Whether the receiver waits for an item. Only a hint: the end of a poll hands everything over in any case.
    pub(super) fn is_idle(&self) -> bool {
        self.0.0.idle.load(Ordering::Relaxed)
    }

    /// Puts items of so many bytes behind those that wait, and leaves `items` empty. The bounds are the caller's to
    /// keep. Returns how much waits now.
    pub(super) fn append(&self, items: &mut VecDeque<Item>, bytes: usize) -> Level {
        let shared = &self.0.0;
        let mut queue = shared.queue();
        if self.is_closed() {
            drop(queue);
            items.clear();
            return Level::default();
        }
        if queue.items.is_empty() {
            std::mem::swap(&mut queue.items, items);
        } else {
            queue.items.append(items);
        }
        queue.bytes += bytes;
        let level = queue.level();
        let reader = queue.reader.take();
        shared.idle.store(false, Ordering::Relaxed);
        drop(queue);
        if let Some(reader) = reader {
            reader.wake();
        }
        level
    }

    /// Whether half of the queue is free, in items and in bytes, or nobody reads it.
    pub(super) fn is_low(&self) -> bool {
        self.limits().is_low(self.level()) || self.is_closed()
    }

    /// Waits until half of the queue is free, or the receiver is gone.
    pub(super) async fn low(&self) {
        loop {
            self.0.0.queue().awaited = true;
            if self.is_low() {
                break;
            }
            self.0.0.drained.notified().await;
        }
        self.0.0.queue().awaited = false;
    }
}

/// The queue ends where the last of the sending ends is dropped.
#[derive(Debug)]
struct Sender(Arc<Shared>);

impl Drop for Sender {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.finished = true;
        let reader = queue.reader.take();
        drop(queue);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

#[derive(Debug)]
struct Shared {
    limits: FeedLimits,
    queue: Mutex<Queue>,
    /// Whether the receiver is gone.
    unread: AtomicBool,
    /// Whether there is a reader who waits.
    idle: AtomicBool,
    drained: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    /// Whoever waits for an item.
    reader: Option<Waker>,
    /// Whether the sender waits for `drained`.
    awaited: bool,
    /// Whether nothing will be added.
    finished: bool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn level(&self) -> Level {
        self.queue().level()
    }

    /// Tells a sender that waits for it that there is room.
    fn taken(&self, queue: MutexGuard<'_, Queue>) {
        let tell = queue.awaited && self.limits.is_low(queue.level());
        drop(queue);
        if tell {
            self.drained.notify_one();
        }
    }
}

impl Queue {
    fn level(&self) -> Level {
        Level { items: self.items.len(), bytes: self.bytes }
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes -= cost(&item);
        Some(item)
    }

    /// Appends up to `limit` items to `into`; `None` where there is none.
    fn take(&mut self, into: &mut Vec<Item>, limit: usize) -> Option<usize> {
        let count = limit.min(self.items.len());
        let before = into.len();
        if count == self.items.len() {
            self.bytes = 0;
            into.extend(self.items.drain(..));
        } else {
            into.extend(self.items.drain(..count));
            self.bytes -= into.iter().skip(before).map(cost).sum::<usize>();
        }
        (count > 0).then_some(count)
    }
}

/// What an item counts against the bound on bytes: its payload. What it takes beside that is bounded by the items.
pub(super) const fn cost(item: &Item) -> usize {
    match item {
        Item::Dispatch(dispatch) => dispatch.json.len(),
        Item::SessionStarted(_)
        | Item::Connected { .. }
        | Item::Disconnected { .. }
        | Item::SessionLost { .. }
        | Item::Rewound { .. } => 0,
    }
}

const _: () = assert!(size_of::<Item>() <= 128, "a full queue must stay below a megabyte");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        gateway::{
            EventName,
            batch::{MARKERS_PER_CONNECTION, Refused},
            port::Dispatch,
        },
        model::{Sequence, SessionNumber},
    };

    fn dispatch(bytes: usize) -> Dispatch {
        Dispatch {
            sequence: Sequence(1),
            name: EventName::new("MESSAGE_CREATE"),
            json: "x".repeat(bytes),
            oddity: None,
        }
    }

    #[test]
    fn the_queue_is_bounded_by_items_and_keeps_room_for_markers() {
        let (intake, mut feed) = feed(FeedLimits { items: 2, bytes: 1_000 });

        intake.dispatch(dispatch(1)).unwrap();
        intake.dispatch(dispatch(1)).unwrap();

        assert_eq!(intake.dispatch(dispatch(1)), Err(Refused::Full));
        for _ in 0..MARKERS_PER_CONNECTION {
            intake.mark(Item::Connected { resumed: true });
        }
        assert_eq!(feed.len(), 2 + MARKERS_PER_CONNECTION);
        assert!(matches!(feed.try_recv(), Some(Item::Dispatch(_))));
    }

    #[test]
    fn the_queue_is_bounded_by_bytes_but_an_empty_one_takes_anything() {
        let (intake, mut feed) = feed(FeedLimits { items: 10, bytes: 100 });

        intake.dispatch(dispatch(400)).unwrap();
        assert_eq!(intake.dispatch(dispatch(1)), Err(Refused::Full));
        feed.try_recv().unwrap();

        intake.dispatch(dispatch(60)).unwrap();
        assert_eq!(intake.dispatch(dispatch(60)), Err(Refused::Full));
    }

    #[test]
    fn a_receiver_that_is_gone_is_told_apart_from_a_full_queue() {
        let (intake, feed) = feed(FeedLimits::default());

        drop(feed);

        assert_eq!(intake.dispatch(dispatch(1)), Err(Refused::Closed));
        assert!(intake.is_low(), "nobody waits for a receiver that is gone");
    }

    #[tokio::test]
    async fn the_sender_is_woken_when_half_of_the_queue_is_free() {
        let (intake, mut feed) = feed(FeedLimits { items: 4, bytes: 1_000 });
        for _ in 0..4 {
            intake.dispatch(dispatch(1)).unwrap();
        }
        let low = intake.low();
        tokio::pin!(low);

        for left in [3, 2] {
            assert!(futures_util::poll!(low.as_mut()).is_pending(), "{left} left");
            feed.recv().await.unwrap();
        }

        low.await;
    }

    #[tokio::test]
    async fn a_batch_gives_back_all_its_bytes() {
        let (intake, mut feed) = feed(FeedLimits { items: 10, bytes: 100 });
        intake.dispatch(dispatch(50)).unwrap();
        intake.dispatch(dispatch(50)).unwrap();
        intake.mark(Item::Rewound { session: SessionNumber(1), after: Sequence(0) });
        let mut items = Vec::new();

        let taken = feed.recv_many(&mut items, 10).await;

        assert_eq!((taken, items.len()), (3, 3));
        intake.dispatch(dispatch(100)).unwrap();
    }
}
