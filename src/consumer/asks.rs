//! What a consumer asks for, done.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::FutureExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    connection::Connection,
    group::Group,
    members::Wanted,
    pool::NotJoined,
    said::{Ask, Message, MessageTarget, Said},
    server::Hub,
    told::{self, Problem},
    traffic,
};
use crate::http::{KvAsk, KvProblem, KvRequest};
use crate::ipc::{
    Answers, Everyone, Failure, Ipc, IpcError, Receiver, RequestOptions, TIMEOUT, Target,
};
use crate::model::{NodeId, ShardId};
use crate::state::Presence;

/// Opcodes by which a connection begins, lives and resumes: apolo sends them itself (Gateway opcodes).
const RESERVED_OPCODES: [u64; 3] = [1, 2, 6];

impl Connection<'_> {
    /// Does what a consumer asks for. What takes time goes on beside the next frame.
    pub(super) async fn carry_out(&mut self, said: Said<'_>) {
        let Said { id, ask } = said;
        let ask = match ask {
            Ok(ask) => ask,
            Err(why) => return self.reply(id, Err::<(), _>(Problem::new("malformed", why))).await,
        };
        let done = match ask {
            Ask::Acknowledge { deliveries, error } => {
                self.acknowledge(&deliveries, error.as_deref());
                Ok(Value::Null)
            }
            Ask::Answer { id: message, receiver, answer } => {
                let answer = answer.map(|data| Bytes::copy_from_slice(data.get().as_bytes()));
                let answer = answer.map_err(Failure::Failed);
                let known = self.receiver(&receiver).is_some_and(|receiver| {
                    self.calls.answer(self.id, (message, receiver), answer)
                });
                if !known {
                    traffic::unexpected("answer");
                }
                // Its id is the message's; nobody waits for an answer to an answer.
                return;
            }
            Ask::Subscribe { group, wanted, window, notices } => {
                self.subscribe(group, wanted, window, notices)
            }
            Ask::Unsubscribe => {
                self.hub.consumers.pool().drain(self.id);
                self.tell_notices(false);
                Ok(Value::Null)
            }
            Ask::Register { events, idempotent } => {
                let registered = self.calls.register(self.id, events, idempotent);
                registered.map(|()| Value::Null).map_err(|_| {
                    Problem::new("overloaded", "4,096 events have handlers on this node already")
                })
            }
            Ask::Unregister { events } => {
                self.calls.unregister(self.id, Some(&events));
                Ok(Value::Null)
            }
            Ask::Broadcast { message } => self.broadcast(&message),
            Ask::Command { shard, command } => self.command(shard, command),
            Ask::Health => Ok(json!(self.hub.source.view().health)),
            Ask::Request { message, timeout } => return self.request(id, &message, timeout).await,
            Ask::Kv { namespace, ask, bytes } => {
                return self.kv(id, (namespace, ask), bytes).await;
            }
        };
        self.reply(id, done).await;
    }

    /// Answers where an answer is wanted; what went wrong is said in any case.
    async fn reply(&self, id: Option<&RawValue>, done: Result<impl Serialize, Problem>) {
        let frame = match (id, &done) {
            (Some(id), Ok(data)) => told::answer(id, data),
            (None, Ok(_)) => return,
            (id, Err(problem)) => told::refusal(id, problem),
        };
        let _ = self.outbox.send(frame.into()).await;
    }

    fn acknowledge(&self, deliveries: &[u64], error: Option<&str>) {
        let mut pool = self.hub.consumers.pool();
        for delivery in deliveries {
            if !pool.acknowledge(self.id, *delivery, error) {
                traffic::unexpected("ack");
            }
        }
    }

    fn subscribe(
        &self,
        group: Group,
        wanted: Wanted,
        window: usize,
        notices: bool,
    ) -> Result<Value, Problem> {
        let name = group.to_string();
        let joined = {
            let mut pool = self.hub.consumers.pool();
            pool.join(self.id, (group, wanted, window), Arc::clone(&self.wake))
        };
        let moved = joined.map_err(|why| match why {
            NotJoined::TooMany => {
                Problem::new("overloaded", "16 groups have consumers on this node already")
            }
            NotJoined::OtherEvents => Problem::new(
                "conflict",
                format!(
                    "the consumers of group {name} have subscribed to other events: use the same, or another group, or try \
                     again when they have gone"
                ),
            ),
        })?;
        for (before, shards) in &moved.from {
            if let Some(line) = self.hub.consumers.line(*before) {
                let _ = line.outbox.try_send(told::shards_gone(shards).into());
            }
        }
        self.tell_notices(notices);
        Ok(json!({ "group": name, "shards": moved.shards }))
    }

    fn tell_notices(&self, wanted: bool) {
        if let Some(line) = self.hub.consumers.lines().get_mut(&self.id) {
            line.wants_notices = wanted;
        }
    }

    fn broadcast(&self, message: &Message<'_>) -> Result<Value, Problem> {
        let ipc = self.ipc(message.sender)?;
        let Whom::Many(everyone) = self.whom(&message.receiver)? else {
            let why = "a broadcast is for \"all\" or \"nodes\"; to one receiver send a request";
            return Err(Problem::new("malformed", why));
        };
        ipc.broadcast_to(everyone, &message.event, &message.data)?;
        Ok(Value::Null)
    }

    fn command(&self, shard: ShardId, command: &RawValue) -> Result<Value, Problem> {
        #[derive(Deserialize)]
        struct Command {
            op: u64,
        }
        let Ok(Command { op }) = serde_json::from_str(command.get()) else {
            return Err(Problem::new("malformed", "a command is {\"op\":…,\"d\":{…}}"));
        };
        if RESERVED_OPCODES.contains(&op) {
            return Err(Problem::new("refused", format!("apolo itself sends opcode {op}")));
        }
        let Some(commands) = self.hub.board.commands(shard) else {
            return Err(not_here(shard));
        };
        let sent = commands.try_send(command.get().to_owned());
        sent.map(|()| Value::Null).map_err(|error| Problem::new("refused", error.to_string()))
    }

    async fn request(
        &mut self,
        id: Option<&RawValue>,
        message: &Message<'_>,
        timeout: Option<Duration>,
    ) {
        let Some(id) = id else {
            let why = "a request needs an `id`, under which it is answered";
            return self.reply(None, Err::<(), _>(Problem::new("malformed", why))).await;
        };
        let may = self.whom(&message.receiver).and_then(|whom| {
            let ipc = self.ipc(message.sender)?;
            Ok((whom, ipc, self.room(message.data.get().len())?))
        });
        let (whom, ipc, place) = match may {
            Ok(may) => may,
            Err(problem) => return self.reply(Some(id), Err::<(), _>(problem)).await,
        };
        let options = RequestOptions { timeout: timeout.unwrap_or(TIMEOUT) };
        let (id, event, data) = (id.to_owned(), message.event.clone(), message.data.to_owned());
        let (outbox, consumers) = (self.outbox.clone(), self.hub.consumers.clone());
        self.begin(async move {
            let _place = place;
            let text = match whom {
                Whom::One(target) => {
                    let answer = ipc.request_with::<Box<RawValue>>(options, target, &event, &data);
                    framed(&id, answer.await)
                }
                Whom::Many(everyone) => {
                    let answers = ipc.broadcast_request_to(everyone, options, &event, &data).await;
                    framed(&id, answers.map(gathered))
                }
            };
            let _ = outbox.send(consumers.answer(text, || unread(Some(&id)))).await;
        });
    }

    async fn kv(&mut self, id: Option<&RawValue>, (namespace, ask): (String, KvAsk), bytes: usize) {
        let place = match self.room(bytes) {
            Ok(place) => place,
            Err(problem) => return self.reply(id, Err::<(), _>(problem)).await,
        };
        let (outbox, consumers) = (self.outbox.clone(), self.hub.consumers.clone());
        let (id, source) = (id.map(RawValue::to_owned), Arc::clone(&self.hub.source));
        self.begin(async move {
            let _place = place;
            let done = source.kv(KvRequest { namespace, ask }).await.map_err(Problem::from);
            let text = match (&id, done) {
                (Some(id), Ok(data)) => told::answer(id, data),
                (None, Ok(_)) => return,
                (id, Err(problem)) => told::refusal(id.as_deref(), &problem),
            };
            let _ = outbox.send(consumers.answer(text, || unread(id.as_deref()))).await;
        });
    }

    /// Begins what takes time, here where it can.
    fn begin(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        let mut work = work.boxed();
        // Without a waker: its task polls it again at once.
        if (&mut work).now_or_never().is_none() {
            self.asked.spawn(work);
        }
    }

    /// A place for something that takes time.
    fn room(&self, bytes: usize) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), Problem> {
        let place = Arc::clone(&self.asks).try_acquire_owned().ok();
        let room = place.zip(self.hub.consumers.room(bytes));
        room.ok_or_else(|| Problem::from(IpcError::Overloaded))
    }

    /// The way to others, in the name of a shard that runs here or of the node.
    fn ipc(&self, sender: Option<ShardId>) -> Result<Ipc, Problem> {
        let Hub { ipc, board, .. } = self.hub;
        match sender {
            None => Ok(ipc.clone()),
            Some(shard) if board.epoch(shard).is_some() => Ok(ipc.of_shard(shard)),
            Some(shard) => Err(not_here(shard)),
        }
    }

    fn whom(&self, receiver: &MessageTarget) -> Result<Whom, Problem> {
        Ok(match receiver {
            MessageTarget::Shard(shard) => Whom::One(Target::Shard(*shard)),
            MessageTarget::Guild(guild) => Whom::One(Target::Guild(*guild)),
            MessageTarget::Node(node) => Whom::One(Target::Node(self.node(node)?)),
            MessageTarget::All => Whom::Many(Everyone::Shards),
            MessageTarget::Nodes => Whom::Many(Everyone::Nodes),
        })
    }

    fn node(&self, called: &str) -> Result<NodeId, Problem> {
        let state = self.hub.states.borrow();
        let found = state.node_called(called, Presence::Present).map(|(id, _)| id);
        found.ok_or_else(|| Problem::new("unknownNode", format!("there is no node {called:?}")))
    }

    /// Who a handler ran for.
    fn receiver(&self, target: &MessageTarget) -> Option<Receiver> {
        match target {
            MessageTarget::Shard(shard) => Some(Receiver::Shard(*shard)),
            MessageTarget::Node(node) => self.node(node).ok().map(Receiver::Node),
            MessageTarget::Guild(_) | MessageTarget::All | MessageTarget::Nodes => None,
        }
    }
}

