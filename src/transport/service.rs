//! The face of the transport: start it, name peers, register handlers, ask.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::{
    sync::{Semaphore, watch},
    time::{timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::model::{BootEpoch, Format, NodeId};

use super::{
    Addresses, CloseCode, Counters, Ended, Handler, Options, Path, Peer, Porter, Protocol,
    StartError, Stream, StreamError, TransportError, allowed, dial,
    limits::{MEETINGS_MAX, STOP},
    link::Link,
    peer::Slot,
    shared::Shared,
};

/// One node's way to all others. Cheap to clone; it lives until [`Transport::stop`].
#[derive(Clone)]
pub struct Transport {
    shared: Arc<Shared>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl Transport {
    /// Listens, and waits for peers to be named.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub fn start(options: Options) -> Result<Self, StartError> {
        let counters = Arc::new(Counters::default());
        let medium = options.medium.open(&counters, &options.timings)?;
        let shared = Arc::new(Shared {
            identity: medium.identity,
            boot: options.boot,
            process: rand::random(),
            local: options.local,
            build: options.build,
            profile: options.profile,
            timings: options.timings,
            network: medium.network,
            credentials: medium.credentials,
            router: super::router::Router::default(),
            counters,
            meetings: Arc::new(Semaphore::new(MEETINGS_MAX)),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            seed: options.seed,
            peers: Mutex::new(BTreeMap::new()),
        });
        shared.spawn(dial::listen(shared.clone()));
        Ok(Self { shared })
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> &super::Identity {
        &self.shared.identity
    }

    /// Which start of the node this is.
    #[must_use]
    pub fn boot(&self) -> BootEpoch {
        self.shared.boot
    }

    /// Where this node listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.network.address()
    }

    /// What has been counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Handshakes of others that are under way, at most [`limits::HALF_OPEN_MAX`](super::limits::HALF_OPEN_MAX).
    #[must_use]
    pub fn half_open(&self) -> usize {
        self.shared.network.half_open()
    }

    /// Names a peer and says where it may be. It is kept connected from now on. A peer that is named again is looked
    /// for at the new addresses.
    pub fn peer(&self, node: NodeId, addresses: impl Into<Addresses>) {
        let Some(slot) = self.shared.slot(node) else { return };
        if slot.locate(addresses.into()) {
            self.shared.spawn(dial::keep(self.shared.clone(), slot));
        }
    }

    /// No longer dials a peer, and lets go of its connection.
    pub fn forget(&self, node: NodeId) {
        if let Some(slot) = self.shared.known(node) {
            slot.forget();
        }
    }

    /// Whether a peer is connected, and as whom. `None` for a node that was never named or seen.
    #[must_use]
    pub fn watch(&self, node: NodeId) -> Option<watch::Receiver<Option<Peer>>> {
        self.shared.known(node).map(|slot| slot.peers())
    }

    /// All peers that are connected.
    #[must_use]
    pub fn connected(&self) -> Vec<Peer> {
        let peers = self.shared.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.values().filter_map(|slot| slot.peers().borrow().clone()).collect()
    }

    /// The newest format that this node lets the cluster write, and that each peer does which is connected.
    #[must_use]
    pub fn allowed_formats(&self) -> BTreeMap<NodeId, Format> {
        let own = (self.shared.identity.node, self.shared.local.formats().allows);
        let peers = self.connected().into_iter().map(|peer| (peer.node, peer.allows));
        peers.chain([own]).collect()
    }

    /// How the way to each peer is that is connected.
    #[must_use]
    pub fn paths(&self) -> Vec<(NodeId, Path)> {
        let peers = self.shared.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let links = peers.iter().filter_map(|(node, slot)| Some((*node, slot.link()?.path())));
        links.collect()
    }

    /// Serves `protocol` with `handler` from now on.
    pub fn register(&self, protocol: Protocol, handler: impl Handler) {
        self.shared.router.register(protocol, Box::new(handler));
    }

    /// Turns away the streams for which `bar` says so, whatever the peer's role allows.
    pub fn bar(&self, bar: impl Fn(NodeId, Protocol) -> bool + Send + Sync + 'static) {
        self.shared.router.bar(Box::new(bar));
    }

    /// Has `porter` answer joiners that have no certificate yet. Until then they are turned away.
    pub fn open_door(&self, porter: impl Porter) {
        self.shared.network.open_door(Box::new(porter));
    }

    /// Sends one frame and waits for one, on a stream of their own.
    ///
    /// # Errors
    ///
    /// [`TransportError`], within the deadline: it covers the wait for a connection too.
    pub async fn request(
        &self,
        node: NodeId,
        protocol: Protocol,
        request: &[u8],
        within: Duration,
    ) -> Result<Bytes, TransportError> {
        let slot = self.slot_for(node, protocol)?;
        if request.len() > protocol.frame_max() {
            let (length, max) = (request.len(), protocol.frame_max());
            return Err(TransportError::TooLarge { length, max });
        }
        let deadline = tokio::time::Instant::now() + within;
        let stream = timeout_at(deadline, self.open_on(&slot, protocol)).await;
        let stream = stream.map_err(|_| unreachable_because(&slot))??;
        match timeout_at(deadline, ask(stream, request, within)).await {
            Ok(answered) => answered.map_err(|error| on_the_way(node, within, error)),
            Err(_) => Err(TransportError::Late { node, within }),
        }
    }

    /// Opens a stream for more than one frame each way. The peer learns of it with the first frame; until then nothing has
    /// left this node.
    ///
    /// # Errors
    ///
    /// [`TransportError`], within the deadline.
    pub async fn open(
        &self,
        node: NodeId,
        protocol: Protocol,
        within: Duration,
    ) -> Result<Stream, TransportError> {
        let slot = self.slot_for(node, protocol)?;
        let opened = timeout(within, self.open_on(&slot, protocol)).await;
        opened.map_err(|_| unreachable_because(&slot))?
    }

    /// Makes a new connection to a peer beside the present one, which it replaces without losing a request: for when
    /// the present one seems stuck.
    pub fn refresh(&self, node: NodeId) {
        if let Some(slot) = self.shared.known(node) {
            let shared = self.shared.clone();
            self.shared.spawn(async move { dial::refresh(&shared, &slot).await });
        }
    }

    /// Connects to whoever is at `address`, to ask to join, or who it is. It need not be named, and does not become a
    /// peer.
    ///
    /// # Errors
    ///
    /// How the attempt ended.
    pub async fn meet(&self, address: SocketAddr, within: Duration) -> Result<Meeting, Ended> {
        let met = timeout(within, dial::meet(&self.shared, address)).await;
        let silent = |_| Ended::Failed { reason: format!("no answer from {address}") };
        Ok(Meeting { link: met.map_err(silent)?? })
    }

    /// Closes all connections, tells the peers, and lets go of the port.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        let closed = timeout(STOP, async {
            self.shared.network.close("the node stops").await;
            self.shared.tasks.close();
            self.shared.tasks.wait().await;
        });
        if closed.await.is_err() {
            tracing::warn!("the transport's tasks did not end in time");
        }
        self.shared.router.clear();
        let mut peers = self.shared.peers.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in std::mem::take(&mut *peers).into_values() {
            slot.clear();
        }
    }

    fn slot_for(&self, node: NodeId, protocol: Protocol) -> Result<Arc<Slot>, TransportError> {
        if !allowed(self.shared.identity.role, protocol) {
            return Err(TransportError::NotAllowed { protocol });
        }
        if self.shared.stop.is_cancelled() {
            return Err(TransportError::Stopping);
        }
        self.shared.known(node).ok_or(TransportError::Unknown { node })
    }

    /// A stream on the connection of the moment, or on the next one. Nothing has been sent on it.
    async fn open_on(&self, slot: &Slot, protocol: Protocol) -> Result<Stream, TransportError> {
        loop {
            let link = tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => return Err(TransportError::Stopping),
                link = slot.wait_for(|link| link.is_some_and(|link| link.is_usable())) => link,
            };
            let Some(link) = link else { continue };
            let opened = tokio::select! {
                biased;
                opened = link.open(protocol) => opened,
                () = link.retired.cancelled() => continue,
                ended = link.connection.ended() => Err(ended),
            };
            if let Ok(stream) = opened {
                return Ok(stream);
            }
            // The connection is over: its guard is about to say so.
            slot.wait_for(|next| next.is_none_or(|next| !Arc::ptr_eq(next, &link))).await;
        }
    }
}

