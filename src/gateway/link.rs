//! One twilight shard, used for one connection and no more.
//!
//! twilight reconnects by itself on the poll after a connection ended, at once and for ever. So it is polled until the
//! first sign of an end, and then dropped: how to go on is the [`ladder`](super::ladder)'s to say.
//!
//! At the end of a stream without a close frame twilight goes on to the next connection within the same poll, before
//! anybody can see it. That gets as far as the name look-up, or the SYN where the host is an address, and never to a
//! handshake: the shard is dropped on the return of that poll.
//!
//! What can't be bounded here: twilight sets no limit on a WebSocket frame and none on what a zstd frame inflates to,
//! so one hostile message can take memory before its size can be looked at. It comes over TLS from a host that is
//! trusted with the token, and what it inflated to is dropped with the connection.

use std::{
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, future};
use tokio::time::{Instant, timeout};
use twilight_gateway::{
    CloseFrame, Config, Message, Shard, ShardId, ShardState,
    error::{ReceiveMessageError, ReceiveMessageErrorType},
};

use super::gate::Gate;

/// What came from the socket.
#[derive(Debug)]
pub(super) enum Read {
    /// A payload.
    Text(String),
    /// A close frame with its code, or the end of the stream without one.
    Closed(Option<u16>),
    /// The connection could not be opened.
    NotConnected(String),
    /// A payload whose envelope twilight could not read. The connection goes on.
    Undecodable(String),
    /// The compressed stream is broken.
    Uninflatable,
    /// twilight panicked, on a frame length or a heartbeat interval that it can't count with.
    Panicked,
}

/// A connection to the gateway, from the first SYN to the last byte.
#[derive(Debug)]
pub(super) struct Link {
    shard: Shard<Gate>,
    opened: bool,
    closing: bool,
    ended: bool,
}

impl Link {
    pub(super) fn new(id: ShardId, config: Config<Gate>) -> Self {
        Self { shard: Shard::with_config(id, config), opened: false, closing: false, ended: false }
    }

    /// Reads what comes next. Also sends what is due: heartbeats, RESUME, IDENTIFY, commands.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        // A shard that panicked is never polled again, so no broken state is seen.
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.shard).poll_next(cx)));
        let connected = !matches!(self.shard.state(), ShardState::Disconnected { .. });
        let read = match polled {
            // At the end of a stream without a close frame twilight is silent and connects anew: its state tells.
            Ok(Poll::Pending) if self.opened && !connected && !self.closing => Read::Closed(None),
            Ok(Poll::Pending) => {
                self.opened |= connected;
                return Poll::Pending;
            }
            Ok(Poll::Ready(Some(Ok(Message::Text(json))))) => {
                self.opened = true;
                Read::Text(json)
            }
            Ok(Poll::Ready(Some(Ok(Message::Close(frame))))) => {
                Read::Closed(frame.map(|frame| frame.code))
            }
            Ok(Poll::Ready(Some(Err(error)))) => failed(error),
            Ok(Poll::Ready(None)) => Read::Closed(None),
            Err(_) => Read::Panicked,
        };
        self.ended |= matches!(read, Read::Closed(_) | Read::NotConnected(_) | Read::Panicked);
        Poll::Ready(read)
    }

    /// The session's id and resume URL, once twilight has read READY.
    pub(super) fn session(&self) -> Option<(&str, Option<&str>)> {
        self.shard.session().map(|session| (session.id(), self.shard.resume_url()))
    }

    /// Round trip of the last heartbeat.
    pub(super) fn latency(&self) -> Option<Duration> {
        self.shard.latency().recent().first().copied()
    }

    /// When Discord's rate limit has room for a command.
    pub(super) fn command_at(&self, now: Instant) -> Instant {
        match self.shard.ratelimiter() {
            Some(limiter) if limiter.available() == 0 => now + limiter.next_available(),
            Some(_) | None => now,
        }
    }

    /// Sends a command with the next poll.
    pub(super) fn send(&self, json: String) {
        self.shard.send(json);
    }

    /// Writes a close frame that keeps the session (4000), and waits up to `wait` for the answer.
    ///
    /// Every path out of here leads to a drop. A `wait` of zero polls once, which is enough to write the frame. Where
    /// there is no connection, or it has ended already, nothing is polled: twilight would open the next.
    pub(super) async fn close(mut self, wait: Duration) {
        if !self.opened || self.ended {
            return;
        }
        self.closing = true;
        self.shard.close(CloseFrame::RESUME);
        let answered = future::poll_fn(|cx| {
            loop {
                let read = match self.poll_read(cx) {
                    Poll::Ready(read) => read,
                    // Connected again: twilight lost the answer and went on by itself.
                    Poll::Pending if wait.is_zero() || self.has_reconnected() => {
                        return Poll::Ready(());
                    }
                    Poll::Pending => return Poll::Pending,
                };
                if !matches!(read, Read::Text(_) | Read::Undecodable(_)) {
                    return Poll::Ready(());
                }
            }
        });
        // Unanswered is as good: the session lives either way.
        drop(timeout(wait, answered).await);
    }

    /// Whether, after our close frame, twilight has opened another connection.
    fn has_reconnected(&self) -> bool {
        self.opened && matches!(self.shard.state(), ShardState::Identifying)
    }
}

fn failed(error: ReceiveMessageError) -> Read {
    if matches!(error.kind(), ReceiveMessageErrorType::Compression) {
        return Read::Uninflatable;
    }
    match error.into_parts() {
        (ReceiveMessageErrorType::Deserializing { event }, _) => Read::Undecodable(event),
        (_, source) => Read::NotConnected(source.map_or_else(String::new, |it| chain(it.as_ref()))),
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
