//! One QUIC connection and its streams, as the transport sees them.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::{BoxFuture, FutureExt as _};
use quinn::{ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError};
use rustls::pki_types::CertificateDer;

use super::{
    CloseCode, Ended, Refused, StreamError,
    network::{Connected, Connection, Holder, Path, Pipe, ReceiveHalf, SendHalf},
    tls,
};

#[derive(Debug)]
pub(super) struct QuicConnection {
    connection: quinn::Connection,
    holder: Holder,
}

impl QuicConnection {
    /// A connection whose peer the handshake has proven.
    pub(super) fn take(connection: quinn::Connection) -> Connected {
        let unproven = |reason: String| Ended::Handshake { reason };
        let chain = connection.peer_identity();
        let chain = chain.and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
        let chain = *chain.ok_or_else(|| unproven("the peer has no certificate".to_owned()))?;
        let leaf =
            chain.first().ok_or_else(|| unproven("the peer has no certificate".to_owned()))?;
        let leaf = tls::inspect(leaf).map_err(|refusal| unproven(refusal.to_string()))?;
        let holder = Holder { identity: leaf.identity, not_after: Some(leaf.not_after), chain };
        Ok(Arc::new(Self { connection, holder }))
    }
}

impl Connection for QuicConnection {
    fn holder(&self) -> &Holder {
        &self.holder
    }

    fn remote(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    fn path(&self) -> Path {
        let path = self.connection.stats().path;
        Path { round_trip: path.rtt, sent: path.sent_packets, lost: path.lost_packets }
    }

    fn open(&self) -> BoxFuture<'_, Result<Pipe, Ended>> {
        let opened = self.connection.open_bi();
        async move { opened.await.map(pipe).map_err(|error| ended(&error)) }.boxed()
    }

    fn accept(&self) -> BoxFuture<'_, Result<Pipe, Ended>> {
        let accepted = self.connection.accept_bi();
        async move { accepted.await.map(pipe).map_err(|error| ended(&error)) }.boxed()
    }

    fn close(&self, code: CloseCode, reason: &str) {
        self.connection.close(VarInt::from_u32(code as u32), reason.as_bytes());
    }

    fn ended(&self) -> BoxFuture<'_, Ended> {
        async move { ended(&self.connection.closed().await) }.boxed()
    }

    fn has_ended(&self) -> Option<Ended> {
        self.connection.close_reason().map(|error| ended(&error))
    }
}

fn pipe((send, receive): (SendStream, RecvStream)) -> Pipe {
    (Box::new(send), Box::new(receive))
}

impl SendHalf for SendStream {
    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        Self::poll_write(Pin::new(self), context, bytes).map_err(|error| match error {
            WriteError::Stopped(code) => Refused::from_code(code.into_inner()).into(),
            WriteError::ConnectionLost(error) => ended(&error).into(),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => StreamError::Truncated,
        })
    }

    fn finish(&mut self) {
        // A stream that is over already is as finished as it can be.
        let _ = Self::finish(self);
    }

    fn reset(&mut self, code: u32) {
        let _ = Self::reset(self, VarInt::from_u32(code));
    }

    fn prioritise(&mut self, priority: i32) {
        let _ = self.set_priority(priority);
    }
}

impl ReceiveHalf for RecvStream {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, StreamError>> {
        Self::poll_read(self, context, buffer).map_err(|error| match error {
            ReadError::Reset(code) => Refused::from_code(code.into_inner()).into(),
            ReadError::ConnectionLost(error) => ended(&error).into(),
            ReadError::ClosedStream
            | ReadError::IllegalOrderedRead
            | ReadError::ZeroRttRejected => StreamError::Truncated,
        })
    }

    fn stop(&mut self, code: u32) {
        let _ = Self::stop(self, VarInt::from_u32(code));
    }
}

/// How a connection ended, in our words.
pub(super) fn ended(error: &ConnectionError) -> Ended {
    match error {
        ConnectionError::ApplicationClosed(close) => Ended::ByPeer {
            code: close.error_code.into_inner(),
            reason: String::from_utf8_lossy(&close.reason).escape_debug().to_string(),
        },
        ConnectionError::LocallyClosed => Ended::ByUs,
        ConnectionError::TimedOut => Ended::Silent,
        ConnectionError::TransportError(error) => Ended::Handshake { reason: error.to_string() },
        // Before the handshake is over the peer's refusal comes as an alert.
        ConnectionError::ConnectionClosed(close) => {
            Ended::Handshake { reason: format!("refused by the peer: {close}") }
        }
        ConnectionError::Reset
        | ConnectionError::VersionMismatch
        | ConnectionError::CidsExhausted => Ended::Failed { reason: error.to_string() },
    }
}
