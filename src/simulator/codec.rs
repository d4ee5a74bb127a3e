//! Transport compression: one context for a connection, one message for a payload.

use std::io;

use flate2::{Compress, FlushCompress, Status};
use tokio_websockets::Message;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, zstd_sys::ZSTD_EndDirective};

use super::session::Compression;

/// Turns payloads into messages.
pub(super) enum Encoder {
    Plain,
    /// `zlib-stream`: every message ends with `00 00 ff ff`.
    Zlib(Box<Compress>),
    /// `zstd-stream`: the frame never ends.
    Zstd(CCtx<'static>),
}

impl Encoder {
    pub(super) fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain,
            Compression::Zlib => {
                Self::Zlib(Box::new(Compress::new(flate2::Compression::fast(), true)))
            }
            Compression::Zstd => {
                let mut context = CCtx::create();
                let fast = CParameter::CompressionLevel(1);
                context.set_parameter(fast).map_err(zstd_error)?;
                let small = CParameter::WindowLog(WINDOW_LOG);
                context.set_parameter(small).map_err(zstd_error)?;
                Self::Zstd(context)
            }
        })
    }

    /// The message that carries `payload`.
    pub(super) fn encode(&mut self, payload: &[u8]) -> io::Result<Message> {
        match self {
            Self::Plain => Ok(Message::text(payload.to_vec())),
            Self::Zlib(context) => deflate(context, payload).map(Message::binary),
            Self::Zstd(context) => compress(context, payload).map(Message::binary),
        }
    }

    /// Whether payloads are compressed.
    pub(super) const fn is_compressed(&self) -> bool {
        !matches!(self, Self::Plain)
    }
}

fn compress(context: &mut CCtx<'_>, payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut output: Vec<u8> = Vec::with_capacity(payload.len() / 2 + SLACK);
    let mut input = InBuffer::around(payload);
    loop {
        let written = output.len();
        let mut buffer = OutBuffer::around_pos(&mut output, written);
        let left = context
            .compress_stream2(&mut buffer, &mut input, ZSTD_EndDirective::ZSTD_e_flush)
            .map_err(zstd_error)?;
        if left == 0 && input.pos == payload.len() {
            return Ok(output);
        }
        output.reserve(left.max(SLACK));
    }
}

fn deflate(context: &mut Compress, payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut output: Vec<u8> = Vec::with_capacity(payload.len() / 2 + SLACK);
    let start = context.total_in();
    loop {
        let read = usize::try_from(context.total_in() - start).map_err(io::Error::other)?;
        let status = context
            .compress_vec(&payload[read..], &mut output, FlushCompress::Sync)
            .map_err(io::Error::other)?;
        let done = context.total_in() - start == payload.len() as u64;
        // Room that is left over says that the flush is complete.
        if done && (output.len() < output.capacity() || status == Status::BufError) {
            return Ok(output);
        }
        output.reserve(output.len().max(SLACK));
    }
}

fn zstd_error(code: usize) -> io::Error {
    io::Error::other(zstd_safe::get_error_name(code))
}

/// Room for a small payload's frame.
const SLACK: usize = 256;

/// A window of 128 KiB: payloads repeat themselves nearby, and a context costs each connection about half a megabyte
/// instead of four.
const WINDOW_LOG: u32 = 17;

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};
    use zstd_safe::DCtx;

    use super::*;

    fn payloads() -> Vec<String> {
        (0..50usize)
            .map(|n| format!("{{\"n\":{n},\"text\":\"{}\"}}", "abcß".repeat(n * n)))
            .collect()
    }

    #[test]
    fn zstd_messages_each_inflate_to_their_payload() {
        let mut encoder = Encoder::new(Compression::Zstd).unwrap();
        let mut context = DCtx::create();

        for payload in payloads() {
            let message = encoder.encode(payload.as_bytes()).unwrap();

            let mut output: Vec<u8> = Vec::with_capacity(payload.len() + 64);
            let mut buffer = OutBuffer::around(&mut output);
            let mut input = InBuffer::around(message.as_payload());
            while input.pos < message.as_payload().len() {
                context.decompress_stream(&mut buffer, &mut input).unwrap();
            }
            assert_eq!(output, payload.as_bytes());
        }
    }

    #[test]
    fn zlib_messages_each_inflate_to_their_payload_and_end_with_the_suffix() {
        let mut encoder = Encoder::new(Compression::Zlib).unwrap();
        let mut context = Decompress::new(true);

        for payload in payloads() {
            let message = encoder.encode(payload.as_bytes()).unwrap();

            let mut output = Vec::with_capacity(payload.len() + 64);
            context
                .decompress_vec(message.as_payload(), &mut output, FlushDecompress::Sync)
                .unwrap();
            assert_eq!(output, payload.as_bytes());
            assert!(message.as_payload().ends_with(&[0, 0, 0xff, 0xff]));
        }
    }
}
