//! What runs for a message: the bot's functions, by event.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{
    message::{DATA_MAX, MessageId, MessageKind, Receiver, Sender},
    wire::Failure,
};
use crate::model::UnixMillis;

/// What is said of an error, in bytes: enough for a person to read, and it must fit into a frame.
const SAID_MAX: usize = 4_096;

/// A message that a handler runs for, without its data.
#[derive(Clone, Debug)]
pub struct Call {
    /// The message's id: the same however often it was sent.
    pub id: MessageId,
    /// Whether an answer is waited for.
    pub kind: MessageKind,
    /// The event.
    pub event: Arc<str>,
    /// Who sent it. The node is proven by its certificate.
    pub sender: Sender,
    /// Whom the handler runs for: of a broadcast it runs for each shard here.
    pub receiver: Receiver,
    /// When it was sent, by the sender's clock.
    pub sent_at: UnixMillis,
    /// Is cancelled when nobody waits for the answer any more. The handler is not interrupted.
    pub cancelled: CancellationToken,
}

/// What a handler has to say.
pub(crate) type Answer = Result<Bytes, Failure>;
type Run = dyn Fn(Call, Bytes) -> BoxFuture<'static, Answer> + Send + Sync;

/// The handlers of a node, by event. Clones share them.
#[derive(Clone, Default)]
pub struct Handlers(Arc<RwLock<BTreeMap<String, Registered>>>);

#[derive(Clone)]
struct Registered {
    run: Arc<Run>,
    idempotent: bool,
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handlers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(handlers.keys()).finish()
    }
}

impl Handlers {
    /// Runs `handler` for messages of this event from now on, in place of the one before. `idempotent` says that it may
    /// run twice for a message: then a request whose receiver's owner was lost is sent to the next owner.
    pub fn register<Q, A, F, Fut>(&self, event: impl Into<String>, idempotent: bool, handler: F)
    where
        Q: DeserializeOwned + Send + 'static,
        A: Serialize + Send + 'static,
        F: Fn(Call, Q) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let run = move |call: Call, data: Bytes| {
            let handler = Arc::clone(&handler);
            async move {
                let data = serde_json::from_slice(&data);
                let data = data.map_err(|error| Failure::Undecodable(clipped(error)))?;
                let answer = handler(call, data).await;
                let answer = answer.map_err(|error| Failure::Failed(clipped(error)))?;
                let bytes = serde_json::to_vec(&answer);
                bytes.map(Bytes::from).map_err(|error| Failure::Undecodable(clipped(error)))
            }
            .boxed()
        };
        self.route(event.into(), idempotent, run);
    }

    /// Runs `run` for messages of this event, which takes and answers JSON as it is.
    pub(crate) fn route<F>(&self, event: String, idempotent: bool, run: F)
    where
        F: Fn(Call, Bytes) -> BoxFuture<'static, Answer> + Send + Sync + 'static,
    {
        let registered = Registered { run: Arc::new(run), idempotent };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(event, registered);
    }

    /// Runs nothing any more for messages of this event.
    pub(crate) fn remove(&self, event: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(event);
    }

    fn of(&self, event: &str) -> Option<Registered> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(event).cloned()
    }

    pub(super) fn has(&self, event: &str) -> bool {
        self.of(event).is_some()
    }

    pub(super) fn is_idempotent(&self, event: &str) -> bool {
        self.of(event).is_some_and(|registered| registered.idempotent)
    }

    /// Runs the handler. What it does wrong is an answer.
    pub(super) async fn run(&self, call: Call, data: Bytes) -> Answer {
        let Some(registered) = self.of(&call.event) else { return Err(Failure::NoHandler) };
        let (event, receiver) = (Arc::clone(&call.event), call.receiver);
        let ran = AssertUnwindSafe(async move { (registered.run)(call, data).await });
        let answer = ran.catch_unwind().await.unwrap_or_else(|_| {
            error!(%event, %receiver, "a handler of a message panicked");
            Err(Failure::Panicked)
        })?;
        let fits = answer.len() <= DATA_MAX;
        if fits { Ok(answer) } else { Err(Failure::TooLarge(answer.len() as u64)) }
    }
}

fn clipped(error: impl fmt::Display) -> String {
    let mut said = error.to_string();
    said.truncate(said.floor_char_boundary(SAID_MAX));
    said
}
