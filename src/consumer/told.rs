//! What a consumer is told: each function makes one frame.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{offer::Parcel, pool::Handed, said::MessageTarget};
use crate::bot::{Context, Notice};
use crate::http;
use crate::ipc::{Call, IpcError, MessageKind, Receiver};
use crate::model::{GuildId, ShardId, ShardTotal};

/// What frames mean. A change that an older consumer can't live with takes a new path.
const PROTOCOL: u32 = 1;

/// Why something that was asked for is not done: a word for programs and a sentence for people.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Problem {
    pub(super) code: &'static str,
    pub(super) message: String,
    /// Of a request that may have run all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) may_have_run: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hello<'a> {
    r#type: &'static str,
    protocol: u32,
    node: HelloNode<'a>,
    total_shards: Option<ShardTotal>,
}

#[derive(Serialize)]
struct HelloNode<'a> {
    id: &'a str,
    name: &'a str,
    version: &'a str,
}

#[derive(Serialize)]
struct Answer<'a, D> {
    r#type: &'static str,
    id: &'a RawValue,
    data: D,
}

#[derive(Serialize)]
struct Refusal<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    error: &'a Problem,
}

#[derive(Serialize)]
struct Message<'a> {
    r#type: &'static str,
    id: String,
    event: &'a str,
    sender: MessageTarget,
    receiver: MessageTarget,
    data: &'a RawValue,
    timestamp: u64,
}

impl Problem {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), may_have_run: false }
    }
}

impl From<IpcError> for Problem {
    fn from(error: IpcError) -> Self {
        let (code, may_have_run) = (error.code(), error.may_have_run());
        Self { code, message: error.to_string(), may_have_run }
    }
}

/// The first frame: where the consumer is.
pub(super) fn hello(node: &http::Node, total_shards: Option<ShardTotal>) -> String {
    let node = HelloNode { id: &node.id, name: &node.name, version: &node.version };
    json(&Hello { r#type: "hello", protocol: PROTOCOL, node, total_shards })
}

/// What was asked for under `id` is done.
pub(super) fn answer(id: &RawValue, data: impl Serialize) -> String {
    json(&Answer { r#type: "response", id, data })
}

/// It is not.
pub(super) fn refusal(id: Option<&RawValue>, problem: &Problem) -> String {
    json(&Refusal { r#type: "error", id, error: problem })
}

/// A handler is to run.
pub(super) fn call(call: &Call, data: &RawValue) -> String {
    let kind = if call.kind == MessageKind::Broadcast { "broadcast" } else { "request" };
    let sender = match call.sender.shard {
        Some(shard) => MessageTarget::Shard(shard),
        None => MessageTarget::Node(call.sender.node.to_string()),
    };
    json(&Message {
        r#type: kind,
        id: call.id.to_string(),
        event: &call.event,
        sender,
        receiver: receiver(call.receiver),
        data,
        timestamp: call.sent_at.0,
    })
}

/// Nobody waits for that handler's answer any more.
pub(super) fn call_cancelled(call: &Call) -> String {
    json(&serde_json::json!({
        "type": "cancelled",
        "id": call.id.to_string(),
        "receiver": receiver(call.receiver),
    }))
}

/// An event. Its content goes as Discord wrote it.
pub(super) fn event(handed: &Handed) -> String {
    let Parcel { event, shard, session, sequence, epoch, redelivered, .. } = &handed.offer.parcel;
    let (number, name) = (handed.offer.number, json(&event.name()));
    let redelivered = *redelivered || handed.again;
    let data = event.data().unwrap_or("null");
    format!(
        r#"{{"type":"event","delivery":{number},"name":{name},"shard":{shard},"session":{session},"sequence":{sequence},"epoch":"{epoch}","redelivered":{redelivered},"data":{data}}}"#
    )
}

/// An event is not this consumer's any more: its shard runs elsewhere, or nowhere.
pub(super) fn event_cancelled(number: u64) -> String {
    json(&serde_json::json!({ "type": "cancelled", "delivery": number }))
}

/// A newcomer of the group has these shards' events from now on.
pub(super) fn shards_gone(shards: &[ShardId]) -> String {
    json(&serde_json::json!({ "type": "cancelled", "shards": shards }))
}

/// What happened to a shard.
pub(super) fn notice(context: &Context, notice: &Notice) -> String {
    let (shard, session) = (context.shard(), context.session());
    let mut told = serde_json::json!({ "type": "notice", "shard": shard, "session": session });
    let more = match notice {
        Notice::ShardReady { resumed } => {
            serde_json::json!({ "notice": "shardReady", "resumed": resumed })
        }
        Notice::ShardDisconnected { reason } => {
            serde_json::json!({ "notice": "shardDisconnected", "reason": reason })
        }
        Notice::ShardDead { reason } => {
            serde_json::json!({ "notice": "shardDead", "reason": reason })
        }
        Notice::SessionLost(range) => serde_json::json!({
            "notice": "sessionLost",
            "session": range.session,
            "after": range.after,
            "received": range.received,
            "reason": range.reason.to_string(),
        }),
    };
    if let (Some(told), serde_json::Value::Object(more)) = (told.as_object_mut(), more) {
        told.extend(more);
    }
    json(&told)
}

fn receiver(receiver: Receiver) -> MessageTarget {
    match receiver {
        Receiver::Shard(shard) => MessageTarget::Shard(shard),
        Receiver::Node(node) => MessageTarget::Node(node.to_string()),
    }
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and numbers are JSON")
}

impl Serialize for MessageTarget {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Shard(shard) => map.serialize_entry("shard", shard)?,
            Self::Node(node) => map.serialize_entry("node", node)?,
            Self::Guild(GuildId(guild)) => map.serialize_entry("guild", &guild.to_string())?,
            Self::All => map.serialize_entry("all", "shards")?,
            Self::Nodes => map.serialize_entry("all", "nodes")?,
        }
        map.end()
    }
}
