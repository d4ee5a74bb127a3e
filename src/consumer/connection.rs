//! One consumer's connection: what it says, and what it is sent.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tokio_websockets::{CloseCode, Config, Limits, Message, ServerBuilder, WebSocketStream};
use tracing::{debug, info};

use super::{
    bot::{Frame, Line},
    calls::Calls,
    pool::ConsumerId,
    said::{FRAME_BYTES_MAX, Said},
    server::Hub,
    told, traffic,
};

/// Frames that wait to be sent, events aside: answers, messages and notices. A message beyond is refused; whoever brings
/// an answer or a notice waits.
const OUTBOX_MAX: usize = 1_024;

/// What a consumer has asked for and not been answered.
pub(super) const ASKS_MAX: usize = 1_024;

/// A consumer that reads nothing for so long is let go.
const WRITE_WITHIN: Duration = Duration::from_secs(30);

/// Between two pings.
const PING_EVERY: Duration = Duration::from_secs(10);

/// A consumer of which nothing is heard for so long, not even the answer to a ping, is gone.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How long the answer to a close frame is waited for.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Bytes that gather before they are written: some events of a burst.
const FLUSH_THRESHOLD: usize = 64 * 1024;

/// Frames between two looks at what else there is.
const BURST: usize = 64;

/// A close frame's reason (RFC 6455, 5.5: 125 bytes with its code).
const REASON_BYTES_MAX: usize = 123;

pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The WebSocket on a stream whose handshake is done.
pub(super) fn socket(stream: TokioIo<Upgraded>) -> Socket {
    let config = Config::default().frame_size(usize::MAX).flush_threshold(FLUSH_THRESHOLD);
    let limits = Limits::default().max_payload_len(Some(FRAME_BYTES_MAX));
    ServerBuilder::new().config(config).limits(limits).serve(stream)
}

/// A consumer that is connected.
pub(super) struct Connection<'a> {
    pub(super) hub: &'a Hub,
    pub(super) calls: &'a Arc<Calls>,
    pub(super) id: ConsumerId,
    pub(super) outbox: mpsc::Sender<Frame>,
    pub(super) wake: Arc<Notify>,
    pub(super) asks: Arc<Semaphore>,
    pub(super) asked: JoinSet<()>,
    inbox: Option<mpsc::Receiver<Frame>>,
}

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// The consumer closed it, or it broke.
    Gone,
    /// It says nothing, or reads nothing.
    Silent,
    /// It said what means nothing.
    Malformed(String),
    /// The node stops.
    Stopping,
}

impl<'a> Connection<'a> {
    pub(super) fn new(hub: &'a Hub, calls: &'a Arc<Calls>) -> Self {
        let (outbox, inbox) = mpsc::channel(OUTBOX_MAX);
        let id = hub.consumers.next_id();
        let line = Line { outbox: outbox.clone(), wants_notices: false };
        hub.consumers.lines().insert(id, line);
        traffic::connected(1.0);
        Self {
            hub,
            calls,
            id,
            outbox,
            wake: Arc::new(Notify::new()),
            asks: Arc::new(Semaphore::new(ASKS_MAX)),
            asked: JoinSet::new(),
            inbox: Some(inbox),
        }
    }

    /// Serves the consumer until it goes or `stop`.
    pub(super) async fn run(mut self, socket: Socket, stop: &CancellationToken) {
        let Some(inbox) = self.inbox.take() else { return };
        info!(consumer = self.id.0, "a consumer is connected");
        let view = self.hub.source.view();
        let total = self.hub.states.borrow().facts().map(|facts| facts.total);
        let _ = self.outbox.send(told::hello(&view.node, total).into()).await;
        let (mut sink, mut stream) = socket.split();
        let writer =
            Writer { consumers: &self.hub.consumers, id: self.id, wake: Arc::clone(&self.wake) };
        let end = {
            let writing = writer.run(&mut sink, inbox);
            let listening = self.listen(&mut stream);
            tokio::select! {
                end = listening => end,
                end = writing => end,
                () = stop.cancelled() => End::Stopping,
            }
        };
        info!(consumer = self.id.0, ?end, "a consumer has gone");
        // Before the goodbyes: others take over at once.
        drop(self);
        let said_goodbye = timeout(CLOSE_WITHIN, goodbye(&end, &mut sink, &mut stream));
        if said_goodbye.await.is_err() {
            debug!("a consumer did not answer the close frame");
        }
    }

