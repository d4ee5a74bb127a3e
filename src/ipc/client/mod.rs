//! Sends messages and gathers their answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;
use uuid::Uuid;

use super::{
    error::IpcError,
    handlers::{Call, Handlers},
    local::{Local, Residents},
    message::{DATA_MAX, MessageId, MessageKind, Receiver, Sender},
    route::{Everyone, Target, place},
    server, traffic,
    wire::EVENT_MAX,
};
use crate::model::{BootEpoch, NodeId, ShardId, UnixMillis};
use crate::state::State;
use crate::transport::Transport;

mod delivery;
mod lines;

use delivery::{Delivery, Letterhead};
use lines::Lines;

/// How long an answer is waited for, unless the sender says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest that an answer can be waited for: so long must the receiver remember the message.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(300);

/// Requests of this node that are under way at once. More are refused: who sends faster than is answered must notice.
const REQUESTS_MAX: usize = 16_384;

/// Receivers of this node's messages for many that are under way at once: some hundred bytes each.
const RECEIVERS_MAX: usize = 1_048_576;

/// A message for few counts as one for so many, so that there are at most 1,024 of them.
const RECEIVERS_MIN: usize = 1_024;

/// What an [`Ipc`] is made of.
pub struct Options {
    /// This node.
    pub me: NodeId,
    /// Which start of it this is.
    pub boot: BootEpoch,
    /// What runs for messages.
    pub handlers: Handlers,
    /// What is to be known of this node.
    pub residents: Arc<dyn Residents>,
    /// Who owns what.
    pub states: watch::Receiver<Arc<State>>,
    /// The way to the others. A node alone needs none.
    pub transport: Option<Transport>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("me", &self.me).finish_non_exhaustive()
    }
}

/// How a request is made.
#[derive(Clone, Copy, Debug)]
pub struct RequestOptions {
    /// How long the answer is waited for: at most [`TIMEOUT_MAX`].
    pub timeout: Duration,
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self { timeout: TIMEOUT }
    }
}

/// The answers to a request to many.
#[derive(Clone, Debug)]
pub struct Answers<A> {
    /// What each receiver answered.
    pub answers: BTreeMap<Receiver, A>,
    /// Who did not, and why.
    pub failed: BTreeMap<Receiver, IpcError>,
}

/// Requests and broadcasts between shards, and the handlers for them. Cheap to clone.
///
/// ```no_run
/// # async fn run(ipc: apolo::ipc::Ipc) -> Result<(), apolo::ipc::IpcError> {
/// use apolo::{GuildId, ipc::Target};
///
/// ipc.register_handler("double", |_call, n: u64| async move { Ok(2 * n) });
/// let target = Target::Guild(GuildId(197_038_439_483_310_086));
/// let doubled: u64 = ipc.request(target, "double", &21).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Ipc {
    shared: Arc<Shared>,
    shard: Option<ShardId>,
}

struct Shared {
    local: Arc<Local>,
    states: watch::Receiver<Arc<State>>,
    /// Until the node stops: whoever keeps an [`Ipc`] does not keep the port.
    transport: Mutex<Option<Transport>>,
    requests: Arc<Semaphore>,
    broadcasts: Arc<Semaphore>,
    lines: Arc<Lines>,
    closed: CancellationToken,
}

impl fmt::Debug for Ipc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ipc")
            .field("shard", &self.shard)
            .field("handlers", &self.shared.local.handlers)
            .finish_non_exhaustive()
    }
}

