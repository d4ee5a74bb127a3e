//! Runs messages for the receivers on this node.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::FutureExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    handlers::{Answer, Call, Handlers},
    message::Receiver,
    once::{Key, Once},
    route::Tenure,
    traffic,
    wire::{Address, Failure},
};
use crate::model::{BootEpoch, Epoch, NodeId, ShardId};

/// Handlers that run at once for one receiver. More wait in line, which slows whoever sends to it and nobody else.
pub(super) const HANDLERS_MAX: usize = 64;

/// The most bytes of messages whose handlers run or wait in line.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Between two looks at what still runs, when the node stops.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is to be known of this node.
pub trait Residents: Send + Sync + 'static {
    /// The epoch under which a shard runs here, with the right to.
    fn runs(&self, shard: ShardId) -> Option<Epoch>;
    /// Whether this node belongs to a quorum, as far as it knows.
    fn has_quorum(&self) -> bool;
}

/// A message that has come: where its answer will be, and by what its handler is told that nobody waits for it.
#[derive(Clone)]
struct Met {
    answered: watch::Receiver<Option<Answer>>,
    cancelled: CancellationToken,
}

/// The receiving side of a node.
pub(super) struct Local {
    pub(super) me: NodeId,
    boot: BootEpoch,
    pub(super) handlers: Handlers,
    pub(super) residents: Arc<dyn Residents>,
    once: Mutex<Once<Met>>,
    lines: Mutex<BTreeMap<Receiver, Arc<Semaphore>>>,
    bytes: Arc<Semaphore>,
    closed: AtomicBool,
}

/// A message's data, for as long as any of its handlers needs it.
#[derive(Clone)]
pub(super) struct Held {
    data: Bytes,
    _room: Arc<OwnedSemaphorePermit>,
}

/// A message for one receiver.
pub(super) struct Errand {
    pub(super) call: Call,
    pub(super) address: Address,
    pub(super) data: Held,
    pub(super) deadline: Instant,
}

/// Dropped when whoever sent a message again has its answer or has gone; the handler that runs since the first time then
/// learns whether anybody still waits.
struct GivesUp {
    asker: CancellationToken,
    handler: CancellationToken,
}

thread_local! {
    /// A handler begins in its caller's task further up on this stack.
    static BEGINS: Cell<bool> = const { Cell::new(false) };
}

/// Polls a handler for the first time, without a task. Whether it has ended. One that another begins has a task: else a
/// message that is handed on from shard to shard would be as deep on the stack as it has come far.
fn begin_here(carried: &mut (impl Future<Output = ()> + Unpin)) -> bool {
    struct Ends;
    impl Drop for Ends {
        fn drop(&mut self) {
            BEGINS.set(false);
        }
    }
    if BEGINS.replace(true) {
        return false;
    }
    let _ends = Ends;
    carried.now_or_never().is_some()
}

impl Drop for GivesUp {
    fn drop(&mut self) {
        if self.asker.is_cancelled() {
            self.handler.cancel();
        }
    }
}

impl Local {
    pub(super) fn new(
        (me, boot): (NodeId, BootEpoch),
        handlers: Handlers,
        residents: Arc<dyn Residents>,
    ) -> Self {
        Self {
            me,
            boot,
            handlers,
            residents,
            once: Mutex::default(),
            lines: Mutex::default(),
            bytes: Arc::new(Semaphore::new(BYTES_MAX)),
            closed: AtomicBool::new(false),
        }
    }

    /// Takes a message's data in, unless too much is here already.
    pub(super) fn hold(&self, data: Bytes) -> Option<Held> {
        let bytes = u32::try_from(data.len()).ok()?;
        let room = Arc::clone(&self.bytes).try_acquire_many_owned(bytes).ok()?;
        Some(Held { data, _room: Arc::new(room) })
    }

