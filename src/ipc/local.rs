//! Runs messages for the receivers on this node.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::{
    handlers::{Call, Handlers},
    message::Receiver,
    once::{Begun, Key, Once},
    route::Tenure,
    wire::Failure,
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

pub(super) type Answer = Result<Bytes, Failure>;
type Answered = watch::Receiver<Option<Answer>>;

/// The receiving side of a node.
pub(super) struct Local {
    pub(super) me: NodeId,
    boot: BootEpoch,
    pub(super) handlers: Handlers,
    pub(super) residents: Arc<dyn Residents>,
    once: Mutex<Once<Answered>>,
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

/// A message for one receiver, in the tenure in which its sender looks for it.
pub(super) struct Errand {
    pub(super) call: Call,
    pub(super) tenure: Tenure,
    pub(super) data: Held,
    pub(super) deadline: Instant,
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

    /// Runs the message's handler, unless it runs or has run, and waits for its answer.
    pub(super) async fn run(self: &Arc<Self>, errand: Errand) -> Answer {
        let Errand { call, tenure, deadline, .. } = &errand;
        if !self.handlers.has(&call.event) {
            return Err(Failure::NoHandler);
        }
        let (key, deadline) = ((call.receiver, call.id), *deadline);
        let (told, answered) = watch::channel(None);
        // Before the look at where the receiver is: what has run here is answered here, wherever that is now.
        let begun = self.once().begin(key, answered.clone());
        let mut answered = match begun {
            Begun::Again(answered) => answered,
            Begun::Full => return Err(Failure::Overloaded),
            Begun::First if !self.is_here(call.receiver, *tenure) => {
                self.once().withdraw(key);
                return Err(Failure::Moved);
            }
            Begun::First => {
                tokio::spawn(Arc::clone(self).carry_out(errand, told));
                answered
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
        let Errand { call, tenure, data, deadline } = errand;
        let key = (call.receiver, call.id);
        let line = self.line(call.receiver);
        let place = timeout_at(deadline, line.acquire_owned()).await;
        // In line the receiver may have moved on, and whoever asked may have given up.
        if place.is_err() || call.cancelled.is_cancelled() || !self.is_here(call.receiver, tenure) {
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

    /// Messages that are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.once().len()
    }

    fn is_here(&self, receiver: Receiver, tenure: Tenure) -> bool {
        let here = match receiver {
            Receiver::Shard(shard) => self.residents.runs(shard).map(Tenure::Shard),
            Receiver::Node(node) => (node == self.me).then_some(Tenure::Node(self.boot)),
        };
        here == Some(tenure) && !self.closed.load(Ordering::Acquire)
    }

    fn line(&self, receiver: Receiver) -> Arc<Semaphore> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.entry(receiver);
        Arc::clone(line.or_insert_with(|| Arc::new(Semaphore::new(HANDLERS_MAX))))
    }

    fn once(&self) -> MutexGuard<'_, Once<Answered>> {
        self.once.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
