//! The seam: what the transport needs of a network. QUIC is one, the simulated twin another.
//!
//! A network makes connections to nodes whose identity it has proven, and a connection opens and accepts streams.
//! Everything above (hello, peers, routing, frames, deadlines) is the same for both; time is tokio's.

use std::{
    fmt,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use rustls::pki_types::CertificateDer;
use tokio::sync::OwnedSemaphorePermit;

use crate::model::{NodeId, UnixMillis};

use super::{CloseCode, Ended, Identity, Porter, StreamError};

/// Whom a dialler wants to reach.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Target {
    /// This node and no other.
    Node(NodeId),
    /// Whoever holds a certificate of our authority.
    Anyone,
}

/// Who is at the other end, proven.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) identity: Identity,
    /// The certificate's end; none where there are no certificates.
    pub(super) not_after: Option<UnixMillis>,
    pub(super) chain: Vec<CertificateDer<'static>>,
}

pub(super) type Connected = Result<Arc<dyn Connection>, Ended>;

/// A handshake that someone else began.
pub(super) struct Arrival {
    pub(super) handshake: BoxFuture<'static, Connected>,
    /// One of the places for unfinished handshakes, held until the hello is over.
    pub(super) place: OwnedSemaphorePermit,
}

/// One node's place in a network.
pub(super) trait Network: fmt::Debug + Send + Sync + 'static {
    /// Where this node listens.
    fn address(&self) -> SocketAddr;

    /// Dials. Pending for ever where nobody answers: the caller has the deadline.
    fn connect(&self, address: SocketAddr, target: Target) -> BoxFuture<'static, Connected>;

    /// The next handshake; `None` once the network is closed.
    fn accept(&self) -> BoxFuture<'_, Option<Arrival>>;

    /// Handshakes of others that are under way.
    fn half_open(&self) -> usize;

    /// Lets joiners in that have no certificate, where the network knows certificates.
    fn open_door(&self, porter: Box<dyn Porter>) {
        drop(porter);
    }

    /// Closes every connection and lets go of the address.
    fn close(&self, reason: &'static str) -> BoxFuture<'_, ()>;
}

/// One connection.
pub(super) trait Connection: fmt::Debug + Send + Sync + 'static {
    /// Who is at the other end.
    fn holder(&self) -> &Holder;

    /// Where the other end is.
    fn remote(&self) -> SocketAddr;

    /// Opens a stream. Waits while the peer allows no more.
    fn open(&self) -> BoxFuture<'_, Result<Pipe, Ended>>;

    /// The next stream that the peer opens.
    fn accept(&self) -> BoxFuture<'_, Result<Pipe, Ended>>;

    /// How the way to the other end is.
    fn path(&self) -> Path;

    /// Closes at once. What is under way is lost.
    fn close(&self, code: CloseCode, reason: &str);

    /// Waits for the end.
    fn ended(&self) -> BoxFuture<'_, Ended>;

    /// The end, if it has come.
    fn has_ended(&self) -> Option<Ended>;
}

/// How the way to a peer is, over the life of a connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Path {
    /// The smoothed time there and back.
    pub round_trip: Duration,
    /// Packets that were sent.
    pub sent: u64,
    /// Those of them that were taken for lost.
    pub lost: u64,
}

/// Both directions of a stream.
pub(super) type Pipe = (Box<dyn SendHalf>, Box<dyn ReceiveHalf>);

/// The direction to the peer. Dropped unfinished, it must look reset to the peer; [`super::Sender`] sees to that.
pub(super) trait SendHalf: Send + 'static {
    /// Takes some bytes.
    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, StreamError>>;

    /// The peer sees the end after what was written.
    fn finish(&mut self);

    /// The peer sees `code` instead of the rest.
    fn reset(&mut self, code: u32);

    /// The higher one's bytes leave first.
    fn prioritise(&mut self, priority: i32);
}

/// The direction from the peer.
pub(super) trait ReceiveHalf: Send + 'static {
    /// Some bytes; 0 at the stream's end.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, StreamError>>;

    /// No more is wanted; the peer sees `code`.
    fn stop(&mut self, code: u32);
}
