//! What a bot got: it counts events by type and by shard, and remembers which they were.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
};

use twilight_model::gateway::event::DispatchEvent;

use crate::bot::{Bot, Context, Event, HandlerResult, LostRange, Notice};
use crate::gateway::EventTypeFlags;
use crate::model::{SessionNumber, ShardId};

/// Counts events. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorder(Arc<Mutex<Counts>>);

/// What the bot got.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// By type.
    pub(super) by_type: BTreeMap<String, u64>,
    /// By shard.
    pub(super) by_shard: BTreeMap<ShardId, u64>,
    /// Which, by session.
    pub(super) got: BTreeMap<(ShardId, SessionNumber), Sequences>,
    /// Discord's ids of the sessions that began.
    pub(super) sessions: BTreeMap<String, SessionNumber>,
    /// Delivered although they may have been before.
    pub(super) redelivered: u64,
    /// Sessions that Discord dropped.
    pub(super) lost: Vec<(ShardId, LostRange)>,
}

impl Counts {
    /// Events over all shards.
    pub(super) fn events(&self) -> u64 {
        self.by_shard.values().sum()
    }
}

impl Recorder {
    /// What it got so far.
    pub(super) fn counts(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Events so far, by shard.
    pub(super) fn by_shard(&self) -> BTreeMap<ShardId, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_shard.clone()
    }
}

impl Bot for Recorder {
    async fn event(&self, context: Context, event: Event) -> HandlerResult {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(DispatchEvent::Ready(ready)) = event.typed() {
            counts.sessions.insert(ready.session_id.clone(), context.session());
        }
        match counts.by_type.get_mut(event.name()) {
            Some(count) => *count += 1,
            None => drop(counts.by_type.insert(event.name().to_owned(), 1)),
        }
        *counts.by_shard.entry(context.shard()).or_default() += 1;
        counts.redelivered += u64::from(context.redelivered());
        let session = (context.shard(), context.session());
        counts.got.entry(session).or_default().insert(context.sequence().0);
        Ok(())
    }

    async fn notice(&self, context: Context, notice: Notice) {
        if let Notice::SessionLost(range) = notice {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            counts.lost.push((context.shard(), range));
        }
    }

    fn events(&self) -> EventTypeFlags {
        EventTypeFlags::all()
    }
}

/// A set of sequences, as ranges: they come nearly in order, so there are few.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Sequences(Vec<RangeInclusive<u64>>);

impl Sequences {
    /// Adds one.
    pub(super) fn insert(&mut self, sequence: u64) {
        let at = self.0.partition_point(|range| *range.end() < sequence);
        if self.0.get(at).is_some_and(|range| range.contains(&sequence)) {
            return;
        }
        let joins_next = self.0.get(at).is_some_and(|range| *range.start() == sequence + 1);
        let joins_last = at > 0 && *self.0[at - 1].end() + 1 == sequence;
        match (joins_last, joins_next) {
            (true, true) => {
                self.0[at - 1] = *self.0[at - 1].start()..=*self.0[at].end();
                self.0.remove(at);
            }
            (true, false) => self.0[at - 1] = *self.0[at - 1].start()..=sequence,
            (false, true) => self.0[at] = sequence..=*self.0[at].end(),
            (false, false) => self.0.insert(at, sequence..=sequence),
        }
    }

    /// How many of `wanted` are missing.
    pub(super) fn missing(&self, wanted: &RangeInclusive<u64>) -> u64 {
        let length = |range: RangeInclusive<u64>| (range.end() + 1).saturating_sub(*range.start());
        let there: u64 = self
            .0
            .iter()
            .map(|range| {
                let start = *range.start().max(wanted.start());
                length(start..=*range.end().min(wanted.end()))
            })
            .sum();
        length(wanted.clone()) - there
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sequences_are_a_set(inserted in proptest::collection::vec(0_u64..30, 0..60)) {
            let mut sequences = Sequences::default();
            let mut set = std::collections::BTreeSet::new();
            for sequence in inserted {
                sequences.insert(sequence);
                set.insert(sequence);
            }
            let missing = (5..=20).filter(|sequence| !set.contains(sequence)).count() as u64;

            prop_assert_eq!(sequences.missing(&(5..=20)), missing);
            prop_assert!(sequences.0.windows(2).all(|pair| pair[0].end() + 1 < *pair[1].start()));
        }
    }
}
