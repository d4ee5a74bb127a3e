//! How much of this node may be under way to one receiver.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Semaphore;

use crate::ipc::message::Receiver;

/// Messages of this node that are under way at once to one receiver. More wait in line here: two receivers whose handlers
/// hang leave room for others on the way to their node.
const LINE_MAX: usize = 32;

/// A line for each receiver that anything was sent to.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<BTreeMap<Receiver, Arc<Semaphore>>>);

impl Lines {
    pub(super) fn of(&self, receiver: Receiver) -> Arc<Semaphore> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.entry(receiver);
        Arc::clone(line.or_insert_with(|| Arc::new(Semaphore::new(LINE_MAX))))
    }
}
