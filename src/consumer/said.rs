//! What a consumer says: one frame, read and checked.

use std::{borrow::Cow, collections::BTreeSet, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Value, value::RawValue};

use super::{
    group::{GROUP_DEFAULT, Group},
    members::Wanted,
    pool::{WINDOW_DEFAULT, WINDOW_MAX},
};
use crate::http::KvAsk;
use crate::ipc::{DATA_MAX, MessageId};
use crate::model::{GuildId, ShardId};

/// The longest frame: a message's data, and what goes with it.
pub(super) const FRAME_BYTES_MAX: usize = DATA_MAX + 16 * 1024;

/// The longest id that a consumer may give what it asks for: it is sent back.
const ID_BYTES_MAX: usize = 256;

/// Names in one list: more types than Discord has.
const NAMES_MAX: usize = 512;

/// The longest of them.
const NAME_BYTES_MAX: usize = 256;

/// What is kept of an error: enough for a person to read.
const ERROR_BYTES_MAX: usize = 4_096;

/// A frame as it comes: what it means depends on its type.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Frame<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    event: Option<String>,
    #[serde(borrow)]
    events: Option<&'a RawValue>,
    #[serde(borrow)]
    sender: Option<&'a RawValue>,
    #[serde(borrow)]
    receiver: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    /// Of a message that is sent back with its answer.
    #[serde(rename = "timestamp")]
    _timestamp: Option<u64>,
    timeout: Option<u64>,
    error: Option<Value>,
    group: Option<String>,
    notices: Option<bool>,
    window: Option<usize>,
    delivery: Option<u64>,
    deliveries: Option<Vec<u64>>,
    idempotent: Option<bool>,
    shard: Option<ShardId>,
    #[serde(borrow)]
    command: Option<&'a RawValue>,
    namespace: Option<String>,
    #[serde(borrow)]
    ask: Option<&'a RawValue>,
}

/// Whom a message is from or for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum MessageTarget {
    Shard(ShardId),
    /// By name or id.
    Node(String),
    Guild(GuildId),
    /// Every shard.
    All,
    /// Every node.
    Nodes,
}

/// What a consumer wants, and the id under which it wants to hear of it.
#[derive(Debug)]
pub(super) struct Said<'a> {
    pub(super) id: Option<&'a RawValue>,
    /// Or what is wrong with it.
    pub(super) ask: Result<Ask<'a>, String>,
}

/// What a consumer wants.
#[derive(Debug)]
pub(super) enum Ask<'a> {
    Subscribe {
        group: Group,
        wanted: Wanted,
        window: usize,
        notices: bool,
    },
    Unsubscribe,
    Acknowledge {
        deliveries: Vec<u64>,
        error: Option<String>,
    },
    Register {
        events: BTreeSet<Box<str>>,
        idempotent: bool,
    },
    Unregister {
        events: BTreeSet<Box<str>>,
    },
    Request {
        message: Message<'a>,
        timeout: Option<Duration>,
    },
    Broadcast {
        message: Message<'a>,
    },
    /// The answer to a message that a handler of the consumer's has run for.
    Answer {
        id: MessageId,
        receiver: MessageTarget,
        answer: Result<&'a RawValue, String>,
    },
    Command {
        shard: ShardId,
        command: &'a RawValue,
    },
    /// And how many bytes it has.
    Kv {
        namespace: String,
        ask: KvAsk,
        bytes: usize,
    },
    Health,
}

/// A message to others.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) event: String,
    pub(super) sender: Option<ShardId>,
    pub(super) receiver: MessageTarget,
    pub(super) data: &'a RawValue,
}

/// Why a frame is none, which ends the connection, or why what it asks for means nothing.
pub(super) type Malformed = String;

impl<'a> Said<'a> {
    /// What a frame says.
    pub(super) fn read(text: &'a str) -> Result<Self, Malformed> {
        let frame: Frame<'a> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let id = frame.id;
        if id.is_some_and(|id| id.get().len() > ID_BYTES_MAX) {
            return Err(format!("an id has at most {ID_BYTES_MAX} bytes"));
        }
        Ok(Self { id, ask: frame.ask() })
    }
}

