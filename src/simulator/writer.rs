//! The writing half of a connection: payloads in order, and garbage where it is asked for.

use std::{borrow::Cow, io, ops::ControlFlow, sync::Arc};

use futures_util::{SinkExt as _, stream::SplitSink};
use tokio::sync::{Notify, mpsc};
use tokio_websockets::{CloseCode, Message, WebSocketStream};

use super::{
    codec::Encoder,
    fault::Garbage,
    garbage, payload,
    rules::close_reason,
    shard::{Shard, Written},
    truth::ConnectionEnd,
    wire::Wire,
};

/// What a writer is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Write this payload.
    Text(Cow<'static, str>),
    /// Write this session's dispatches from here on.
    Attach(Attached),
    /// Write a close frame, then nothing.
    Close(Option<u16>),
    /// Write garbage.
    Garbage(Garbage),
    /// Write the last dispatch once more.
    Duplicate,
}

/// The session that a connection has.
#[derive(Clone, Debug)]
pub(super) struct Attached {
    pub shard: Arc<Shard>,
    pub session: String,
    pub wake: Arc<Notify>,
    /// Up to this sequence neighbours are swapped (the fault `replay_out_of_order`).
    pub swap_until: u64,
}

/// Writes to one connection.
pub(super) struct Writer {
    connection: u64,
    sink: SplitSink<WebSocketStream<Wire>, Message>,
    encoder: Encoder,
    attached: Option<Attached>,
    /// The payload that is being put together.
    text: String,
    /// So many dispatches are lost on the way.
    omit: u32,
    /// In so many messages the next payload comes, where it is not 1.
    messages: usize,
}

type Step = ControlFlow<ConnectionEnd>;

impl Writer {
    pub(super) fn new(
        connection: u64,
        sink: SplitSink<WebSocketStream<Wire>, Message>,
        encoder: Encoder,
    ) -> Self {
        Self {
            connection,
            sink,
            encoder,
            attached: None,
            text: String::new(),
            omit: 0,
            messages: 1,
        }
    }