    /// Runs the message's handler, unless it runs or has run, and waits for its answer. A handler that `is_alone` begins in
    /// the caller's task; those of a message for many begin beside each other.
    pub(super) async fn run(self: &Arc<Self>, errand: Errand, is_alone: bool) -> Answer {
        let deadline = errand.deadline;
        let (told, answered) = watch::channel(None);
        let cancelled = errand.call.cancelled.clone();
        let met = Met { answered, cancelled: cancelled.clone() };
        let (mut answered, _gives_up) = match self.begin(&errand, met.clone())? {
            Some(earlier) => {
                let gives_up = GivesUp { asker: cancelled, handler: earlier.cancelled };
                (earlier.answered, Some(gives_up))
            }
            None => {
                let mut carried = Arc::clone(self).carry_out(errand, told).boxed();
                // Most handlers have nothing to wait for, and need no task.
                let is_done = is_alone && begin_here(&mut carried);
                if !is_done {
                    tokio::spawn(carried);
                }
                (met.answered, None)
            }
        };
        match timeout_at(deadline, answered.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => answer.clone().unwrap_or(Err(Failure::Late)),
            // It was withdrawn: it has not run.
            Ok(Err(_)) => Err(Failure::Moved),
            Err(_) => Err(Failure::Late),
        }
    }

    async fn carry_out(self: Arc<Self>, errand: Errand, told: watch::Sender<Option<Answer>>) {
        let Errand { call, address, data, deadline } = errand;
        let key = (call.receiver, call.id);
        let line = self.line(call.receiver);
        let place = timeout_at(deadline, line.acquire_owned()).await;
        // In line the receiver may have moved on, and whoever asked may have given up.
        if place.is_err() || call.cancelled.is_cancelled() || !self.is_here(&address) {
            self.once().withdraw(key);
            return;
        }
        let cancelled = call.cancelled.clone();
        let running = self.handlers.run(call, data.data.clone());
        tokio::pin!(running);
        let answer = tokio::select! {
            answer = &mut running => answer,
            () = sleep_until(deadline) => {
                cancelled.cancel();
                running.await
            }
        };
        // It has not run: whoever sends it again is not to find that it could not.
        if matches!(answer, Err(Failure::Overloaded)) {
            self.once().withdraw(key);
            return;
        }
        let bytes = answer.as_ref().map_or(0, Bytes::len);
        self.once().finish(key, bytes);
        told.send_replace(Some(answer));
    }

    /// The sender has the answer.
    pub(super) fn confirm(&self, key: Key) {
        self.once().forget(key);
    }

    /// Takes no message from here on, and waits until no handler runs.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        while self.once().running() > 0 {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until nobody is left who may ask again for an answer.
    pub(super) async fn answered(&self) {
        while self.unconfirmed() > 0 {
            sleep(LOOK_EVERY).await;
        }
    }

    fn unconfirmed(&self) -> usize {
        let mut once = self.once();
        once.expire(Instant::now());
        once.unconfirmed()
    }

    /// Messages that are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.once().len()
    }

    /// The earlier arrival of the message, if there was one; otherwise its handler is to run. All under one lock: between
    /// two of these looks the other copy might come.
    fn begin(&self, errand: &Errand, met: Met) -> Result<Option<Met>, Failure> {
        let Errand { call, address, deadline, .. } = errand;
        let (key, now) = ((call.receiver, call.id), Instant::now());
        let mut once = self.once();
        once.expire(now);
        // First of all: what has run here is answered here, wherever the receiver is now.
        if let Some(earlier) = once.find(key) {
            return Ok(Some(earlier));
        }
        if address.met.is_some_and(|boot| boot != self.boot || !once.would_know(*deadline)) {
            return Err(Failure::Forgotten);
        }
        if *deadline <= now {
            return Err(Failure::Late);
        }
        if !self.handlers.has(&call.event) {
            return Err(Failure::NoHandler);
        }
        if !self.is_here(address) {
            return Err(Failure::Moved);
        }
        if !once.begin(key, met, *deadline) {
            return Err(Failure::Overloaded);
        }
        traffic::received();
        Ok(None)
    }

    fn is_here(&self, address: &Address) -> bool {
        let here = match address.receiver {
            Receiver::Shard(shard) => self.residents.runs(shard).map(Tenure::Shard),
            Receiver::Node(node) => (node == self.me).then_some(Tenure::Node(self.boot)),
        };
        here == Some(address.tenure) && !self.closed.load(Ordering::Acquire)
    }

    fn line(&self, receiver: Receiver) -> Arc<Semaphore> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.entry(receiver);
        Arc::clone(line.or_insert_with(|| Arc::new(Semaphore::new(HANDLERS_MAX))))
    }

    fn once(&self) -> MutexGuard<'_, Once<Met>> {
        self.once.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
