//! One gateway connection, from the upgrade to its end.

use std::{borrow::Cow, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::SplitStream};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tokio_websockets::{CloseCode, Config, Limits, Message, ServerBuilder, WebSocketStream};

use super::{
    codec::Encoder,
    core::{Core, Reach},
    fault::{Fault, Step, Url},
    login::{self, Answer},
    members, payload,
    protocol::{self, Protocol, Request},
    rules::{Rule, Violation},
    session::Transport,
    truth::ConnectionEnd,
    wire::{Valve, Wire},
    writer::{Order, Writer},
};

/// An open connection: who it is, and how to reach its writer.
#[derive(Debug)]
pub(super) struct Line {
    pub core: Arc<Core>,
    pub id: u64,
    pub url: Url,
    pub transport: Transport,
    pub orders: mpsc::Sender<Order>,
    pub valve: Arc<Valve>,
    pub kill: CancellationToken,
}

/// Serves a gateway connection whose request, with this query, waits in the stream.
pub(super) async fn serve(core: Arc<Core>, stream: TcpStream, url: Url, query: String) {
    let (wire, valve) = Wire::new(stream);
    let (sender, orders) = mpsc::channel(ORDERS_MAX);
    let kill = CancellationToken::new();
    let id = core.open(url, sender.clone(), valve.clone(), kill.clone());
    let end = tokio::select! {
        end = accept(&core, id, wire, (url, &query), (sender, orders), valve, &kill) => end,
        () = kill.cancelled() => ConnectionEnd::Cut,
        () = core.stopped() => ConnectionEnd::Cut,
    };
    core.closed(id, end);
}

async fn accept(
    core: &Arc<Core>,
    id: u64,
    mut wire: Wire,
    (url, query): (Url, &str),
    (sender, orders): (mpsc::Sender<Order>, mpsc::Receiver<Order>),
    valve: Arc<Valve>,
    kill: &CancellationToken,
) -> ConnectionEnd {
    match core.strike(Step::Accept, None, Some(url)) {
        None => {}
        Some(Fault::Handshake { status }) => return refuse(&mut wire, status).await,
        Some(Fault::Reset { .. }) => {
            valve.reset();
            return ConnectionEnd::Cut;
        }
        Some(_) => return ConnectionEnd::Cut,
    }
    let transport = protocol::transport(query);
    if let Err(violation @ Violation { rule: Rule::Encoding, .. }) = &transport {
        core.violated(violation);
        return refuse(&mut wire, 400).await;
    }
    // Discord's payloads are one frame each.
    let frame_size = match core.strike(Step::Upgrade, None, Some(url)) {
        Some(Fault::Fragment { bytes }) => bytes.max(1),
        _ => usize::MAX,
    };
    let config = Config::default().frame_size(frame_size).flush_threshold(FLUSH_THRESHOLD);
    let limits = Limits::default().max_payload_len(Some(RECEIVED_MAX));
    let builder = ServerBuilder::new().config(config).limits(limits);
    let upgraded = timeout(UPGRADE_TIMEOUT, builder.accept(wire)).await;
    let Ok(Ok((_, socket))) = upgraded else { return ConnectionEnd::Refused { status: 400 } };
    let (core, kill) = (core.clone(), kill.clone());
    let transport = match transport {
        Ok(transport) => transport,
        Err(violation) => {
            core.violated(&violation);
            let _ = sender.try_send(Order::Close(Some(violation.code)));
            protocol::FALLBACK
        }
    };
    let line = Line { core, id, url, transport, orders: sender, valve, kill };
    Box::pin(line.converse(socket, orders)).await
}

