//! Nodes, their authority, and waits with a deadline.

pub(crate) mod load;
pub(crate) mod raw;
pub(crate) mod relay;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use apolo::{
    model::{BootEpoch, ClusterId, NodeId, UnixMillis},
    transport::{
        Authority, Credentials, Identity, Options, Peer, Protocol, Timings, Transport,
        TransportError, answer,
    },
};
use bytes::Bytes;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

pub(crate) const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(0xa901));

/// Longer than a busy machine takes for anything here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// A free port on loopback.
pub(crate) fn anywhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

pub(crate) fn server(node: u64) -> Identity {
    Identity::server(CLUSTER, NodeId(node))
}

/// An authority in a directory of its own.
pub(crate) struct Ca {
    pub(crate) directory: TempDir,
    pub(crate) authority: Authority,
}

pub(crate) fn ca() -> Ca {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ca");
    let authority = Authority::create(&path, UnixMillis::now()).expect("an authority");
    Ca { directory, authority }
}

impl Ca {
    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("ca")
    }

    pub(crate) fn credentials(&self, identity: &Identity, lifetime: Duration) -> Arc<Credentials> {
        let leaf = self.authority.mint(identity, lifetime, UnixMillis::now()).expect("a leaf");
        Credentials::new(leaf, self.authority.roots().expect("roots")).expect("credentials")
    }

    pub(crate) fn options(&self, node: u64, boot: u64) -> Options {
        let mut options =
            Options::quic(anywhere(), self.credentials(&server(node), HOUR), BootEpoch(boot));
        options.timings = calm();
        options
    }

    /// A node that echoes on every protocol.
    pub(crate) fn node(&self, node: u64, boot: u64) -> Transport {
        start(self.options(node, boot))
    }
}

/// Spans at which a busy machine loses no connection.
pub(crate) fn calm() -> Timings {
    Timings {
        idle: Duration::from_secs(30),
        keep_alive: Duration::from_secs(2),
        connect: Duration::from_secs(10),
        handshake: Duration::from_secs(20),
        ..Timings::default()
    }
}

pub(crate) fn start(options: Options) -> Transport {
    let transport = Transport::start(options).expect("a transport");
    for protocol in Protocol::ALL {
        transport.register(protocol, answer(echo));
    }
    transport
}

pub(crate) async fn echo(_peer: Peer, request: Bytes) -> Result<Bytes, apolo::transport::Refused> {
    Ok(request)
}

/// Both know each other's address.
pub(crate) fn introduce(one: (&Transport, u64), other: (&Transport, u64)) {
    one.0.peer(NodeId(other.1), other.0.address());
    other.0.peer(NodeId(one.1), one.0.address());
}

pub(crate) async fn ask(transport: &Transport, node: u64) -> Result<Bytes, TransportError> {
    transport.request(NodeId(node), Protocol::Raft, b"hello", PATIENCE).await
}

/// The peer as `transport` sees it, once it is connected and `wanted`.
pub(crate) async fn connected(
    transport: &Transport,
    node: u64,
    wanted: impl Fn(&Peer) -> bool,
) -> Peer {
    let mut peer = None;
    until("the peer is connected", || {
        peer = transport.connected().into_iter().find(|peer| peer.node == NodeId(node));
        peer.as_ref().is_some_and(&wanted)
    })
    .await;
    peer.expect("it was found")
}

/// Waits for a condition, on the clock of the test.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("never: {what}"),
    }
}
