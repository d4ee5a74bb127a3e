//! What a simulated Discord sends to each shard, as it goes over the wire: zstd-stream, message by message.

use std::time::Duration;

use apolo::{
    ShardTotal,
    simulator::{Options, Simulator},
};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, future::try_join_all};
use serde_json::json;
use tokio_websockets::{ClientBuilder, Limits, Message};
use zstd_safe::{DCtx, InBuffer, OutBuffer};

use crate::Failure;

/// Shards that share the core, as on a node of a large bot.
pub(crate) const SHARDS: u32 = 16;

/// Guilds of each.
const GUILDS: u64 = 100;

/// Dispatches that are recorded of each shard, READY among them; and as many more as it takes for the last to be one
/// that every bot sees.
const DISPATCHES: usize = 12_500;

/// twilight passes over a few types that it does not know, so a recording ends with one that it does.
const LAST: &str = r#"{"t":"MESSAGE_CREATE""#;

/// Every intent but the privileged ones.
pub(crate) const INTENTS: u64 = 53_575_421;

/// No heartbeat comes between.
const NO_HEARTBEAT: Duration = Duration::from_secs(600);

/// So many dispatches come before the clock starts: READY and the GUILD_CREATEs of every guild, which a shard sees once
/// in a session, and the first of what it sees for the rest of its life.
pub(crate) const WARM_UP: usize = 5 * GUILDS as usize;

/// What came, for each shard.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) shards: Vec<Shard>,
}

/// What came for one shard.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) hello: Bytes,
    /// READY first.
    pub(crate) warm_up: Vec<Bytes>,
    pub(crate) events: Vec<Bytes>,
}

impl Shard {
    /// The sequence of the last event.
    pub(crate) fn last(&self) -> u64 {
        (self.warm_up.len() + self.events.len()) as u64
    }
}

impl Recording {
    /// Records the simulator's full mix, the GUILD_CREATEs of the start included.
    pub(crate) async fn take() -> Result<Self, Failure> {
        let options = Options {
            guilds: u64::from(SHARDS) * GUILDS,
            recommended_shards: ShardTotal::new(SHARDS)?,
            event_rate: 20_000.0,
            heartbeat_interval: NO_HEARTBEAT,
            ..Options::default()
        };
        let simulator = Simulator::start(options).await?;
        let url = simulator.gateway_url();
        let shards = try_join_all((0..SHARDS).map(|shard| record(&url, shard))).await?;
        if shards.iter().any(|shard| shard.hello != shards[0].hello) {
            return Err("HELLO differs from shard to shard".into());
        }
        Ok(Self { shards })
    }

    /// Events that the clock runs for.
    pub(crate) fn events(&self) -> usize {
        self.shards.iter().map(|shard| shard.events.len()).sum()
    }

    /// Bytes as they go over the wire.
    pub(crate) fn bytes(&self) -> usize {
        self.shards.iter().flat_map(|shard| &shard.events).map(Bytes::len).sum()
    }
}

async fn record(url: &str, shard: u32) -> Result<Shard, Failure> {
    let uri = format!("{url}/?v=10&encoding=json&compress=zstd-stream").parse()?;
    let builder = ClientBuilder::from_uri(uri).limits(Limits::unlimited());
    let (mut socket, _) = builder.connect().await?;
    let identify = json!({ "op": 2, "d": {
        "token": "Bot a.benchmark.token",
        "properties": { "os": "linux" },
        "shard": [shard, SHARDS],
        "intents": INTENTS,
    } });
    let mut messages = Vec::with_capacity(DISPATCHES + 1);
    let mut inflater = DCtx::create();
    loop {
        let message = socket.next().await.ok_or("the simulator hung up")??;
        if !message.is_binary() {
            return Err(format!("not a payload: {message:?}").into());
        }
        let is_last = inflate(&mut inflater, message.as_payload())?.starts_with(LAST.as_bytes());
        messages.push(Bytes::from(message.into_payload()));
        if messages.len() == 1 {
            socket.send(Message::text(identify.to_string())).await?;
        }
        if messages.len() > DISPATCHES && is_last {
            break;
        }
    }
    let events = messages.split_off(1 + WARM_UP);
    let warm_up = messages.split_off(1);
    let hello = messages.pop().ok_or("no HELLO")?;
    Ok(Shard { hello, warm_up, events })
}

fn inflate(context: &mut DCtx<'_>, message: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut output = Vec::with_capacity(64 << 10);
    let mut input = InBuffer::around(message);
    loop {
        let at = output.len();
        let mut buffer = OutBuffer::around_pos(&mut output, at);
        context.decompress_stream(&mut buffer, &mut input).map_err(zstd_safe::get_error_name)?;
        if input.pos == message.len() && output.len() < output.capacity() {
            return Ok(output);
        }
        output.reserve(64 << 10);
    }
}
