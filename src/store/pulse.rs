//! How long the write that is under way has taken.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A view of the writer: a disk that hangs gives no error, and this is how it is noticed all the same.
///
/// A hung disk doesn't end the process by itself: the kernel may hold a thread that waits for it beyond any signal, and
/// the disk may come back, with nothing lost. Whoever watches the node decides.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Mutex<Option<Instant>>>);

impl Pulse {
    /// How long the group of writes that is under way has taken; `None` where none is.
    #[must_use]
    pub fn under_way(&self) -> Option<Duration> {
        let began = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        began.map(|began| began.elapsed())
    }

    pub(super) fn begin(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(super) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