    /// Writes until the connection ends, and says how.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) -> ConnectionEnd {
        loop {
            let step = match self.next_dispatches() {
                Some(batch) => self.dispatch(batch, &mut orders).await,
                None => self.rest(&mut orders).await,
            };
            match step {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(end)) => return end,
                Err(_) => return ConnectionEnd::Gone,
            }
        }
    }

    fn next_dispatches(&mut self) -> Option<Vec<Written>> {
        let attached = self.attached.as_ref()?;
        let batch = attached.shard.pull(&attached.session, self.connection, BATCH);
        if batch.is_none() {
            self.attached = None;
        }
        batch.filter(|batch| !batch.is_empty())
    }

    async fn dispatch(
        &mut self,
        mut batch: Vec<Written>,
        orders: &mut mpsc::Receiver<Order>,
    ) -> io::Result<Step> {
        let swap_until = self.attached.as_ref().map_or(0, |attached| attached.swap_until);
        for pair in batch.chunks_exact_mut(2) {
            if pair[1].sequence <= swap_until {
                pair.swap(0, 1);
            }
        }
        for dispatch in &batch {
            if self.omit > 0 {
                self.omit -= 1;
            } else {
                self.write_dispatch(dispatch).await?;
            }
        }
        while let Ok(order) = orders.try_recv() {
            let step = self.obey(order).await?;
            if step.is_break() {
                return Ok(step);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Nothing waits: what was written goes out, and then the next order or event is awaited.
    async fn rest(&mut self, orders: &mut mpsc::Receiver<Order>) -> io::Result<Step> {
        self.sink.flush().await.map_err(io::Error::other)?;
        let wake = self.attached.as_ref().map(|attached| attached.wake.clone());
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(order) => self.obey(order).await,
                None => Ok(ControlFlow::Break(ConnectionEnd::Cut)),
            },
            () = woken(wake.as_deref()) => Ok(ControlFlow::Continue(())),
        }
    }

    async fn obey(&mut self, order: Order) -> io::Result<Step> {
        match order {
            Order::Text(text) => self.write(text.as_bytes()).await?,
            Order::Attach(attached) => self.attached = Some(attached),
            Order::Close(code) => return self.close(code).await,
            Order::Garbage(garbage) => self.garble(&garbage).await?,
            Order::Duplicate => {
                if let Some(dispatch) = self.newest_sent() {
                    self.write_dispatch(&dispatch).await?;
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    async fn close(&mut self, code: Option<u16>) -> io::Result<Step> {
        let frame = code.and_then(|code| CloseCode::try_from(code).ok());
        let reason = code.map_or("", close_reason);
        self.send(Message::close(frame.filter(|code| !code.is_reserved()), reason)).await?;
        self.sink.flush().await.map_err(io::Error::other)?;
        Ok(ControlFlow::Break(ConnectionEnd::Server { code }))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "garbage that the writer needs not know")]
    async fn garble(&mut self, what: &Garbage) -> io::Result<()> {
        let newest = self.newest_sent();
        match what {
            Garbage::Omit { count } => self.omit = self.omit.saturating_add(*count),
            Garbage::Split { messages } => self.messages = *messages,
            Garbage::BrokenCompression if self.encoder.is_compressed() => {
                self.send(Message::binary(garbage::NOISE)).await?;
            }
            Garbage::InvalidUtf8 if !self.encoder.is_compressed() => {
                self.send(Message::text(garbage::NO_UTF8.to_vec())).await?;
            }
            Garbage::SequenceRewind { by } => {
                if let Some(mut dispatch) = newest {
                    dispatch.sequence = dispatch.sequence.saturating_sub(*by);
                    self.write_dispatch(&dispatch).await?;
                }
            }
            _ if self.attached.as_ref().is_some_and(|own| garbage::into_session(what, own)) => {}
            _ => {
                let sequence = newest.map_or(0, |dispatch| dispatch.sequence);
                if let Some(payload) = garbage::payload(what, sequence) {
                    self.write(&payload).await?;
                }
            }
        }
        Ok(())
    }

    fn newest_sent(&self) -> Option<Written> {
        self.attached.as_ref().and_then(|attached| attached.shard.newest_sent(&attached.session))
    }

    async fn write_dispatch(&mut self, dispatch: &Written) -> io::Result<()> {
        let mut text = std::mem::take(&mut self.text);
        payload::dispatch(&mut text, dispatch.name, dispatch.sequence, &dispatch.data);
        let written = self.write(text.as_bytes()).await;
        text.shrink_to(TEXT_KEPT);
        self.text = text;
        written
    }

    async fn write(&mut self, payload: &[u8]) -> io::Result<()> {
        let message = self.encoder.encode(payload)?;
        match std::mem::replace(&mut self.messages, 1) {
            1 => self.send(message).await,
            messages => self.send_split(&message, messages).await,
        }
    }

    async fn send_split(&mut self, message: &Message, messages: usize) -> io::Result<()> {
        let bytes = message.as_payload();
        let messages = messages.min(bytes.len()).max(1);
        let text = message.is_text();
        for nth in 0..messages {
            let part =
                bytes[bytes.len() * nth / messages..bytes.len() * (nth + 1) / messages].to_vec();
            self.send(if text { Message::text(part) } else { Message::binary(part) }).await?;
        }
        Ok(())
    }

    async fn send(&mut self, message: Message) -> io::Result<()> {
        self.sink.feed(message).await.map_err(io::Error::other)
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("connection", &self.connection).finish_non_exhaustive()
    }
}

async fn woken(wake: Option<&Notify>) {
    match wake {
        Some(wake) => wake.notified().await,
        None => std::future::pending().await,
    }
}

/// Dispatches between two looks at the orders: control payloads never wait behind more.
const BATCH: usize = 64;

/// A connection keeps a buffer of this size between payloads.
const TEXT_KEPT: usize = 16 << 10;
