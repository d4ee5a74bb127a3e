//! Other shards' messages, for handlers that consumers have registered.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::future::FutureExt as _;
use serde_json::value::RawValue;
use tokio::sync::{mpsc::error::TrySendError, oneshot};

use super::{Consumers, bot::Line, pool::ConsumerId, told};
use crate::ipc::{Answer, Call, Failure, Handlers, MessageId, Receiver};

/// Events that consumers of one node have handlers for.
const EVENTS_MAX: usize = 4_096;

/// What consumers have registered, and what they are asked.
#[derive(Debug)]
pub(super) struct Calls {
    consumers: Consumers,
    handlers: Handlers,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    events: BTreeMap<Box<str>, Registered>,
    pending: BTreeMap<(MessageId, Receiver), Pending>,
}

#[derive(Debug)]
struct Registered {
    consumers: BTreeSet<ConsumerId>,
    /// All of them say so.
    idempotent: bool,
}

#[derive(Debug)]
struct Pending {
    consumer: ConsumerId,
    told: oneshot::Sender<Answer>,
}

/// No more handlers are taken.
#[derive(Debug)]
pub(super) struct TooManyHandlers;

/// Forgets a call when nobody waits for its answer any more.
struct Waiting<'a> {
    calls: &'a Calls,
    key: (MessageId, Receiver),
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.calls.known().pending.remove(&self.key);
    }
}

impl Calls {
    pub(super) fn new(consumers: Consumers, handlers: Handlers) -> Self {
        Self { consumers, handlers, known: Mutex::default() }
    }

    /// A consumer has handlers for these events from now on. Several share them: one runs for each message.
    pub(super) fn register(
        self: &Arc<Self>,
        id: ConsumerId,
        events: BTreeSet<Box<str>>,
        idempotent: bool,
    ) -> Result<(), TooManyHandlers> {
        let mut known = self.known();
        let new = events.iter().filter(|event| !known.events.contains_key(*event)).count();
        if known.events.len() + new > EVENTS_MAX {
            return Err(TooManyHandlers);
        }
        for event in events {
            let name = event.to_string();
            let registered = known
                .events
                .entry(event)
                .or_insert_with(|| Registered { consumers: BTreeSet::new(), idempotent });
            registered.consumers.insert(id);
            registered.idempotent &= idempotent;
            // Weakly: the handlers outlive the node's sockets, in whoever keeps a way to send.
            let calls = Arc::downgrade(self);
            self.handlers.route(name, registered.idempotent, move |call, data| {
                let calls = calls.upgrade();
                async move {
                    let Some(calls) = calls else { return Err(Failure::NoHandler) };
                    calls.run(call, data).await
                }
                .boxed()
            });
        }
        Ok(())
    }

    /// A consumer has no handlers for these events any more, or for none. What it was asked by then it may still answer.
    pub(super) fn unregister(&self, id: ConsumerId, events: Option<&BTreeSet<Box<str>>>) {
        let mut known = self.known();
        known.events.retain(|event, registered| {
            if events.is_none_or(|events| events.contains(event)) {
                registered.consumers.remove(&id);
            }
            let stays = !registered.consumers.is_empty();
            if !stays {
                self.handlers.remove(event);
            }
            stays
        });
    }

    /// A consumer has gone, with whatever it was asked.
    pub(super) fn leave(&self, id: ConsumerId) {
        self.unregister(id, None);
        self.known().pending.retain(|_, pending| pending.consumer != id);
    }

    /// A consumer answers. Whether it was asked.
    pub(super) fn answer(
        &self,
        id: ConsumerId,
        key: (MessageId, Receiver),
        answer: Answer,
    ) -> bool {
        let mut known = self.known();
        if known.pending.get(&key).is_none_or(|pending| pending.consumer != id) {
            return false;
        }
        known.pending.remove(&key).is_some_and(|pending| pending.told.send(answer).is_ok())
    }

    async fn run(&self, call: Call, data: Bytes) -> Answer {
        let data: &RawValue = serde_json::from_slice(&data)
            .map_err(|error| Failure::Undecodable(error.to_string()))?;
        loop {
            let (id, line, idempotent) = self.choose(&call).ok_or(Failure::NoHandler)?;
            let (told, answered) = oneshot::channel();
            let key = (call.id, call.receiver);
            self.known().pending.insert(key, Pending { consumer: id, told });
            let _waiting = Waiting { calls: self, key };
            match line.outbox.try_send(told::call(&call, data)) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => return Err(Failure::Overloaded),
                // It is on its way out: the next look does not find it.
                Err(TrySendError::Closed(_)) => {
                    self.leave(id);
                    continue;
                }
            }
            tokio::select! {
                answer = answered => match answer {
                    Ok(answer) => return answer,
                    Err(_) if idempotent => {}
                    // It went away with the message, which it may have handled.
                    Err(_) => return Err(Failure::Forgotten),
                },
                () = call.cancelled.cancelled() => {
                    let _ = line.outbox.try_send(told::call_cancelled(&call));
                    return Err(Failure::Late);
                }
            }
        }
    }

    fn choose(&self, call: &Call) -> Option<(ConsumerId, Line, bool)> {
        let (among, idempotent) = {
            let known = self.known();
            let registered = known.events.get(&*call.event)?;
            (registered.consumers.clone(), registered.idempotent)
        };
        let id = match call.receiver {
            Receiver::Shard(shard) => self.consumers.pool().holder(shard, &among),
            Receiver::Node(_) => among.first().copied(),
        }?;
        Some((id, self.consumers.line(id)?, idempotent))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
