//! A TCP stream that can be made slow, silent or dead.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

/// A TCP stream whose behaviour its [`Valve`] decides.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    valve: Arc<Valve>,
    /// When a trickling stream may write its next byte.
    next_byte: Pin<Box<Sleep>>,
}

/// The behaviour of a [`Wire`], which may change at any time.
#[derive(Debug, Default)]
pub(super) struct Valve {
    /// Bytes a second that may be written; [`FREE`] where nothing holds them up.
    slowness: AtomicU32,
    deaf: AtomicBool,
    reset: AtomicBool,
    writer: AtomicWaker,
    reader: AtomicWaker,
    /// Bytes that came in.
    received: AtomicU64,
}

/// How fast a wire writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Flow {
    /// As fast as it can.
    Free,
    /// So many bytes a second.
    Trickle(u32),
    /// Not at all.
    Stalled,
}

/// [`Valve::slowness`] of a free wire; a stalled one has [`STALLED`].
const FREE: u32 = 0;
const STALLED: u32 = u32::MAX;

impl Valve {
    /// Sets how fast the wire writes.
    pub(super) fn set_flow(&self, flow: Flow) {
        let slowness = match flow {
            Flow::Free => FREE,
            Flow::Trickle(rate) => rate.clamp(1, STALLED - 1),
            Flow::Stalled => STALLED,
        };
        self.slowness.store(slowness, Ordering::Release);
        self.writer.wake();
    }

    /// Sets whether the wire reads nothing.
    pub(super) fn set_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::Release);
        self.reader.wake();
    }

    /// Makes the wire end with RST.
    pub(super) fn reset(&self) {
        self.reset.store(true, Ordering::Release);
    }

    /// Bytes that came in so far.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> (Self, Arc<Valve>) {
        let valve = Arc::new(Valve::default());
        let next_byte = Box::pin(sleep_until(Instant::now()));
        (Self { stream, valve: valve.clone(), next_byte }, valve)
    }

    /// How many bytes may be written, waiting until it is at least one.
    fn poll_allowance(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        self.valve.writer.register(cx.waker());
        match self.valve.slowness.load(Ordering::Acquire) {
            FREE => Poll::Ready(usize::MAX),
            STALLED => Poll::Pending,
            rate => {
                ready!(self.next_byte.as_mut().poll(cx));
                self.next_byte.as_mut().reset(Instant::now() + Duration::from_secs(1) / rate);
                Poll::Ready(1)
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.valve.reader.register(cx.waker());
        if self.valve.deaf.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let count = buffer.filled().len() - before;
        self.valve.received.fetch_add(count as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let allowed = ready!(self.poll_allowance(cx)).min(bytes.len());
        Pin::new(&mut self.stream).poll_write(cx, &bytes[..allowed])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let allowed = ready!(self.poll_allowance(cx));
        if allowed == usize::MAX {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        }
        let first = slices.iter().find(|slice| !slice.is_empty());
        let bytes = first.map_or(&[][..], |slice| slice);
        Pin::new(&mut self.stream).poll_write(cx, &bytes[..allowed.min(bytes.len())])
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.valve.reset.load(Ordering::Acquire) {
            // Where it fails the peer sees a FIN instead, which it must survive as well.
            let _ = self.stream.set_zero_linger();
        }
    }
}