impl Ipc {
    /// The way to the other shards; with a transport it serves the other nodes too.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let Options { me, boot, handlers, residents, states, transport } = options;
        let local = Arc::new(Local::new((me, boot), handlers, residents));
        if let Some(transport) = &transport {
            server::serve(transport, &local);
        }
        let shared = Shared {
            local,
            states,
            transport: Mutex::new(transport),
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            broadcasts: Arc::new(Semaphore::new(RECEIVERS_MAX)),
            lines: Arc::default(),
            closed: CancellationToken::new(),
        };
        Self { shared: Arc::new(shared), shard: None }
    }

    /// The same, speaking for a shard.
    #[must_use]
    pub fn of_shard(&self, shard: ShardId) -> Self {
        Self { shared: Arc::clone(&self.shared), shard: Some(shard) }
    }

    /// Runs `handler` for messages of this event, for every shard that runs on this node. Every node of a bot registers
    /// the same. A message whose owner was lost on the way is not sent to the next one: see
    /// [`register_idempotent_handler`](Self::register_idempotent_handler).
    pub fn register_handler<Q, A, F, Fut>(&self, event: impl Into<String>, handler: F)
    where
        Q: DeserializeOwned + Send + 'static,
        A: Serialize + Send + 'static,
        F: Fn(Call, Q) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        self.shared.local.handlers.register(event, false, handler);
    }

    /// As [`register_handler`](Self::register_handler), for a handler that may run twice for one message. A
    /// message whose receiver's owner was lost, or gave the receiver away and is out of reach, is then sent to the next
    /// owner.
    pub fn register_idempotent_handler<Q, A, F, Fut>(&self, event: impl Into<String>, handler: F)
    where
        Q: DeserializeOwned + Send + 'static,
        A: Serialize + Send + 'static,
        F: Fn(Call, Q) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        self.shared.local.handlers.register(event, true, handler);
    }

    /// Asks one receiver, and waits for its answer for [`TIMEOUT`].
    ///
    /// # Errors
    ///
    /// [`IpcError`].
    pub async fn request<A: DeserializeOwned>(
        &self,
        target: Target,
        event: &str,
        data: &impl Serialize,
    ) -> Result<A, IpcError> {
        self.request_with(RequestOptions::default(), target, event, data).await
    }

    /// Asks one receiver. Dropping the future takes the request back as far as it can: its handler is told.
    ///
    /// # Errors
    ///
    /// [`IpcError`].
    pub async fn request_with<A: DeserializeOwned>(
        &self,
        options: RequestOptions,
        target: Target,
        event: &str,
        data: &impl Serialize,
    ) -> Result<A, IpcError> {
        let began = Instant::now();
        let answer = self.ask(options, target, event, data).await;
        traffic::answered(began.elapsed(), &answer);
        answer
    }

    async fn ask<A: DeserializeOwned>(
        &self,
        options: RequestOptions,
        target: Target,
        event: &str,
        data: &impl Serialize,
    ) -> Result<A, IpcError> {
        let receiver = {
            let state = self.shared.states.borrow();
            let receiver = target.receiver(&state)?;
            place(&state, receiver)?;
            receiver
        };
        let mut delivery = self.delivery(MessageKind::Request, options, event, data)?;
        let _room = room(&self.shared.requests, 1)?;
        delivery.stand_in_line(receiver).await?;
        let mut answers = delivery.run([receiver].into()).await;
        let answer =
            answers.remove(&receiver).unwrap_or(Err(IpcError::TimedOut { may_have_run: true }))?;
        read(&answer)
    }

    /// Asks every shard, and waits for all answers for [`TIMEOUT`].
    ///
    /// # Errors
    ///
    /// [`IpcError`] where nobody was asked. Who did not answer is named in [`Answers::failed`].
    pub async fn broadcast_request<A: DeserializeOwned>(
        &self,
        event: &str,
        data: &impl Serialize,
    ) -> Result<Answers<A>, IpcError> {
        self.broadcast_request_to(Everyone::Shards, RequestOptions::default(), event, data).await
    }

    /// Asks everyone.
    ///
    /// # Errors
    ///
    /// As [`broadcast_request`](Self::broadcast_request).
    pub async fn broadcast_request_to<A: DeserializeOwned>(
        &self,
        everyone: Everyone,
        options: RequestOptions,
        event: &str,
        data: &impl Serialize,
    ) -> Result<Answers<A>, IpcError> {
        let receivers = everyone.receivers(&self.shared.states.borrow())?;
        let delivery = self.delivery(MessageKind::Request, options, event, data)?;
        let _room =
            room(&self.shared.broadcasts, receivers.len().clamp(RECEIVERS_MIN, RECEIVERS_MAX))?;
        traffic::broadcast(receivers.len());
        let mut all = Answers { answers: BTreeMap::new(), failed: BTreeMap::new() };
        for (receiver, answer) in delivery.run(receivers).await {
            match answer.and_then(|bytes| read(&bytes)) {
                Ok(answer) => drop(all.answers.insert(receiver, answer)),
                Err(error) => drop(all.failed.insert(receiver, error)),
            }
        }
        Ok(all)
    }

    /// Tells every shard, and returns at once. Until [`TIMEOUT`] it is brought to shards that are on their way from one
    /// node to another.
    ///
    /// # Errors
    ///
    /// [`IpcError::TooLarge`], and [`IpcError::Overloaded`] where a thousand of this node's have not reached everyone yet
    /// (fewer from 1,024 shards on): wait a moment, and try again.
    pub fn broadcast(&self, event: &str, data: &impl Serialize) -> Result<(), IpcError> {
        self.broadcast_to(Everyone::Shards, event, data)
    }

    /// Tells everyone.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_to(
        &self,
        everyone: Everyone,
        event: &str,
        data: &impl Serialize,
    ) -> Result<(), IpcError> {
        let receivers = everyone.receivers(&self.shared.states.borrow())?;
        let delivery =
            self.delivery(MessageKind::Broadcast, RequestOptions::default(), event, data)?;
        let room =
            room(&self.shared.broadcasts, receivers.len().clamp(RECEIVERS_MIN, RECEIVERS_MAX))?;
        traffic::broadcast(receivers.len());
        let event = event.to_owned();
        tokio::spawn(async move {
            let _room = room;
            for (receiver, told) in delivery.run(receivers).await {
                if let Err(error) = told {
                    debug!(%receiver, event, %error, "a broadcast did not reach everyone");
                }
            }
        });
        Ok(())
    }

    /// Gives up what is under way, takes no more messages, and waits until no handler runs for anybody's.
    pub async fn close(&self) {
        self.shared.closed.cancel();
        // First: a handler that does not end must not keep the port.
        *self.transport() = None;
        self.shared.local.close().await;
    }

    /// Waits until nobody is left who may ask again for an answer that has been given here.
    pub async fn answered(&self) {
        self.shared.local.answered().await;
    }

    /// Whether it would keep the port.
    #[cfg(test)]
    pub(super) fn holds_transport(&self) -> bool {
        self.transport().is_some()
    }

    /// What runs for messages here.
    #[cfg(test)]
    pub(super) fn handlers(&self) -> &Handlers {
        &self.shared.local.handlers
    }

    /// Messages that the receiving side remembers.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.shared.local.remembered()
    }

    fn delivery(
        &self,
        kind: MessageKind,
        options: RequestOptions,
        event: &str,
        data: &impl Serialize,
    ) -> Result<Delivery, IpcError> {
        let data = serde_json::to_vec(data);
        let data = data.map_err(|error| IpcError::Undecodable(error.to_string()))?;
        if data.len() > DATA_MAX {
            return Err(IpcError::TooLarge { bytes: data.len() });
        }
        if event.len() > EVENT_MAX {
            return Err(IpcError::NoHandler { event: event.chars().take(EVENT_MAX).collect() });
        }
        let Shared { local, states, lines, closed, .. } = &*self.shared;
        let transport = self.transport().clone();
        let head = Letterhead {
            id: MessageId(Uuid::new_v4()),
            kind,
            event: event.into(),
            sender: Sender { node: local.me, shard: self.shard },
            sent_at: UnixMillis::now(),
            deadline: Instant::now() + options.timeout.min(TIMEOUT_MAX),
            data: Bytes::from(data),
        };
        let bounds = (Arc::clone(lines), closed.clone());
        Ok(Delivery::new(head, Arc::clone(local), states.clone(), transport, bounds))
    }

    fn transport(&self) -> MutexGuard<'_, Option<Transport>> {
        self.shared.transport.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn room(under_way: &Arc<Semaphore>, count: usize) -> Result<OwnedSemaphorePermit, IpcError> {
    let count = u32::try_from(count).map_err(|_| IpcError::Overloaded)?;
    Arc::clone(under_way).try_acquire_many_owned(count).map_err(|_| IpcError::Overloaded)
}

fn read<A: DeserializeOwned>(bytes: &[u8]) -> Result<A, IpcError> {
    serde_json::from_slice(bytes).map_err(|error| IpcError::Undecodable(error.to_string()))
}

/// Receivers of one message.
type Receivers = BTreeSet<Receiver>;
