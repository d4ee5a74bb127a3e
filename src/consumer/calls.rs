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

#[derive(Debug, Default)]
struct Registered {
    /// Who, and whether it may run a message twice.
    consumers: BTreeMap<ConsumerId, bool>,
}

impl Registered {
    /// All of them say so.
    fn is_idempotent(&self) -> bool {
        self.consumers.values().all(|idempotent| *idempotent)
    }
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
            known.events.entry(event.clone()).or_default().consumers.insert(id, idempotent);
            self.route(&event, &known);
        }
        Ok(())
    }

    /// Has messages of an event come here, or nowhere where nobody is left.
    fn route(self: &Arc<Self>, event: &str, known: &Known) {
        let Some(registered) = known.events.get(event) else { return self.handlers.remove(event) };
        // Weakly: the handlers outlive the node's sockets, in whoever keeps a way to send.
        let calls = Arc::downgrade(self);
        self.handlers.route(event.to_owned(), registered.is_idempotent(), move |call, data| {
            let calls = calls.upgrade();
            async move {
                let Some(calls) = calls else { return Err(Failure::NoHandler) };
                calls.run(call, data).await
            }
            .boxed()
        });
    }

    /// A consumer has no handlers for these events any more, or for none. What it was asked by then it may still answer.
    pub(super) fn unregister(
        self: &Arc<Self>,
        id: ConsumerId,
        events: Option<&BTreeSet<Box<str>>>,
    ) {
        let mut known = self.known();
        let mut changed = Vec::new();
        for (event, registered) in &mut known.events {
            let is_meant = events.is_none_or(|events| events.contains(event));
            if is_meant && registered.consumers.remove(&id).is_some() {
                changed.push(event.clone());
            }
        }
        known.events.retain(|_, registered| !registered.consumers.is_empty());
        for event in changed {
            self.route(&event, &known);
        }
    }

    /// A consumer has gone, with whatever it was asked.
    pub(super) fn leave(self: &Arc<Self>, id: ConsumerId) {
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

    /// Asks one consumer; where it goes away with the message, the next if the message may run twice.
    async fn run(self: &Arc<Self>, call: Call, data: Bytes) -> Answer {
        let data: &RawValue = serde_json::from_slice(&data)
            .map_err(|error| Failure::Undecodable(error.to_string()))?;
        let mut nobody = Failure::NoHandler;
        loop {
            let Some((id, line, idempotent)) = self.choose(&call) else { return Err(nobody) };
            let (told, answered) = oneshot::channel();
            let key = (call.id, call.receiver);
            self.known().pending.insert(key, Pending { consumer: id, told });
            let _waiting = Waiting { calls: self, key };
            match line.outbox.try_send(told::call(&call, data).into()) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => return Err(Failure::Overloaded),
                // It is on its way out.
                Err(TrySendError::Closed(_)) => {
                    self.leave(id);
                    continue;
                }
            }
            tokio::select! {
                answer = answered => match answer {
                    Ok(answer) => return answer,
                    // It went away with the message, which it may have handled.
                    Err(_) if idempotent => nobody = Failure::Forgotten,
                    Err(_) => return Err(Failure::Forgotten),
                },
                () = call.cancelled.cancelled() => {
                    let _ = line.outbox.try_send(told::call_cancelled(&call).into());
                    return Err(Failure::Late);
                }
            }
        }
    }

    /// Whoever has the receiver's events, of those that have registered and are there.
    fn choose(&self, call: &Call) -> Option<(ConsumerId, Line, bool)> {
        let (among, idempotent) = {
            let known = self.known();
            let registered = known.events.get(&*call.event)?;
            let among = registered.consumers.keys().copied().collect::<BTreeSet<_>>();
            (among, registered.is_idempotent())
        };
        let among = among.into_iter().filter(|id| self.consumers.line(*id).is_some()).collect();
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