    async fn listen(&mut self, stream: &mut SplitStream<Socket>) -> End {
        loop {
            let message = match timeout(SILENCE_MAX, stream.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => {
                    debug!(consumer = self.id.0, %error, "a consumer's socket broke");
                    return End::Gone;
                }
                Ok(None) => return End::Gone,
                Err(_) => return End::Silent,
            };
            while self.asked.try_join_next().is_some() {}
            if message.is_close() {
                return End::Gone;
            }
            if message.is_binary() {
                return End::Malformed("frames are text".to_owned());
            }
            if let Some(text) = message.as_text()
                && let ControlFlow::Break(end) = self.hear(text).await
            {
                return end;
            }
        }
    }

    async fn hear(&mut self, text: &str) -> ControlFlow<End> {
        match Said::read(text) {
            Ok(said) => {
                self.carry_out(said).await;
                ControlFlow::Continue(())
            }
            Err(why) => ControlFlow::Break(End::Malformed(why)),
        }
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        // Last of all it is out of reach: whoever looks for it meanwhile finds the others.
        self.calls.leave(self.id);
        self.hub.consumers.pool().leave(self.id);
        self.hub.consumers.lines().remove(&self.id);
        traffic::connected(-1.0);
    }
}

/// Sends what there is, answers before events.
struct Writer<'a> {
    consumers: &'a super::Consumers,
    id: ConsumerId,
    wake: Arc<Notify>,
}

impl Writer<'_> {
    async fn run(
        &self,
        sink: &mut SplitSink<Socket, Message>,
        mut inbox: mpsc::Receiver<Frame>,
    ) -> End {
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut frames, mut rooms) = (Vec::with_capacity(2 * BURST), Vec::new());
        loop {
            while frames.len() < BURST
                && let Ok(Frame { text, room }) = inbox.try_recv()
            {
                frames.push(Message::text(text));
                rooms.extend(room);
            }
            self.take_events(&mut frames);
            if !frames.is_empty() {
                match write(sink, frames.drain(..)).await {
                    Ok(()) => rooms.clear(),
                    Err(end) => return end,
                }
                continue;
            }
            tokio::select! {
                frame = inbox.recv() => match frame {
                    Some(Frame { text, room }) => {
                        frames.push(Message::text(text));
                        rooms.extend(room);
                    }
                    None => return End::Gone,
                },
                () = self.wake.notified() => {}
                _ = ping.tick() => frames.push(Message::ping(&b""[..])),
            }
        }
    }

    fn take_events(&self, frames: &mut Vec<Message>) {
        for _ in 0..BURST {
            let Some(handed) = self.consumers.pool().take(self.id, Instant::now()) else { return };
            traffic::sent(handed.again);
            frames.push(Message::text(told::event(&handed)));
        }
    }
}

/// Each frame has its time: who reads slowly is slow, and not gone.
async fn write(
    sink: &mut SplitSink<Socket, Message>,
    frames: impl Iterator<Item = Message>,
) -> Result<(), End> {
    let ended = |written| match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Gone),
        Err(_) => Err(End::Silent),
    };
    for frame in frames {
        ended(timeout(WRITE_WITHIN, sink.feed(frame)).await)?;
    }
    ended(timeout(WRITE_WITHIN, sink.flush()).await)
}

async fn goodbye(
    end: &End,
    sink: &mut SplitSink<Socket, Message>,
    stream: &mut SplitStream<Socket>,
) {
    let (code, reason) = match end {
        // What the WebSocket has to say itself, such as its part of the closing.
        End::Gone => {
            while let Some(Ok(_)) = stream.next().await {}
            return;
        }
        End::Silent => (CloseCode::POLICY_VIOLATION, "nothing was heard, or nothing was read"),
        End::Stopping => (CloseCode::GOING_AWAY, "the node stops"),
        End::Malformed(why) => {
            traffic::refused("malformed");
            (CloseCode::POLICY_VIOLATION, why.as_str())
        }
    };
    if let End::Malformed(why) = end {
        let problem = told::Problem::new("malformed", why.as_str());
        let _ = sink.send(Message::text(told::refusal(None, &problem))).await;
    }
    let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    if sink.send(Message::close(Some(code), reason)).await.is_ok() {
        while let Some(Ok(message)) = stream.next().await {
            if message.is_close() {
                return;
            }
        }
    }
}
