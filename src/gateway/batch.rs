//! What one poll of the socket yields, on its way into the queue.

use std::collections::VecDeque;

use super::{
    feed::{Intake, Level},
    port::{Dispatch, Item},
};

/// Places that only markers may take: a dozen connections' worth, at [`MARKERS_PER_CONNECTION`].
const MARKERS_RESERVED: usize = 64;

/// The most markers that one connection yields: rewound, session lost, session started, connected, disconnected.
pub(super) const MARKERS_PER_CONNECTION: usize = 5;

/// Gathers items, so that they enter the queue together. It never waits for the receiver, nor lets it wait: the first
/// item that a receiver with nothing to do can have is handed over at once.
///
/// What is gathered counts as queued. How much waits beside it is looked at where it is handed over, and again where a
/// bound seems to be reached, since the receiver has made room since.
#[derive(Debug)]
pub(super) struct Batch {
    intake: Intake,
    items: VecDeque<Item>,
    bytes: usize,
    /// What waited in the queue at the last look: never less than what waits now.
    seen: Level,
}

/// Why a dispatch was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// The bound on items or bytes is reached.
    Full,
    /// The receiver is gone.
    Closed,
}

impl Batch {
    pub(super) fn new(intake: Intake) -> Self {
        let seen = intake.level();
        Self { intake, items: VecDeque::new(), bytes: 0, seen }
    }

    /// Where it goes.
    pub(super) const fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Takes a dispatch, unless that would pass a bound.
    pub(super) fn dispatch(&mut self, dispatch: Dispatch) -> Result<(), Refused> {
        if self.intake.is_closed() {
            return Err(Refused::Closed);
        }
        let bytes = dispatch.json.len();
        if !self.has_room(bytes) {
            self.seen = self.intake.level();
            if !self.has_room(bytes) {
                return Err(Refused::Full);
            }
        }
        self.items.push_back(Item::Dispatch(dispatch));
        self.bytes += bytes;
        if self.intake.is_idle() {
            self.flush();
        }
        Ok(())
    }

    /// Takes a marker, and hands over what is gathered. [`Batch::has_room_for_markers`] was awaited before the
    /// connection was opened, so there is room; where the receiver is gone the marker goes nowhere.
    pub(super) fn mark(&mut self, marker: Item) {
        self.seen = self.intake.level();
        if self.level().items >= self.places() {
            debug_assert!(false, "no room for {marker:?}");
            tracing::error!(?marker, "a marker found no room in the queue");
            return;
        }
        self.items.push_back(marker);
        self.flush();
    }

    /// Hands over what is gathered.
    pub(super) fn flush(&mut self) {
        if !self.items.is_empty() {
            self.seen = self.intake.append(&mut self.items, std::mem::take(&mut self.bytes));
        }
    }

    /// Whether there is room for all markers that one more connection can yield.
    pub(super) fn has_room_for_markers(&self) -> bool {
        let waiting = self.intake.level().items + self.items.len();
        waiting.saturating_add(MARKERS_PER_CONNECTION) <= self.places() || self.intake.is_closed()
    }

    /// Whether there is hardly room for one more dispatch: none by number, or less than a quarter by bytes.
    pub(super) fn is_full(&self) -> bool {
        let limits = self.intake.limits();
        let fills =
            |level: Level| level.items >= limits.items || level.bytes > limits.bytes / 4 * 3;
        fills(self.level()) && fills(self.intake.level().plus(self.gathered()))
    }

    fn has_room(&self, bytes: usize) -> bool {
        let (limits, level) = (self.intake.limits(), self.level());
        let over = level.bytes > 0 && level.bytes.saturating_add(bytes) > limits.bytes;
        !over && level.items < limits.items
    }

    fn level(&self) -> Level {
        self.seen.plus(self.gathered())
    }

    fn gathered(&self) -> Level {
        Level { items: self.items.len(), bytes: self.bytes }
    }

    fn places(&self) -> usize {
        self.intake.limits().items.saturating_add(MARKERS_RESERVED)
    }
}

/// For tests that are the connection: each item is handed over at once.
#[cfg(test)]
impl Intake {
    pub(crate) fn dispatch(&self, dispatch: Dispatch) -> Result<(), Refused> {
        let mut batch = Batch::new(self.clone());
        batch.dispatch(dispatch)?;
        batch.flush();
        Ok(())
    }

    pub(crate) fn mark(&self, marker: Item) {
        Batch::new(self.clone()).mark(marker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        gateway::{EventName, FeedLimits, feed},
        model::Sequence,
    };

    fn dispatch(sequence: u64, bytes: usize) -> Dispatch {
        let name = EventName::new("TYPING_START");
        Dispatch { sequence: Sequence(sequence), name, json: "x".repeat(bytes), oddity: None }
    }

    fn sequences(items: &[Item]) -> Vec<u64> {
        let of = |item: &Item| match item {
            Item::Dispatch(dispatch) => dispatch.sequence.0,
            _ => 0,
        };
        items.iter().map(of).collect()
    }

    #[test]
    fn what_is_gathered_counts_against_the_bounds_before_it_is_handed_over() {
        let (intake, mut feed) = feed(FeedLimits { items: 3, bytes: 100 });
        let mut batch = Batch::new(intake);

        batch.dispatch(dispatch(1, 60)).unwrap();
        assert_eq!(batch.dispatch(dispatch(2, 60)), Err(Refused::Full));
        batch.dispatch(dispatch(2, 10)).unwrap();
        batch.flush();
        assert!(!batch.is_full());
        batch.dispatch(dispatch(3, 10)).unwrap();

        assert!(batch.is_full());
        assert_eq!(batch.dispatch(dispatch(4, 1)), Err(Refused::Full));
        assert_eq!(feed.len(), 2);
        feed.try_recv().unwrap();
        assert!(!batch.is_full(), "the receiver has made room");
        batch.dispatch(dispatch(4, 1)).unwrap();
    }

    #[tokio::test]
    async fn a_receiver_that_waits_gets_the_first_and_then_the_rest_in_order() {
        let (intake, mut feed) = feed(FeedLimits::default());
        let mut batch = Batch::new(intake);
        let mut items = Vec::new();
        {
            let waiting = feed.recv_many(&mut items, 10);
            tokio::pin!(waiting);
            assert!(futures_util::poll!(waiting.as_mut()).is_pending());

            for sequence in 1..=3 {
                batch.dispatch(dispatch(sequence, 1)).unwrap();
            }
            assert_eq!(waiting.await, 1);
        }
        batch.mark(Item::Connected { resumed: true });
        drop(batch);
        while feed.recv_many(&mut items, 2).await > 0 {}

        assert_eq!(sequences(&items), [1, 2, 3, 0]);
    }
}
