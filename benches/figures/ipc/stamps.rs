//! When the handlers of broadcasts ran on a node.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use apolo::ipc::Call;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// What a node saw of one broadcast.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) handlers: usize,
    /// When the last of them ran, in nanoseconds of [`monotonic`].
    pub(super) last: u64,
    /// Letters that brought it here.
    pub(super) letters: usize,
}

/// What a node saw of all broadcasts.
pub(super) type Sight = BTreeMap<u32, Seen>;

/// What is written down while the handlers run. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Stamps(Arc<Mutex<BTreeMap<u32, Stamped>>>);

#[derive(Default)]
struct Stamped {
    handlers: usize,
    last: u64,
    /// All receivers of a letter share its one copy of the event's name, which tells the letters apart. They are kept,
    /// so that no later one takes an earlier one's place in memory.
    letters: Vec<Arc<str>>,
}

impl Stamps {
    pub(super) fn stamp(&self, call: &Call, broadcast: u32) {
        let now = monotonic();
        let mut stamps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stamped = stamps.entry(broadcast).or_default();
        stamped.handlers += 1;
        stamped.last = stamped.last.max(now);
        if !stamped.letters.iter().any(|letter| Arc::ptr_eq(letter, &call.event)) {
            stamped.letters.push(Arc::clone(&call.event));
        }
    }

    pub(super) fn sight(&self) -> Sight {
        let stamps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = stamps.iter().map(|(broadcast, stamped)| {
            let Stamped { handlers, last, letters } = stamped;
            (*broadcast, Seen { handlers: *handlers, last: *last, letters: letters.len() })
        });
        seen.collect()
    }
}

/// The same clock for all processes of a machine, which nobody sets.
pub(super) fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let since = Duration::try_from(now).expect("a monotonic clock does not begin below zero");
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
