//! What a client sees of the world.

mod payloads;
mod story;

use serde::de::DeserializeSeed as _;
use serde_json::Value;
use twilight_model::gateway::event::{DispatchEvent, GatewayEvent, GatewayEventDeserializer};

use super::{Event, ShardWorld, WorldOptions};
use crate::model::{ShardId, ShardTotal, UnixMillis};

const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

fn world(seed: u64, guilds: u64) -> ShardWorld {
    let options = WorldOptions { seed, guilds, total: ShardTotal::new(2).unwrap() };
    ShardWorld::new(&options, ShardId(0))
}

fn decode(event: &Event) -> Result<DispatchEvent, String> {
    let text = format!(r#"{{"op":0,"s":1,"t":"{}","d":{}}}"#, event.name, event.data);
    let envelope = GatewayEventDeserializer::from_json(&text).expect("the envelope is whole");
    match envelope.deserialize(&mut serde_json::Deserializer::from_str(&text)) {
        Ok(GatewayEvent::Dispatch(_, dispatch)) => Ok(dispatch),
        other => Err(format!("{}: {other:?}\n{}", event.name, event.data)),
    }
}

fn json(event: &Event) -> Value {
    serde_json::from_str(&event.data).unwrap_or_else(|error| panic!("{error}: {}", event.data))
}
