//! One connection to a peer after the hello: its streams, its age, its end.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Ended, Peer, Protocol, Stream,
    frame::{FrameReader, FrameWriter},
    hello::Purpose,
    limits::{BULK_STREAMS_MAX, CONTROL_STREAMS_MAX, MESSAGE_STREAMS_MAX},
    network::{Connection, Path},
    protocol::Class,
    shared::Shared,
};

/// Which of two connections to one peer is kept: the greater one, on both sides.
///
/// A restarted process makes everything before it void, so the boot epochs come first, the lower node's and then the
/// higher's. Then the serial, which the dialler sets above all that either has seen, so that a connection made on
/// purpose beside a living one wins. Two with one serial were dialled at the same moment from both sides: the lower
/// node's stays.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Rank {
    pub(super) boots: [u64; 2],
    pub(super) serial: u64,
    pub(super) by_lower: bool,
}

/// A connection whose hello is over.
pub(super) struct Link {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: Arc<dyn Connection>,
    pub(super) peer: Peer,
    pub(super) purpose: Purpose,
    pub(super) rank: Rank,
    pub(super) dialled: bool,
    /// Which of this node's leaves the peer has seen.
    pub(super) leaf_number: u64,
    pub(super) since: Instant,
    /// Another connection has taken this one's place.
    pub(super) retired: CancellationToken,
    opened: Places,
    served: Places,
    active: Arc<AtomicUsize>,
    misconduct: AtomicU64,
    _meeting: Option<OwnedSemaphorePermit>,
}

/// What the hello has settled.
pub(super) struct Settled {
    pub(super) peer: Peer,
    pub(super) purpose: Purpose,
    pub(super) rank: Rank,
    pub(super) dialled: bool,
    pub(super) leaf_number: u64,
    /// One of the places for connections that ask once.
    pub(super) meeting: Option<OwnedSemaphorePermit>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("node", &self.peer.node)
            .field("rank", &self.rank)
            .field("dialled", &self.dialled)
            .finish_non_exhaustive()
    }
}

/// How many streams one side may have at once, by class.
#[derive(Debug)]
struct Places {
    control: Arc<Semaphore>,
    messages: Arc<Semaphore>,
    bulk: Arc<Semaphore>,
}

impl Places {
    fn new() -> Self {
        Self {
            control: Arc::new(Semaphore::new(CONTROL_STREAMS_MAX)),
            messages: Arc::new(Semaphore::new(MESSAGE_STREAMS_MAX)),
            bulk: Arc::new(Semaphore::new(BULK_STREAMS_MAX)),
        }
    }

    fn of(&self, protocol: Protocol) -> Arc<Semaphore> {
        match protocol.class() {
            Class::Control => self.control.clone(),
            Class::Messages => self.messages.clone(),
            Class::Bulk => self.bulk.clone(),
        }
    }
}

/// A stream's place among those that may be open at once; while it is held, a retired connection stays.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    active: Arc<AtomicUsize>,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit, active: &Arc<AtomicUsize>) -> Self {
        active.fetch_add(1, SeqCst);
        Self { _permit: permit, active: active.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.active.fetch_sub(1, SeqCst);
    }
}

impl Link {
    pub(super) fn path(&self) -> Path {
        self.connection.path()
    }

    pub(super) fn new(
        shared: Arc<Shared>,
        connection: Arc<dyn Connection>,
        settled: Settled,
    ) -> Arc<Self> {
        Arc::new(Self {
            shared,
            connection,
            peer: settled.peer,
            purpose: settled.purpose,
            rank: settled.rank,
            dialled: settled.dialled,
            leaf_number: settled.leaf_number,
            since: Instant::now(),
            retired: CancellationToken::new(),
            opened: Places::new(),
            served: Places::new(),
            active: Arc::default(),
            misconduct: AtomicU64::new(0),
            _meeting: settled.meeting,
        })
    }

    /// Opens a stream, as soon as there is a place among those of its class.
    pub(super) async fn open(&self, protocol: Protocol) -> Result<Stream, Ended> {
        let closed = |_| Ended::ByUs;
        let permit = self.opened.of(protocol).acquire_owned().await.map_err(closed)?;
        let place = Place::new(permit, &self.active);
        let (send, receive) = self.connection.open().await?;
        let (max, tag) = (protocol.frame_max(), Some(protocol as u8));
        let writer = FrameWriter::new(send, tag, max, protocol.priority());
        Ok(Stream::new(protocol, writer, FrameReader::new(receive, max), place))
    }

    /// A place for a stream that the peer has opened; `None` if it has too many.
    pub(super) fn serve_place(&self, protocol: Protocol) -> Option<Place> {
        let permit = self.served.of(protocol).try_acquire_owned().ok()?;
        Some(Place::new(permit, &self.active))
    }

    /// Streams that are open in either direction.
    pub(super) fn active(&self) -> usize {
        self.active.load(SeqCst)
    }

    /// Counts one more stream that was turned away for the peer's fault.
    pub(super) fn misconduct(&self) -> u64 {
        self.misconduct.fetch_add(1, SeqCst) + 1
    }

    /// Whether streams can be opened on it.
    pub(super) fn is_usable(&self) -> bool {
        !self.retired.is_cancelled() && self.connection.has_ended().is_none()
    }
}
