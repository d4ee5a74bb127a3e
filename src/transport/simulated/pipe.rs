//! One direction of a simulated stream.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Buf as _, Bytes};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::transport::{
    Ended, Refused, StreamError,
    limits::STREAM_WINDOW,
    network::{ReceiveHalf, SendHalf},
    shown::Shown,
};

use super::SimulatedNetwork;

#[derive(Debug)]
pub(super) struct Channel {
    network: SimulatedNetwork,
    from: SocketAddr,
    to: SocketAddr,
    /// Whether the connection is over, for the writer and for the reader.
    ended: [Arc<Shown<Option<Ended>>>; 2],
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is on its way, and when it arrives.
    way: VecDeque<(Instant, Item)>,
    bytes: usize,
    stopped: Option<u32>,
    writer: Option<Waker>,
    reader: Option<Waker>,
}

#[derive(Debug)]
enum Item {
    Bytes(Bytes),
    Finish,
    Reset(u32),
}

impl Channel {
    pub(super) fn new(
        network: SimulatedNetwork,
        from: SocketAddr,
        to: SocketAddr,
        ended: [Arc<Shown<Option<Ended>>>; 2],
    ) -> Arc<Self> {
        Arc::new(Self { network, from, to, ended, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wake(&self) {
        let mut state = self.state();
        let wakers = [state.writer.take(), state.reader.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn push(&self, item: Item) {
        let due = Instant::now() + self.network.transit(self.from, self.to);
        let mut state = self.state();
        // A stream keeps its order.
        let due = state.way.back().map_or(due, |(last, _)| due.max(*last));
        if let Item::Bytes(bytes) = &item {
            state.bytes += bytes.len();
        }
        state.way.push_back((due, item));
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// Both ends of a channel.
pub(super) fn ends(channel: Arc<Channel>) -> (SimulatedSend, SimulatedReceive) {
    (
        SimulatedSend { channel: channel.clone(), over: false },
        SimulatedReceive { channel, sleep: None, over: false },
    )
}

pub(super) struct SimulatedSend {
    channel: Arc<Channel>,
    over: bool,
}

impl SendHalf for SimulatedSend {
    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        if let Some(ended) = self.channel.ended[0].get() {
            return Poll::Ready(Err(ended.into()));
        }
        let mut state = self.channel.state();
        if let Some(code) = state.stopped {
            return Poll::Ready(Err(Refused::from_code(code.into()).into()));
        }
        let room = (STREAM_WINDOW as usize).saturating_sub(state.bytes);
        if room == 0 {
            state.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        let taken = room.min(bytes.len());
        self.channel.push(Item::Bytes(Bytes::copy_from_slice(&bytes[..taken])));
        Poll::Ready(Ok(taken))
    }

    fn finish(&mut self) {
        if !std::mem::replace(&mut self.over, true) {
            self.channel.push(Item::Finish);
        }
    }

    fn reset(&mut self, code: u32) {
        if !std::mem::replace(&mut self.over, true) {
            self.channel.push(Item::Reset(code));
        }
    }

    fn prioritise(&mut self, _priority: i32) {}
}

pub(super) struct SimulatedReceive {
    channel: Arc<Channel>,
    sleep: Option<Pin<Box<Sleep>>>,
    over: bool,
}

impl SimulatedReceive {
    /// Ready once the first thing on its way has arrived.
    fn poll_arrival(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.channel.state();
        state.reader = Some(context.waker().clone());
        let Some((due, _)) = state.way.front() else { return Poll::Pending };
        let due = *due;
        drop(state);
        if self.channel.network.is_blocked(self.channel.from, self.channel.to) {
            return Poll::Pending;
        }
        if due <= Instant::now() {
            return Poll::Ready(());
        }
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() != due {
            sleep.as_mut().reset(due);
        }
        sleep.as_mut().poll(context)
    }
}

impl ReceiveHalf for SimulatedReceive {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, StreamError>> {
        if self.over {
            return Poll::Ready(Ok(0));
        }
        if let Some(ended) = self.channel.ended[1].get() {
            return Poll::Ready(Err(ended.into()));
        }
        if self.poll_arrival(context).is_pending() {
            return Poll::Pending;
        }
        let mut state = self.channel.state();
        let read = match state.way.front_mut() {
            None => return Poll::Pending,
            Some((_, Item::Finish)) => {
                self.over = true;
                Ok(0)
            }
            Some((_, Item::Reset(code))) => Err(Refused::from_code((*code).into()).into()),
            Some((_, Item::Bytes(bytes))) => {
                let read = bytes.len().min(buffer.len());
                bytes.copy_to_slice(&mut buffer[..read]);
                if bytes.is_empty() {
                    state.way.pop_front();
                }
                state.bytes -= read;
                Ok(read)
            }
        };
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        Poll::Ready(read)
    }

    fn stop(&mut self, code: u32) {
        let mut state = self.channel.state();
        state.stopped.get_or_insert(code);
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}

impl Drop for SimulatedReceive {
    fn drop(&mut self) {
        if !self.over {
            self.stop(0);
        }
    }
}
