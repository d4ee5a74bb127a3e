//! Frames on a stream: a length of four bytes, big end first, and that many bytes.

use std::{future::poll_fn, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::time::timeout;

use super::{
    Refused, StreamError,
    limits::{FRAME, READ_CHUNK, READ_CHUNK_MIN},
    network::{ReceiveHalf, SendHalf},
};

/// The bytes of a frame's length.
const HEADER: usize = 4;

/// The receiving half of a stream, frame by frame.
pub(super) struct FrameReader {
    half: Box<dyn ReceiveHalf>,
    buffer: BytesMut,
    max: usize,
    over: bool,
}

impl FrameReader {
    pub(super) fn new(half: Box<dyn ReceiveHalf>, max: usize) -> Self {
        Self { half, buffer: BytesMut::new(), max, over: false }
    }

    pub(super) const fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// The first byte of a stream; `None` where there is none.
    pub(super) async fn byte(&mut self, within: Duration) -> Result<Option<u8>, StreamError> {
        let filled = timeout(within, self.fill(1)).await.map_err(|_| StreamError::Late)??;
        Ok(filled.then(|| self.buffer.get_u8()))
    }

    /// The next frame, or `None` at the stream's end. Waits up to `within`; a frame that has begun must be whole
    /// within [`FRAME`]. A wait that is dropped loses nothing.
    pub(super) async fn next(&mut self, within: Duration) -> Result<Option<Bytes>, StreamError> {
        let read = match timeout(within, self.read()).await {
            Ok(read) => read,
            Err(_) => Err(StreamError::Late),
        };
        match &read {
            Err(StreamError::TooLarge { .. }) => self.stop(Refused::TooLarge),
            Err(StreamError::Late) => self.stop(Refused::Late),
            _ => {}
        }
        read
    }

    async fn read(&mut self) -> Result<Option<Bytes>, StreamError> {
        if !self.fill(1).await? {
            return Ok(None);
        }
        timeout(FRAME, self.rest()).await.map_err(|_| StreamError::Late)?.map(Some)
    }

    async fn rest(&mut self) -> Result<Bytes, StreamError> {
        if !self.fill(HEADER).await? {
            return Err(StreamError::Truncated);
        }
        let length =
            u32::from_be_bytes([self.buffer[0], self.buffer[1], self.buffer[2], self.buffer[3]])
                as usize;
        if length > self.max {
            return Err(StreamError::TooLarge { length, max: self.max });
        }
        if !self.fill(HEADER + length).await? {
            return Err(StreamError::Truncated);
        }
        self.buffer.advance(HEADER);
        Ok(self.buffer.split_to(length).freeze())
    }

    /// Reads until `wanted` bytes are there; false if the stream ends before. Memory follows the bytes that have
    /// arrived, not the length that was announced.
    async fn fill(&mut self, wanted: usize) -> Result<bool, StreamError> {
        while self.buffer.len() < wanted {
            if self.over {
                return Ok(false);
            }
            let have = self.buffer.len();
            let room = (wanted - have).clamp(READ_CHUNK_MIN, READ_CHUNK);
            let read = poll_fn(|context| {
                self.buffer.resize(have + room, 0);
                let read = self.half.poll_read(context, &mut self.buffer[have..]);
                let got = match &read {
                    std::task::Poll::Ready(Ok(got)) => *got,
                    _ => 0,
                };
                self.buffer.truncate(have + got);
                read
            })
            .await?;
            self.over = read == 0;
        }
        Ok(true)
    }

    pub(super) fn stop(&mut self, why: Refused) {
        self.over = true;
        self.half.stop(why as u32);
    }
}

/// The sending half of a stream, frame by frame.
pub(super) struct FrameWriter {
    half: Box<dyn SendHalf>,
    /// The stream's first byte, until it is sent.
    tag: Option<u8>,
    max: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Between frames.
    Whole,
    /// Within a frame: if that is where it ends, the peer must not think that it got everything.
    Within,
    /// Finished or reset.
    Over,
}

impl FrameWriter {
    pub(super) fn new(
        mut half: Box<dyn SendHalf>,
        tag: Option<u8>,
        max: usize,
        priority: i32,
    ) -> Self {
        half.prioritise(priority);
        Self { half, tag, max, state: State::Whole }
    }

    pub(super) fn set(&mut self, max: usize, priority: i32) {
        self.max = max;
        self.half.prioritise(priority);
    }

    pub(super) async fn send(&mut self, bytes: &[u8], within: Duration) -> Result<(), StreamError> {
        let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= self.max);
        let Some(length) = length else {
            return Err(StreamError::TooLarge { length: bytes.len(), max: self.max });
        };
        if self.state != State::Whole {
            return Err(StreamError::Truncated);
        }
        let mut frame = BytesMut::with_capacity(1 + HEADER + bytes.len());
        frame.extend(self.tag.take());
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(bytes);
        self.write(&frame, within).await
    }

    async fn write(&mut self, bytes: &[u8], within: Duration) -> Result<(), StreamError> {
        self.state = State::Within;
        let written = timeout(within, async {
            let mut rest = bytes;
            while !rest.is_empty() {
                let taken = poll_fn(|context| self.half.poll_write(context, rest)).await?;
                rest = &rest[taken..];
            }
            Ok(())
        });
        match written.await {
            Ok(Ok(())) => {
                self.state = State::Whole;
                Ok(())
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                self.reset(Refused::Late);
                Err(StreamError::Late)
            }
        }
    }

    pub(super) fn finish(&mut self) {
        if self.state == State::Whole {
            self.state = State::Over;
            self.half.finish();
        }
    }

    pub(super) fn reset(&mut self, why: Refused) {
        if self.state != State::Over {
            self.state = State::Over;
            self.half.reset(why as u32);
        }
    }
}

impl Drop for FrameWriter {
    /// QUIC would finish a stream that is dropped, and a request that was given up would look whole.
    fn drop(&mut self) {
        self.reset(Refused::GivenUp);
    }
}
