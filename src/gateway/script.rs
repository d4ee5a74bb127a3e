//! A gateway that does what a test tells it to, one connection at a time.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, SinkExt, StreamExt, future::BoxFuture};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_websockets::{CloseCode, Message, ServerBuilder, WebSocketStream};
use url::Url;

use super::*;
use crate::model::{Sequence, Session, SessionId, SessionNumber, ShardId, ShardTotal, Token};

/// So long that no heartbeat comes into a test's way.
const HEARTBEAT_MS: u64 = 60_000;

/// Every wait of a test ends here.
const DEADLINE: Duration = Duration::from_secs(10);

pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// Permits that are granted at once, and counted; the first of them may come too late.
#[derive(Debug, Default)]
pub(super) struct Granted(pub(super) AtomicUsize, usize);

impl Granted {
    /// The first `count` have expired when they come.
    pub(super) fn expired(count: usize) -> Self {
        Self(AtomicUsize::new(0), count)
    }
}

impl Permits for Granted {
    fn acquire(&self, _shard: ShardId) -> BoxFuture<'static, Result<Permit, PermitError>> {
        let late = self.0.fetch_add(1, Ordering::SeqCst) < self.1;
        let span = if late { Duration::ZERO } else { DEADLINE };
        async move { Ok(Permit { expires: Instant::now() + span, sent: None, answered: None }) }
            .boxed()
    }
}

/// The listening side.
pub(super) struct Gateway {
    listener: TcpListener,
}

impl Gateway {
    pub(super) async fn start() -> Self {
        Self::at("127.0.0.1").await
    }

    /// On another of this machine's addresses, which is another host to a client.
    pub(super) async fn at(address: &str) -> Self {
        Self { listener: TcpListener::bind((address, 0)).await.unwrap() }
    }

    pub(super) fn url(&self) -> String {
        format!("ws://{}", self.listener.local_addr().unwrap())
    }

    /// Options for a shard on this gateway: a new session, and waits that fit a test.
    pub(super) fn options(&self) -> Options {
        let token = Token::parse("secret").unwrap();
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut options = Options::new(
            ShardId(0),
            ShardTotal::ONE,
            Profile::new(&token, Intents::GUILDS),
            self.url(),
        );
        options.hosts = Hosts::of_api(&Url::parse("http://127.0.0.1/api").unwrap());
        options.backoff = Backoff {
            fast: (Duration::from_millis(5), Duration::from_millis(10)),
            base: Duration::from_millis(40),
            cap: Duration::from_millis(200),
            healthy_after: Duration::from_secs(5),
            invalid_session: (Duration::from_millis(20), Duration::from_millis(30)),
            behind_identify: Duration::from_millis(600),
        };
        options
    }

    /// The same, with a session to resume behind `after`.
    pub(super) fn resuming(&self, after: u64) -> Options {
        let mut options = self.options();
        options.resume = Some(ResumePoint {
            session: Session {
                number: SessionNumber(3),
                id: SessionId("old".into()),
                resume_url: format!("{}/resume", self.url()),
            },
            after: Sequence(after),
        });
        options
    }

    /// The next TCP connection, before any handshake.
    pub(super) async fn socket(&self) -> TcpStream {
        within("a connection", self.listener.accept()).await.unwrap().0
    }

    /// The next connection. Sockets that are dropped before the handshake don't count.
    pub(super) async fn accept(&self) -> Peer {
        loop {
            let socket = self.socket().await;
            let shaken = within("a handshake", ServerBuilder::new().accept(socket)).await;
            if let Ok((request, stream)) = shaken {
                return Peer { path: request.uri().path().to_owned(), stream };
            }
        }
    }

    /// The next connection, led to READY of session `id`.
    pub(super) async fn ready(&self, id: &str) -> Peer {
        self.ready_every(id, HEARTBEAT_MS).await
    }

    /// The same, with this heartbeat interval in milliseconds.
    pub(super) async fn ready_every(&self, id: &str, interval_ms: u64) -> Peer {
        let mut peer = self.accept().await;
        peer.hello_every(interval_ms).await;
        peer.expect(2).await;
        peer.send_ready(id, &format!("{}/resume", self.url())).await;
        peer
    }

    /// The next connection, led to its RESUME, whose sequence is returned too.
    pub(super) async fn resume(&self) -> (Peer, u64) {
        let mut peer = self.accept().await;
        peer.hello().await;
        let resume = peer.expect(6).await;
        (peer, resume["d"]["seq"].as_u64().unwrap())
    }

    /// Asserts that nobody connects for a while.
    pub(super) async fn stays_alone(&self, span: Duration) {
        assert!(timeout(span, self.accept()).await.is_err(), "somebody connected");
    }
}

/// One connection, seen from the gateway.
pub(super) struct Peer {
    pub(super) path: String,
    stream: WebSocketStream<TcpStream>,
}

/// What a client sent.
#[derive(Debug)]
pub(super) enum Received {
    Payload(Value),
    Closed(Option<u16>),
}

