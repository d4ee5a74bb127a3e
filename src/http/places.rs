//! Places for connections. Where all are taken the oldest gives way, so that whoever holds connections open, for whatever
//! reason, can't keep a probe from being answered.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// All places of a listener.
#[derive(Clone, Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    taken: Arc<Mutex<Taken>>,
}

/// The connections that have one, by age.
#[derive(Debug, Default)]
struct Taken {
    next: u64,
    open: BTreeMap<u64, CancellationToken>,
}

/// A connection's place. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    /// Cancelled where it has to give way.
    pub(super) must_go: CancellationToken,
    number: u64,
    taken: Arc<Mutex<Taken>>,
    _free: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), taken: Arc::default() }
    }

    /// A place, at once or as soon as the oldest connection has gone.
    pub(super) async fn take(&self) -> Place {
        let free = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(free) => free,
            Err(_) => {
                if let Some((_, oldest)) = lock(&self.taken).open.pop_first() {
                    oldest.cancel();
                    metrics::counter!("apolo_http_evicted_total").increment(1);
                }
                Arc::clone(&self.free).acquire_owned().await.expect("it is never closed")
            }
        };
        let must_go = CancellationToken::new();
        let mut taken = lock(&self.taken);
        let number = taken.next;
        taken.next += 1;
        taken.open.insert(number, must_go.clone());
        Place { must_go, number, taken: Arc::clone(&self.taken), _free: free }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.taken).open.remove(&self.number);
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_oldest_gives_way_and_a_free_place_is_used_first() {
        let places = Places::new(2);
        let (first, second) = (places.take().await, places.take().await);
        drop(first);
        let third = places.take().await;
        assert!(!second.must_go.is_cancelled());

        let mut fourth = Box::pin(places.take());
        assert!(fourth.as_mut().now_or_never().is_none(), "the oldest has not gone yet");
        assert!(second.must_go.is_cancelled() && !third.must_go.is_cancelled());
        drop(second);

        let _fourth = fourth.await;
        assert!(!third.must_go.is_cancelled());
    }
}
