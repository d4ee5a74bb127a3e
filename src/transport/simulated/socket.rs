//! One node's place in the simulated network.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::{
    sync::{Mutex, Semaphore, mpsc, watch},
    time::sleep,
};

use crate::transport::{
    CloseCode, Ended, Identity, Refusal,
    limits::{HALF_OPEN_MAX, IDLE},
    network::{Arrival, Connected, Connection, Network, Target},
    tls,
};

use super::{SimulatedNetwork, connection::SimulatedConnection, wire::Wire, world::Inbox};

/// One node's place in a simulated network.
#[derive(Debug)]
pub struct SimulatedSocket {
    network: SimulatedNetwork,
    address: SocketAddr,
    identity: Identity,
    idle: Duration,
    half_open: Arc<Semaphore>,
    sender: mpsc::Sender<Arrival>,
    arrivals: Mutex<mpsc::Receiver<Arrival>>,
    closed: watch::Sender<bool>,
}

impl SimulatedSocket {
    pub(super) fn new(network: SimulatedNetwork, address: SocketAddr, identity: Identity) -> Self {
        let (sender, arrivals) = mpsc::channel(HALF_OPEN_MAX);
        Self {
            network,
            address,
            identity,
            idle: IDLE,
            half_open: Arc::new(Semaphore::new(HALF_OPEN_MAX)),
            sender,
            arrivals: Mutex::new(arrivals),
            closed: watch::Sender::new(false),
        }
    }

    pub(in crate::transport) const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Notices a silent peer after `idle`. From here on the place can be dialled.
    pub(in crate::transport) fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        let inbox = Inbox {
            identity: self.identity,
            arrivals: self.sender.clone(),
            half_open: self.half_open.clone(),
            idle,
        };
        self.network.open(self.address, inbox);
        self
    }
}

impl Network for SimulatedSocket {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn connect(&self, address: SocketAddr, target: Target) -> BoxFuture<'static, Connected> {
        let network = self.network.clone();
        let (own, from, idle) = (self.identity, self.address, self.idle);
        async move {
            sleep(network.transit(from, address) + network.transit(address, from)).await;
            let blocked = network.is_blocked(from, address) || network.is_blocked(address, from);
            let Some(inbox) = network.inbox(address).filter(|_| !blocked) else {
                // Nobody answers: the caller has the deadline.
                return std::future::pending().await;
            };
            check(&own, &inbox.identity, target)
                .map_err(|refusal| Ended::Handshake { reason: refusal.to_string() })?;
            let Ok(place) = inbox.half_open.clone().try_acquire_owned() else {
                return std::future::pending().await;
            };
            let ends = [from, address];
            let wire = Wire::start(&network, ends, [idle, inbox.idle]);
            let [near, far] = [(0, inbox.identity), (1, own)]
                .map(|(side, peer)| SimulatedConnection::new(wire.clone(), side, peer));
            let handshake = async move { Ok(far as Arc<dyn Connection>) }.boxed();
            if inbox.arrivals.try_send(Arrival { handshake, place }).is_err() {
                return std::future::pending().await;
            }
            Ok(near as Arc<dyn Connection>)
        }
        .boxed()
    }

    fn accept(&self) -> BoxFuture<'_, Option<Arrival>> {
        async move {
            let mut closed = self.closed.subscribe();
            let mut arrivals = self.arrivals.lock().await;
            tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => None,
                arrival = arrivals.recv() => arrival,
            }
        }
        .boxed()
    }

    fn half_open(&self) -> usize {
        HALF_OPEN_MAX - self.half_open.available_permits()
    }

    fn close(&self, reason: &'static str) -> BoxFuture<'_, ()> {
        async move {
            self.closed.send_replace(true);
            self.network.leave(self.address, &self.sender);
            self.network.close_all(self.address, |wire| {
                wire.close(wire.side_of(self.address), CloseCode::Stopping, reason);
            });
        }
        .boxed()
    }
}

/// What the certificates' check would say.
fn check(own: &Identity, peer: &Identity, target: Target) -> Result<(), Refusal> {
    tls::admit(own, peer)?;
    match target {
        Target::Node(node) if *peer != Identity::server(own.cluster, node) => {
            Err(Refusal::OtherNode)
        }
        Target::Node(_) | Target::Anyone => Ok(()),
    }
}