impl Peer {
    pub(super) async fn text(&mut self, text: impl Into<String>) {
        // A client that is gone is seen by what the test expects of it.
        drop(self.stream.send(Message::text(text.into())).await);
    }

    pub(super) async fn binary(&mut self, bytes: Vec<u8>) {
        drop(self.stream.send(Message::binary(bytes)).await);
    }

    pub(super) async fn payload(&mut self, payload: Value) {
        self.text(payload.to_string()).await;
    }

    pub(super) async fn hello(&mut self) {
        self.hello_every(HEARTBEAT_MS).await;
    }

    pub(super) async fn hello_every(&mut self, interval_ms: u64) {
        self.payload(json!({"op": 10, "d": {"heartbeat_interval": interval_ms}})).await;
    }

    pub(super) async fn dispatch(&mut self, sequence: u64, name: &str) {
        let text = format!(r#"{{"t":"{name}","s":{sequence},"op":0,"d":{{}}}}"#);
        self.text(text).await;
    }

    pub(super) async fn send_ready(&mut self, id: &str, resume_url: &str) {
        let data = json!({"session_id": id, "resume_gateway_url": resume_url});
        self.text(format!(r#"{{"t":"READY","s":1,"op":0,"d":{data}}}"#)).await;
    }

    pub(super) async fn close(&mut self, code: u16) {
        let code = CloseCode::try_from(code).unwrap();
        drop(self.stream.send(Message::close(Some(code), "")).await);
    }

    /// The next thing that the client sends, other than a heartbeat.
    pub(super) async fn receive(&mut self) -> Received {
        loop {
            let Some(Ok(message)) = within("a payload", self.stream.next()).await else {
                return Received::Closed(None);
            };
            if let Some((code, _)) = message.as_close() {
                return Received::Closed(Some(code.into()));
            }
            let Some(text) = message.as_text() else { continue };
            let payload: Value = serde_json::from_str(text).unwrap();
            if payload["op"] != 1 {
                return Received::Payload(payload);
            }
        }
    }

    /// Expects a payload with this opcode.
    pub(super) async fn expect(&mut self, opcode: u8) -> Value {
        let received = self.receive().await;
        match received {
            Received::Payload(payload) if payload["op"] == opcode => payload,
            Received::Payload(_) | Received::Closed(_) => {
                panic!("expected opcode {opcode}, got {received:?}")
            }
        }
    }

    /// Expects a heartbeat, and returns its sequence.
    pub(super) async fn heartbeat(&mut self) -> Option<u64> {
        let message = within("a heartbeat", self.stream.next()).await.unwrap().unwrap();
        let payload: Value = serde_json::from_str(message.as_text().unwrap()).unwrap();
        assert_eq!(payload["op"], 1, "{payload}");
        payload["d"].as_u64()
    }

    /// Expects the end of the connection.
    pub(super) async fn expect_close(&mut self) -> Option<u16> {
        match self.receive().await {
            Received::Closed(code) => code,
            Received::Payload(payload) => panic!("expected a close, got {payload}"),
        }
    }
}

/// A supervisor that runs.
pub(super) struct Running {
    pub(super) handles: Handles,
    pub(super) stop: Stop,
    pub(super) permits: Arc<Granted>,
    task: JoinHandle<Exit>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

impl Running {
    pub(super) fn start(options: Options) -> Self {
        Self::start_with(options, Granted::default())
    }

    pub(super) fn start_with(options: Options, permits: Granted) -> Self {
        let permits = Arc::new(permits);
        let (supervisor, handles) = Supervisor::new(options, Arc::clone(&permits) as _).unwrap();
        let stop = Stop::new();
        let task = tokio::spawn(supervisor.run(stop.clone()));
        Self { handles, stop, permits, task }
    }

    pub(super) async fn item(&mut self) -> Item {
        within("an item", self.handles.feed.recv()).await.expect("the supervisor runs")
    }

    /// The items up to and with the first that `last` is true of.
    pub(super) async fn until(&mut self, last: impl Fn(&Item) -> bool) -> Vec<Item> {
        let mut items = Vec::new();
        loop {
            items.push(self.item().await);
            if items.last().is_some_and(&last) {
                return items;
            }
        }
    }

    /// The sequences of the dispatches up to and with this one.
    pub(super) async fn sequences(&mut self, last: u64) -> Vec<u64> {
        let items =
            self.until(|item| matches!(item, Item::Dispatch(it) if it.sequence.0 == last)).await;
        items
            .iter()
            .filter_map(|item| {
                if let Item::Dispatch(dispatch) = item { Some(dispatch.sequence.0) } else { None }
            })
            .collect()
    }

    /// Waits for a phase.
    pub(super) async fn phase(&mut self, wanted: impl Fn(Phase) -> bool) {
        let seen = self.handles.status.wait_for(|status| wanted(status.phase));
        drop(within("a phase", seen).await.unwrap());
    }

    pub(super) async fn exit(self) -> Exit {
        within("the exit", self.task).await.unwrap()
    }
}
