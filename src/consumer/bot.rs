//! The bot whose handlers are consumers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::Instant,
};

use super::{
    group::Group,
    offer::{Offer, Parcel, Settled},
    pool::{ConsumerId, Pool, Standing},
    told, traffic,
};
use crate::bot::{Context, DynBot, Event, HandlerResult, Notice, Unhandled};
use crate::gateway::EventTypeFlags;
use crate::http::ConsumerGroup;

/// Bytes of what all consumers of a node have asked and not been answered, and of answers that they have not read: as much
/// as it takes of other nodes' messages.
const ASK_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Where the numbers of deliveries begin: below half of what JavaScript counts exactly.
const NUMBERS: u64 = 1 << 52;

/// The consumers of a node, and the bot that hands them its events. Clones are the same.
#[derive(Clone, Debug)]
pub struct Consumers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pool: Mutex<Pool>,
    lines: Mutex<BTreeMap<ConsumerId, Line>>,
    ids: AtomicU64,
    /// Room for what consumers have asked and not been answered.
    asks: Arc<Semaphore>,
}

/// What is to be sent to a consumer.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) text: String,
    /// Of an answer, which a consumer that does not read may have many of. To be kept until it is written.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl From<String> for Frame {
    fn from(text: String) -> Self {
        Self { text, room: None }
    }
}

/// The way to a consumer.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) outbox: mpsc::Sender<Frame>,
    pub(super) wants_notices: bool,
}

/// Takes an offer back when its deliverer does not wait for it any more.
struct Withdrawn<'a> {
    consumers: &'a Consumers,
    offer: Arc<Offer>,
}

impl Drop for Withdrawn<'_> {
    fn drop(&mut self) {
        let number = self.offer.number;
        let holders = self.consumers.pool().withdraw(number);
        for line in holders.iter().filter_map(|id| self.consumers.line(*id)) {
            // One that is slow finds out by the shard's next epoch.
            let _ = line.outbox.try_send(told::event_cancelled(number).into());
        }
    }
}

impl Consumers {
    /// Every event waits until a consumer of each of these groups has acknowledged it. Other groups get the events that
    /// come while one of theirs is there.
    #[must_use]
    pub fn new(required: BTreeSet<Group>) -> Self {
        let asks = Arc::new(Semaphore::new(ASK_BYTES_MAX));
        let pool = Mutex::new(Pool::new(required, rand::random_range(0..NUMBERS)));
        Self(Arc::new(Shared { pool, lines: Mutex::default(), ids: AtomicU64::new(0), asks }))
    }

    /// How each group stands.
    #[must_use]
    pub fn groups(&self) -> Vec<ConsumerGroup> {
        let row = |(group, standing): (Group, Standing)| ConsumerGroup {
            name: group.to_string(),
            required: standing.required,
            consumers: standing.consumers,
            waiting: standing.waiting,
            unacknowledged: standing.unacknowledged,
            oldest_ms: standing
                .oldest
                .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        };
        self.pool().standing(Instant::now()).into_iter().map(row).collect()
    }

    /// Sets the gauges to how things are.
    pub fn publish(&self) {
        traffic::show(&self.pool());
    }

    pub(super) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lines(&self) -> MutexGuard<'_, BTreeMap<ConsumerId, Line>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn line(&self, id: ConsumerId) -> Option<Line> {
        self.lines().get(&id).cloned()
    }

    /// An answer, if there is room for it until it is read; otherwise what `refusal` makes of it.
    pub(super) fn answer(&self, text: String, refusal: impl FnOnce() -> String) -> Frame {
        match self.room(text.len()) {
            Some(room) => Frame { text, room: Some(room) },
            None => refusal().into(),
        }
    }

    /// Room for something of so many bytes that takes time.
    pub(super) fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).ok()?;
        Arc::clone(&self.0.asks).try_acquire_many_owned(bytes).ok()
    }

    pub(super) fn next_id(&self) -> ConsumerId {
        ConsumerId(self.0.ids.fetch_add(1, Relaxed))
    }

    async fn deliver(&self, parcel: Parcel) -> HandlerResult {
        let stopping = parcel.stopping.clone();
        let offered = self.pool().offer(parcel);
        let Some((offer, mut settled)) = offered else { return Ok(()) };
        let withdrawn = Withdrawn { consumers: self, offer };
        let first = tokio::select! {
            biased;
            settled = &mut settled => Some(settled),
            () = stopping.cancelled() => None,
        };
        let settled = match first {
            Some(settled) => settled,
            None => {
                self.pool().stop(&withdrawn.offer);
                settled.await
            }
        };
        match settled {
            Ok(Settled::Handled(Ok(()))) => Ok(()),
            Ok(Settled::Handled(Err(error))) => Err(error.into()),
            Ok(Settled::Unhandled) | Err(_) => Err(Unhandled.into()),
        }
    }
}

impl DynBot for Consumers {
    fn event(self: Arc<Self>, context: Context, event: Event) -> BoxFuture<'static, HandlerResult> {
        async move { self.deliver(Parcel::new(&context, event)).await }.boxed()
    }

    fn notice(self: Arc<Self>, context: Context, notice: Notice) -> BoxFuture<'static, ()> {
        async move {
            let lines = self.lines().values().cloned().collect::<Vec<_>>();
            for line in lines.into_iter().filter(|line| line.wants_notices) {
                // One that has gone is told nothing.
                let _ = line.outbox.send(told::notice(&context, &notice).into()).await;
            }
        }
        .boxed()
    }

    fn events(&self) -> EventTypeFlags {
        EventTypeFlags::all()
    }

    fn typed(&self) -> bool {
        false
    }
}
