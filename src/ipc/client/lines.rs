//! How much of this node may be under way to one receiver.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Semaphore;

use crate::ipc::message::Receiver;

/// Messages for one receiver alone that are under way to it at once. More wait in line here: two receivers whose handlers
/// hang leave room for others on the way to their node.
const ALONE_MAX: usize = 24;

/// The same for messages for many, which have a line of their own: who waits in the other one is served first.
const MANY_MAX: usize = 8;

/// Two lines for each receiver that anything was sent to.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<BTreeMap<Receiver, Line>>);

#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) alone: Arc<Semaphore>,
    pub(super) many: Arc<Semaphore>,
}

impl Default for Line {
    fn default() -> Self {
        let [alone, many] = [ALONE_MAX, MANY_MAX].map(|places| Arc::new(Semaphore::new(places)));
        Self { alone, many }
    }
}

impl Lines {
    pub(super) fn of(&self, receiver: Receiver) -> Line {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.entry(receiver).or_default().clone()
    }
}
