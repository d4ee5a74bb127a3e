//! A gateway client that does nothing by itself.

use std::time::Duration;

use apolo::simulator::{Options, Simulator, Truth};
use flate2::{Decompress, FlushDecompress};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_websockets::{
    ClientBuilder, CloseCode, Limits, MaybeTlsStream, Message, WebSocketStream,
};
use zstd_safe::{DCtx, InBuffer, OutBuffer};

/// What came next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Came {
    /// A payload.
    Json(Value),
    /// Something that is no JSON.
    Garbage(Vec<u8>),
    /// A close frame, with its code.
    Closed(Option<u16>),
    /// The end of the connection, without a close frame.
    Gone,
}

pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    inflater: Inflater,
}

enum Inflater {
    None,
    Zlib(Box<Decompress>),
    Zstd(DCtx<'static>),
}

/// Nothing that a test waits for takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// So long a test waits for something that must not come.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

/// A quiet simulator: no events but those that a test asks for.
pub(crate) async fn start(change: impl FnOnce(&mut Options)) -> Simulator {
    let mut options = Options { guilds: 20, event_rate: 0.0, ..Options::default() };
    change(&mut options);
    Simulator::start(options).await.unwrap()
}

/// Waits until the truth is as wanted.
pub(crate) async fn until(simulator: &Simulator, wanted: impl Fn(&Truth) -> bool) -> Truth {
    let waiting = async {
        loop {
            let truth = simulator.truth();
            if wanted(&truth) {
                return truth;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{:#?}", simulator.truth()))
}

impl Client {
    /// Connects in plain text, without waiting for HELLO.
    pub(crate) async fn dial(url: &str) -> Self {
        Self::dial_with(url, "v=10&encoding=json").await.unwrap()
    }

    pub(crate) async fn dial_with(url: &str, query: &str) -> Result<Self, tokio_websockets::Error> {
        let uri = format!("{url}/?{query}").parse().unwrap();
        let limits = Limits::unlimited();
        let (socket, _) = ClientBuilder::from_uri(uri).limits(limits).connect().await?;
        let inflater = if query.contains("zlib") {
            Inflater::Zlib(Box::new(Decompress::new(true)))
        } else if query.contains("zstd") {
            Inflater::Zstd(DCtx::create())
        } else {
            Inflater::None
        };
        Ok(Self { socket, inflater })
    }

    /// Connects and takes HELLO.
    pub(crate) async fn connect(url: &str) -> Self {
        let mut client = Self::dial(url).await;
        let hello = client.json().await;
        assert_eq!(hello["op"], 10, "{hello}");
        client
    }

    /// Connects, identifies and returns READY's data.
    pub(crate) async fn ready(simulator: &Simulator, shard: u32, total: u32) -> (Self, Value) {
        let mut client = Self::connect(&simulator.gateway_url()).await;
        client.send(identify(shard, total)).await;
        let ready = client.json().await;
        assert_eq!((&ready["t"], &ready["s"]), (&json!("READY"), &json!(1)), "{ready}");
        (client, ready["d"].clone())
    }

    /// Connects and resumes, without waiting for the answer.
    pub(crate) async fn resume(url: &str, session: &str, sequence: u64) -> Self {
        let mut client = Self::connect(url).await;
        client.send(resume(session, sequence)).await;
        client
    }

    pub(crate) async fn send(&mut self, payload: Value) {
        self.send_text(payload.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: String) {
        // A connection that is gone shows when it is read.
        let _ = self.socket.send(Message::text(text)).await;
    }

    pub(crate) async fn close(mut self, code: u16) {
        let code = CloseCode::try_from(code).unwrap();
        self.socket.send(Message::close(Some(code), "")).await.unwrap();
        let _ = timeout(PATIENCE, async { while self.socket.next().await.is_some() {} }).await;
    }

    /// What comes next.
    pub(crate) async fn next(&mut self) -> Came {
        timeout(PATIENCE, self.read()).await.expect("nothing came")
    }

    /// What comes next, if anything does within [`SILENCE`].
    pub(crate) async fn next_soon(&mut self) -> Option<Came> {
        timeout(SILENCE, self.read()).await.ok()
    }

    /// The next payload.
    pub(crate) async fn json(&mut self) -> Value {
        match self.next().await {
            Came::Json(value) => value,
            other @ (Came::Garbage(_) | Came::Closed(_) | Came::Gone) => {
                panic!("{other:?} instead of a payload")
            }
        }
    }

    /// The next payloads' sequences, up to the first of this name.
    pub(crate) async fn sequences_until(&mut self, name: &str) -> Vec<u64> {
        let mut sequences = Vec::new();
        loop {
            let payload = self.json().await;
            sequences.push(payload["s"].as_u64().unwrap_or(0));
            if payload["t"] == name {
                return sequences;
            }
        }
    }

    /// The next payloads' sequences, this many.
    pub(crate) async fn sequences_through(&mut self, count: usize) -> Vec<u64> {
        let mut sequences = Vec::new();
        while sequences.len() < count {
            sequences.push(self.json().await["s"].as_u64().unwrap_or(0));
        }
        sequences
    }

    /// Reads up to the close frame, or the end.
    pub(crate) async fn ended(&mut self) -> Came {
        loop {
            match self.next().await {
                Came::Json(_) | Came::Garbage(_) => {}
                end @ (Came::Closed(_) | Came::Gone) => return end,
            }
        }
    }

    async fn read(&mut self) -> Came {
        loop {
            let Some(Ok(message)) = self.socket.next().await else { return Came::Gone };
            if message.is_ping() || message.is_pong() {
                continue;
            }
            if let Some((code, _)) = message.as_close() {
                let code = (code != CloseCode::NO_STATUS_RECEIVED).then(|| code.into());
                return Came::Closed(code);
            }
            let bytes = self.inflater.inflate(message.as_payload());
            return match serde_json::from_slice(&bytes) {
                Ok(value) => Came::Json(value),
                Err(_) => Came::Garbage(bytes),
            };
        }
    }
}

impl Inflater {
    fn inflate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut output = Vec::with_capacity(1 << 20);
        match self {
            Self::None => output.extend_from_slice(bytes),
            Self::Zlib(context) => {
                let start = context.total_in();
                while context.total_in() - start < bytes.len() as u64 {
                    let rest = &bytes[(context.total_in() - start) as usize..];
                    output.reserve(1 << 20);
                    context.decompress_vec(rest, &mut output, FlushDecompress::Sync).unwrap();
                }
            }
            Self::Zstd(context) => {
                let mut input = InBuffer::around(bytes);
                loop {
                    let at = output.len();
                    let mut buffer = OutBuffer::around_pos(&mut output, at);
                    if context.decompress_stream(&mut buffer, &mut input).is_err() {
                        return bytes.to_vec();
                    }
                    if input.pos == bytes.len() && output.len() < output.capacity() {
                        break;
                    }
                    output.reserve(1 << 20);
                }
            }
        }
        output
    }
}

pub(crate) fn identify(shard: u32, total: u32) -> Value {
    json!({ "op": 2, "d": {
        "token": "Bot t", "properties": { "os": "linux" }, "shard": [shard, total], "intents": 513,
    } })
}

pub(crate) fn resume(session: &str, sequence: u64) -> Value {
    json!({ "op": 6, "d": { "token": "Bot t", "session_id": session, "seq": sequence } })
}

pub(crate) fn heartbeat(sequence: u64) -> Value {
    json!({ "op": 1, "d": sequence })
}