impl<'a> Frame<'a> {
    fn ask(self) -> Result<Ask<'a>, Malformed> {
        Ok(match &*self.r#type {
            "subscribe" => self.subscribe()?,
            "unsubscribe" => Ask::Unsubscribe,
            "ack" => {
                let one = self.delivery.into_iter();
                let deliveries: Vec<u64> =
                    one.chain(self.deliveries.into_iter().flatten()).collect();
                match deliveries.len() {
                    0 => return Err(missing("ack", "delivery")),
                    1..=WINDOW_MAX => Ask::Acknowledge { deliveries, error: self.error.map(words) },
                    _ => return Err(format!("an ack is for at most {WINDOW_MAX} deliveries")),
                }
            }
            "register" => {
                let idempotent = self.idempotent.unwrap_or(false);
                Ask::Register { events: named("register", self.events)?, idempotent }
            }
            "unregister" => Ask::Unregister { events: named("unregister", self.events)? },
            "request" => {
                let timeout = self.timeout.map(Duration::from_millis);
                Ask::Request { message: self.message("request")?, timeout }
            }
            "broadcast" => Ask::Broadcast { message: self.message("broadcast")? },
            "response" | "error" => self.answer()?,
            "command" => {
                let shard = self.shard.ok_or_else(|| missing("command", "shard"))?;
                let command = self.command.ok_or_else(|| missing("command", "command"))?;
                Ask::Command { shard, command }
            }
            "kv" => {
                let namespace = self.namespace.ok_or_else(|| missing("kv", "namespace"))?;
                let ask = self.ask.ok_or_else(|| missing("kv", "ask"))?;
                Ask::Kv { namespace, bytes: ask.get().len(), ask: part("ask", ask)? }
            }
            "health" => Ask::Health,
            other => return Err(format!("there is no type {other:?}; {TYPES}")),
        })
    }

    fn subscribe(self) -> Result<Ask<'a>, Malformed> {
        let group = self.group.as_deref().unwrap_or(GROUP_DEFAULT);
        let group = Group::new(group).map_err(|error| error.to_string())?;
        let wanted = self.events.map_or(Ok(Wanted::All), |events| part("events", events))?;
        let window = self.window.unwrap_or(WINDOW_DEFAULT);
        Ok(Ask::Subscribe { group, wanted, window, notices: self.notices.unwrap_or(false) })
    }

    fn message(self, kind: &str) -> Result<Message<'a>, Malformed> {
        let receiver = self.receiver()?;
        let sender = match self.sender.map(|sender| part("sender", sender)).transpose()? {
            None => None,
            Some(MessageTarget::Shard(shard)) => Some(shard),
            Some(_) => return Err("a sender is a shard: {\"shard\":0}".to_owned()),
        };
        Ok(Message {
            event: self.event.ok_or_else(|| missing(kind, "event"))?,
            sender,
            receiver,
            data: self.data.unwrap_or(RawValue::NULL),
        })
    }

    fn receiver(&self) -> Result<MessageTarget, Malformed> {
        part("receiver", self.receiver.ok_or_else(|| missing(&self.r#type, "receiver"))?)
    }

    fn answer(self) -> Result<Ask<'a>, Malformed> {
        let kind = &*self.r#type;
        let id = self.id.ok_or_else(|| missing(kind, "id"))?;
        let (id, receiver) = (part("id", id)?, self.receiver()?);
        let answer = match kind {
            "response" => Ok(self.data.unwrap_or(RawValue::NULL)),
            _ => Err(self.error.map_or_else(|| "no reason is given".to_owned(), words)),
        };
        Ok(Ask::Answer { id, receiver, answer })
    }
}

const TYPES: &str = "there are subscribe, unsubscribe, ack, register, unregister, request, broadcast, \
     response, error, command, kv and health";

fn missing(kind: &str, field: &str) -> Malformed {
    format!("{kind} needs `{field}`")
}

/// A field's value.
fn part<T: DeserializeOwned>(field: &str, value: &RawValue) -> Result<T, Malformed> {
    serde_json::from_str(value.get()).map_err(|error| format!("`{field}`: {error}"))
}

fn named(kind: &str, events: Option<&RawValue>) -> Result<BTreeSet<Box<str>>, Malformed> {
    match events.map(|events| part("events", events)).transpose()? {
        Some(Wanted::Named(names)) if !names.is_empty() => Ok(names),
        _ => Err(format!("{kind} needs `events`, a list of names")),
    }
}

/// What went wrong, in the consumer's words: a text, or anything else as JSON.
fn words(error: Value) -> String {
    let mut said = match error {
        Value::String(text) => text,
        other => other.to_string(),
    };
    said.truncate(said.floor_char_boundary(ERROR_BYTES_MAX));
    said
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            Value::String(all) if all == "all" => Ok(Self::All),
            Value::Array(names) if names.len() <= NAMES_MAX => {
                let names = names.into_iter().map(|name| match name {
                    Value::String(name) if name.len() <= NAME_BYTES_MAX => Ok(name.into()),
                    _ => Err(D::Error::custom("a name is a text of at most 256 bytes")),
                });
                Ok(Self::Named(names.collect::<Result<_, _>>()?))
            }
            _ => Err(D::Error::custom("events are \"all\", or a list of at most 512 names")),
        }
    }
}

impl<'de> Deserialize<'de> for MessageTarget {
    /// A number is a shard, as in `{"shard":0}`; there are `{"guild":"…"}`, `{"node":"…"}`, `"all"` and `"nodes"`.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        let shard = |value: &Value| Some(ShardId(u32::try_from(value.as_u64()?).ok()?));
        let target = match &value {
            Value::String(all) if all == "all" => Some(Self::All),
            Value::String(all) if all == "nodes" => Some(Self::Nodes),
            Value::Object(map) if map.len() == 1 => match map.iter().next() {
                Some((key, value)) if key == "shard" => shard(value).map(Self::Shard),
                Some((key, Value::String(id))) if key == "guild" => {
                    id.parse().ok().map(GuildId).map(Self::Guild)
                }
                Some((key, Value::String(node))) if key == "node" => Some(Self::Node(node.clone())),
                _ => None,
            },
            other => shard(other).map(Self::Shard),
        };
        target.ok_or_else(|| {
            D::Error::custom(
                "a receiver is a shard's number, {\"shard\":0}, {\"guild\":\"1\"}, {\"node\":\"name\"}, \"all\" or \"nodes\"",
            )
        })
    }
}