/// A connection to someone at an address, to ask something once.
#[derive(Debug)]
pub struct Meeting {
    link: Arc<Link>,
}

impl Meeting {
    /// Who is there.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.link.peer
    }

    /// Who is there, as its certificate says: the cluster too.
    #[must_use]
    pub fn identity(&self) -> super::Identity {
        self.link.connection.holder().identity
    }

    /// Asks on the join protocol, the only one that is served here.
    ///
    /// # Errors
    ///
    /// [`TransportError`], within the deadline.
    pub async fn ask(&self, request: &[u8], within: Duration) -> Result<Bytes, TransportError> {
        let node = self.link.peer.node;
        let asked = async {
            let stream = self.link.open(Protocol::Join).await.map_err(StreamError::Ended)?;
            ask(stream, request, within).await
        };
        match timeout(within, asked).await {
            Ok(answered) => answered.map_err(|error| on_the_way(node, within, error)),
            Err(_) => Err(TransportError::Late { node, within }),
        }
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        self.link.connection.close(CloseCode::Superseded, "all was said");
    }
}

async fn ask(mut stream: Stream, request: &[u8], within: Duration) -> Result<Bytes, StreamError> {
    if let Err(error) = stream.send(request, within).await {
        // A peer that turns a stream away says why in both directions, and one of them is read here.
        return Err(refusal(&mut stream, within).await.unwrap_or(error));
    }
    stream.finish();
    let answer = stream.receive(within).await?.ok_or(StreamError::Truncated)?;
    // The stream's end has usually come with the frame: seen, it needs no word from us.
    let _end = stream.receive(within).now_or_never();
    Ok(answer)
}

async fn refusal(stream: &mut Stream, within: Duration) -> Option<StreamError> {
    stream.receive(within).await.err().filter(|error| matches!(error, StreamError::Refused(_)))
}

fn unreachable_because(slot: &Slot) -> TransportError {
    TransportError::Unreachable { node: slot.node, last: slot.last_failure() }
}

fn on_the_way(node: NodeId, within: Duration, error: StreamError) -> TransportError {
    match error {
        StreamError::Refused(reason) => TransportError::Refused { node, reason },
        StreamError::Late => TransportError::Late { node, within },
        StreamError::TooLarge { .. } | StreamError::Ended(_) | StreamError::Truncated => {
            TransportError::Lost { node, reason: error }
        }
    }
}