async fn refuse(wire: &mut Wire, status: u16) -> ConnectionEnd {
    let response =
        format!("HTTP/1.1 {status} Simulated\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let _ = timeout(CLOSE_WAIT, wire.write_all(response.as_bytes())).await;
    ConnectionEnd::Refused { status }
}

impl Line {
    async fn converse(
        self,
        socket: WebSocketStream<Wire>,
        orders: mpsc::Receiver<Order>,
    ) -> ConnectionEnd {
        let Ok(encoder) = Encoder::new(self.transport.compression) else {
            return ConnectionEnd::Cut;
        };
        self.greet();
        let (sink, stream) = socket.split();
        let writer = Writer::new(self.id, sink, encoder).run(orders);
        let mut listener = std::pin::pin!(self.listen(stream));
        tokio::select! {
            end = &mut listener => end,
            end = writer => {
                if matches!(end, ConnectionEnd::Server { .. }) {
                    // The client has its chance to answer the close frame.
                    let _ = timeout(CLOSE_WAIT, listener).await;
                }
                end
            }
        }
    }

    /// HELLO, or what a fault sends instead.
    fn greet(&self) {
        if self.core.strike(Step::BeforeHello, None, Some(self.url)).is_some() {
            self.order(Order::Text(Cow::Borrowed(payload::RECONNECT)));
        }
        match self.core.strike(Step::Hello, None, Some(self.url)) {
            None => {
                let hello = payload::hello(self.core.options.heartbeat_interval);
                self.order(Order::Text(Cow::Owned(hello)));
            }
            Some(Fault::MalformedHello) => {
                self.order(Order::Text(Cow::Borrowed(r#"{"t":null,"s":null,"op":10,"d":{}}"#)));
            }
            Some(fault) => self.answer(Answer::of(&fault)),
        }
    }

    async fn listen(&self, mut stream: SplitStream<WebSocketStream<Wire>>) -> ConnectionEnd {
        // A heartbeat may be late by one interval: Discord does not say how long it waits.
        let patience = 2 * self.core.options.heartbeat_interval;
        let mut protocol = Protocol::default();
        let mut deadline = Instant::now() + patience;
        let mut closing = false;
        let mut end = None;
        loop {
            let Ok(next) = timeout_at(deadline, stream.next()).await else {
                if closing {
                    return ConnectionEnd::Cut;
                }
                let late = format!("no heartbeat for {patience:?}");
                self.punish(&Violation::new(Rule::Heartbeat, 4000, late));
                (closing, deadline) = (true, Instant::now() + CLOSE_WAIT);
                continue;
            };
            let Some(Ok(message)) = next else { return end.unwrap_or(ConnectionEnd::Gone) };
            if let Some((code, _)) = message.as_close() {
                let code = (code != CloseCode::NO_STATUS_RECEIVED).then(|| code.into());
                // The stream goes on until the answer to the close frame is written.
                end = Some(ConnectionEnd::Client { code });
                continue;
            }
            if closing || message.is_ping() || message.is_pong() {
                continue;
            }
            match self.receive(&mut protocol, &message) {
                Ok(true) => deadline = Instant::now() + patience,
                Ok(false) => {}
                Err(violation) => {
                    self.punish(&violation);
                    (closing, deadline) = (true, Instant::now() + CLOSE_WAIT);
                }
            }
        }
    }

    /// Acts upon a payload. Returns whether it was a heartbeat.
    fn receive(&self, protocol: &mut Protocol, message: &Message) -> Result<bool, Violation> {
        let at_ms = self.core.now_ms();
        self.core.note(self.id, |truth| {
            truth.received += 1;
            truth.last_received_ms = Some(at_ms);
        });
        let request = protocol.receive(message.as_payload(), Instant::now())?;
        match request {
            Request::Heartbeat(sequence) => {
                self.beat(sequence);
                return Ok(true);
            }
            Request::Identify(identify) => self.log_in(protocol, login::identify(self, &identify)),
            Request::Resume(resume) => self.log_in(protocol, login::resume(self, &resume)),
            Request::Members(query) => members::answer(self, query),
            Request::Sounds(guilds) => members::sounds(self, &guilds),
            Request::Noted => {}
        }
        Ok(false)
    }

    fn beat(&self, sequence: Option<u64>) {
        let reach = self.core.reach_one(self.id);
        let shard = reach.as_ref().and_then(|reach| reach.shard);
        if let Some(session) = reach.and_then(|reach| reach.session)
            && let Some(home) = self.core.session_shard(&session)
            && let Some(own) = home.lock().session(&session)
            && own.connection() == Some(self.id)
            && !own.heard(sequence.unwrap_or(0), self.core.options.trim_at_heartbeat)
        {
            self.core.broke(Rule::HeartbeatSequence, &format!("heartbeat with {sequence:?}"));
        }
        if self.core.strike(Step::Heartbeat, shard, Some(self.url)).is_none() {
            self.order(Order::Text(Cow::Borrowed(payload::HEARTBEAT_ACK)));
        }
    }

    fn log_in(&self, protocol: &mut Protocol, answer: Answer) {
        if matches!(answer, Answer::Attach(_) | Answer::Silence) {
            protocol.authenticate();
        }
        self.answer(answer);
    }

    fn answer(&self, answer: Answer) {
        match answer {
            Answer::Attach(attached) => self.order(Order::Attach(attached)),
            Answer::InvalidSession(resumable) => {
                self.order(Order::Text(Cow::Borrowed(payload::invalid_session(resumable))));
            }
            Answer::Reconnect => self.order(Order::Text(Cow::Borrowed(payload::RECONNECT))),
            Answer::Close(code) => self.order(Order::Close(code)),
            Answer::Cut { reset } => {
                if reset {
                    self.valve.reset();
                }
                self.kill.cancel();
            }
            Answer::Silence => {}
        }
    }

    fn punish(&self, violation: &Violation) {
        self.core.violated(violation);
        self.order(Order::Close(Some(violation.code)));
    }

    /// Tells the writer. Where its queue is full the client does not read, and is cut.
    pub(super) fn order(&self, order: Order) {
        if self.orders.try_send(order).is_err() {
            self.kill.cancel();
        }
    }
}

impl Reach {
    /// Ends the connection with a close frame, or without one where the client does not read.
    pub(super) fn close(self, core: &Core, code: Option<u16>) {
        let _ = self.orders.try_send(Order::Close(code));
        core.tasks.spawn(async move {
            tokio::time::sleep(2 * CLOSE_WAIT).await;
            self.kill.cancel();
        });
    }

    /// Ends the TCP connection.
    pub(super) fn cut(&self, reset: bool) {
        if reset {
            self.valve.reset();
        }
        self.kill.cancel();
    }
}

/// Orders that may wait for a writer. A client sends at most 120 payloads a minute, so a full queue is not being read.
const ORDERS_MAX: usize = 256;

/// The largest message that is read: anything above 4,096 bytes is closed with 4002, but the frame must fit first.
const RECEIVED_MAX: usize = 1 << 20;

/// A client that does not finish its upgrade in this time is refused.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// A close frame waits so long for its answer.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// Written bytes go out at the latest when so many wait.
const FLUSH_THRESHOLD: usize = 32 << 10;