/// Whom a request is for.
enum Whom {
    One(Target),
    Many(Everyone),
}

fn not_here(shard: ShardId) -> Problem {
    Problem::new("notHere", format!("shard {shard} does not run on this node"))
}

/// For an answer that there is no room for.
fn unread(id: Option<&RawValue>) -> String {
    let why =
        "it may be done, but answers that were not read take up all the room: read them first";
    told::refusal(id, &Problem { may_have_run: true, ..Problem::new("overloaded", why) })
}

fn framed(id: &RawValue, answered: Result<impl Serialize, IpcError>) -> String {
    match answered {
        Ok(data) => told::answer(id, data),
        Err(error) => told::refusal(Some(id), &Problem::from(error)),
    }
}

/// Answers and failures by receiver: a shard's number, or a node's id.
fn gathered(all: Answers<Box<RawValue>>) -> impl Serialize {
    #[derive(Serialize)]
    struct Gathered {
        answers: BTreeMap<String, Box<RawValue>>,
        failed: BTreeMap<String, Problem>,
    }
    let key = |receiver: Receiver| match receiver {
        Receiver::Shard(shard) => shard.to_string(),
        Receiver::Node(node) => node.to_string(),
    };
    Gathered {
        answers: all.answers.into_iter().map(|(whose, answer)| (key(whose), answer)).collect(),
        failed: all.failed.into_iter().map(|(whose, why)| (key(whose), why.into())).collect(),
    }
}

impl From<KvProblem> for Problem {
    fn from(problem: KvProblem) -> Self {
        match problem {
            KvProblem::Malformed(why) => Self::new("malformed", why),
            KvProblem::Conflict(why) => Self::new("conflict", why),
            KvProblem::Unavailable(why) => Self::new("unavailable", why),
            KvProblem::InDoubt(why) => Self::new("inDoubt", why),
        }
    }
}
