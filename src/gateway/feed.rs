//! The bounded queue between the connection and whoever delivers.
//!
//! It is bounded by items and by bytes, and the sender never waits. A few places are kept free of dispatches, so that a
//! marker (a new session, a lost one, the end of a connection) finds room in a queue that is full of events.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::sync::{Notify, mpsc};

use super::port::{Dispatch, Item};

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

/// Places that only markers may take: a dozen connections' worth, at [`MARKERS_PER_CONNECTION`].
const MARKERS_RESERVED: usize = 64;

/// The most markers that one connection yields: rewound, session lost, session started, connected, disconnected.
const MARKERS_PER_CONNECTION: usize = 5;

/// Makes a queue and returns its two ends.
pub(crate) fn feed(limits: FeedLimits) -> (Intake, Feed) {
    let (sender, receiver) = mpsc::channel(limits.items.saturating_add(MARKERS_RESERVED));
    let shared = Arc::new(Shared {
        limits,
        bytes: AtomicUsize::new(0),
        awaited: AtomicBool::new(false),
        drained: Notify::new(),
    });
    (Intake { sender, shared: Arc::clone(&shared) }, Feed { receiver, shared })
}

/// The receiving end of a shard's queue.
#[derive(Debug)]
pub struct Feed {
    receiver: mpsc::Receiver<Item>,
    shared: Arc<Shared>,
}

impl Feed {
    /// Waits for the next item; `None` once the supervisor has returned and the queue is empty. Cancel safe.
    pub async fn recv(&mut self) -> Option<Item> {
        let item = self.receiver.recv().await?;
        self.taken(cost(&item));
        Some(item)
    }

    /// Waits for at least one item, and appends up to `limit` of them to `items`. Returns how many; 0 is the end, or a
    /// `limit` of 0. Cancel safe.
    pub async fn recv_many(&mut self, items: &mut Vec<Item>, limit: usize) -> usize {
        let before = items.len();
        let count = self.receiver.recv_many(items, limit).await;
        self.taken(items.iter().skip(before).map(cost).sum());
        count
    }

    /// Takes the next item, if one is there.
    pub fn try_recv(&mut self) -> Option<Item> {
        let item = self.receiver.try_recv().ok()?;
        self.taken(cost(&item));
        Some(item)
    }

    /// Items that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.receiver.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    fn taken(&self, bytes: usize) {
        self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if self.shared.awaited.load(Ordering::SeqCst) && self.shared.is_low(self.receiver.len()) {
            self.shared.drained.notify_one();
        }
    }
}

/// The sending end. It never waits for the receiver.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    sender: mpsc::Sender<Item>,
    shared: Arc<Shared>,
}

/// Why a dispatch was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// The bound on items or bytes is reached.
    Full,
    /// The receiver is gone.
    Closed,
}

impl Intake {
    /// Queues a dispatch, unless that would pass a bound.
    pub(crate) fn dispatch(&self, dispatch: Dispatch) -> Result<(), Refused> {
        if self.sender.is_closed() {
            return Err(Refused::Closed);
        }
        let bytes = dispatch.json.len();
        let waiting = self.shared.bytes.load(Ordering::Relaxed);
        let over = waiting > 0 && waiting.saturating_add(bytes) > self.shared.limits.bytes;
        if over || self.sender.capacity() <= MARKERS_RESERVED {
            return Err(Refused::Full);
        }
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.sender.try_send(Item::Dispatch(dispatch)).map_err(|error| {
            self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
            match error {
                mpsc::error::TrySendError::Full(_) => Refused::Full,
                mpsc::error::TrySendError::Closed(_) => Refused::Closed,
            }
        })
    }

    /// Queues a marker. [`Intake::room_for_markers`] was awaited before the connection was opened, so there is room;
    /// where the receiver is gone the marker goes nowhere.
    pub(crate) fn mark(&self, marker: Item) {
        if let Err(mpsc::error::TrySendError::Full(marker)) = self.sender.try_send(marker) {
            debug_assert!(false, "no room for {marker:?}");
            tracing::error!(?marker, "a marker found no room in the queue");
        }
    }

    /// Whether there is room for all markers that one more connection can yield.
    pub(super) fn has_room_for_markers(&self) -> bool {
        self.sender.capacity() >= MARKERS_PER_CONNECTION || self.sender.is_closed()
    }

    /// Whether there is hardly room for one more dispatch: none by number, or less than a quarter by bytes.
    pub(super) fn is_full(&self) -> bool {
        let bytes = self.shared.bytes.load(Ordering::Relaxed);
        self.sender.capacity() <= MARKERS_RESERVED || bytes > self.shared.limits.bytes / 4 * 3
    }

    /// Whether half of the queue is free, in items and in bytes.
    pub(super) fn is_low(&self) -> bool {
        self.shared.is_low(self.waiting()) || self.sender.is_closed()
    }

    /// Waits until half of the queue is free, or the receiver is gone.
    pub(super) async fn low(&self) {
        self.shared.awaited.store(true, Ordering::SeqCst);
        while !self.is_low() {
            tokio::select! {
                () = self.shared.drained.notified() => {}
                () = self.sender.closed() => {}
            }
        }
        self.shared.awaited.store(false, Ordering::SeqCst);
    }

    fn waiting(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }
}

#[derive(Debug)]
struct Shared {
    limits: FeedLimits,
    bytes: AtomicUsize,
    /// Whether the sender waits for `drained`; spares the receiver the arithmetic otherwise.
    awaited: AtomicBool,
    drained: Notify,
}

impl Shared {
    fn is_low(&self, waiting: usize) -> bool {
        waiting <= self.limits.items / 2
            && self.bytes.load(Ordering::Relaxed) <= self.limits.bytes / 2
    }
}

/// What an item counts against the bound on bytes: its payload. What it takes beside that is bounded by the items.
const fn cost(item: &Item) -> usize {
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
        gateway::EventName,
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
