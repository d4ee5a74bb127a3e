//! Places for connections. Where all are taken, the oldest gives way whose request is not being worked on, so that whoever
//! holds connections open, for whatever reason, can't keep a probe from being answered.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
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
    open: BTreeMap<u64, (CancellationToken, Busy)>,
}

/// Whether a connection's request is being worked on.
#[derive(Clone, Debug, Default)]
pub(super) struct Busy(Arc<AtomicUsize>);

impl Busy {
    /// It is until what is returned is dropped.
    pub(super) fn begin(&self) -> Working {
        self.0.fetch_add(1, Ordering::Relaxed);
        Working(self.clone())
    }

    fn is_busy(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// A request that is being worked on.
#[derive(Debug)]
pub(super) struct Working(Busy);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection's place. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    /// Cancelled where it has to give way.
    pub(super) must_go: CancellationToken,
    pub(super) busy: Busy,
    number: u64,
    taken: Arc<Mutex<Taken>>,
    _free: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), taken: Arc::default() }
    }

    /// A place, at once or as soon as another connection has gone for it.
    pub(super) async fn take(&self) -> Place {
        let free = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(free) => free,
            Err(_) => {
                if let Some(goes) = lock(&self.taken).remove_oldest() {
                    goes.cancel();
                    metrics::counter!("apolo_http_evicted_total").increment(1);
                }
                Arc::clone(&self.free).acquire_owned().await.expect("it is never closed")
            }
        };
        let (must_go, busy) = (CancellationToken::new(), Busy::default());
        let mut taken = lock(&self.taken);
        let number = taken.next;
        taken.next += 1;
        taken.open.insert(number, (must_go.clone(), busy.clone()));
        Place { must_go, busy, number, taken: Arc::clone(&self.taken), _free: free }
    }
}

impl Taken {
    fn remove_oldest(&mut self) -> Option<CancellationToken> {
        let idle = self.open.iter().find(|(_, (_, busy))| !busy.is_busy());
        let number = idle.or_else(|| self.open.iter().next()).map(|(number, _)| *number)?;
        self.open.remove(&number).map(|(must_go, _)| must_go)
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

    #[tokio::test]
    async fn whoever_waits_for_a_change_goes_last() {
        let places = Places::new(2);
        let (first, second) = (places.take().await, places.take().await);
        let working = first.busy.begin();

        assert!(Box::pin(places.take()).as_mut().now_or_never().is_none());
        assert!(!first.must_go.is_cancelled() && second.must_go.is_cancelled());

        drop(working);
        assert!(Box::pin(places.take()).as_mut().now_or_never().is_none());
        assert!(first.must_go.is_cancelled());
    }
}
