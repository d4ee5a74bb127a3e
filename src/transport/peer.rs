//! One peer's place: the one connection that is in use, and what is known of the node.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::watch;
use tracing::{debug, info};

use crate::model::{BootEpoch, NodeId};

use super::{CloseCode, Ended, Peer, guard, hello::Mismatch, link::Link, router, shown::Shown};

/// Finds a peer's addresses. Asked before every attempt, so that a pod that comes back under a new one is found; an
/// empty answer is an attempt that failed.
#[derive(Clone)]
pub struct Addresses(Arc<dyn Fn() -> BoxFuture<'static, Vec<SocketAddr>> + Send + Sync>);

impl Addresses {
    /// Asks `resolve` each time.
    pub fn resolved_by<F, Fut>(resolve: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Vec<SocketAddr>> + Send + 'static,
    {
        Self(Arc::new(move || resolve().boxed()))
    }

    pub(super) fn resolve(&self) -> BoxFuture<'static, Vec<SocketAddr>> {
        (self.0)()
    }
}

impl From<Vec<SocketAddr>> for Addresses {
    fn from(fixed: Vec<SocketAddr>) -> Self {
        Self(Arc::new(move || ready(fixed.clone()).boxed()))
    }
}

impl From<SocketAddr> for Addresses {
    fn from(fixed: SocketAddr) -> Self {
        vec![fixed].into()
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Addresses").finish_non_exhaustive()
    }
}

pub(super) struct Slot {
    pub(super) node: NodeId,
    /// The connection in use.
    link: Shown<Option<Arc<Link>>>,
    /// The same for others: who is connected.
    peer: watch::Sender<Option<Peer>>,
    state: Mutex<State>,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("node", &self.node).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    /// The node's own, so that what happens to others does not change it.
    random: StdRng,
    addresses: Option<Addresses>,
    /// The highest start of the node that was seen.
    boot: BootEpoch,
    /// The highest serial of a connection between the two.
    serial: u64,
    last_failure: Option<String>,
    /// Someone keeps it connected.
    kept: bool,
    forgotten: bool,
}

impl Slot {
    pub(super) fn new(node: NodeId, seed: Option<u64>) -> Self {
        let state = State {
            random: seed.map_or_else(rand::make_rng, |seed| StdRng::seed_from_u64(seed ^ node.0)),
            addresses: None,
            boot: BootEpoch::default(),
            serial: 0,
            last_failure: None,
            kept: false,
            forgotten: false,
        };
        Self {
            node,
            link: Shown::default(),
            peer: watch::Sender::new(None),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says where the node is. True if nobody keeps it connected yet: that is the caller's to see to.
    pub(super) fn locate(&self, addresses: Addresses) -> bool {
        let mut state = self.state();
        state.addresses = Some(addresses);
        state.forgotten = false;
        !std::mem::replace(&mut state.kept, true)
    }

    /// No longer dials the node, and lets go of its connection.
    pub(super) fn forget(&self) {
        let mut state = self.state();
        state.addresses = None;
        state.forgotten = true;
        drop(state);
        if let Some(link) = self.replace(None) {
            link.retired.cancel();
        }
    }

    /// Whether to go on keeping it connected; if not, a later [`locate`](Self::locate) has to see to it again.
    pub(super) fn is_kept(&self) -> bool {
        let mut state = self.state();
        if state.forgotten {
            state.kept = false;
        }
        !state.forgotten
    }

    pub(super) fn addresses(&self) -> Option<Addresses> {
        self.state().addresses.clone()
    }

    /// A serial above all that were seen.
    pub(super) fn next_serial(&self) -> u64 {
        let mut state = self.state();
        state.serial += 1;
        state.serial
    }

    pub(super) fn note_failure(&self, failure: String) {
        let mut state = self.state();
        if state.last_failure.as_ref() != Some(&failure) {
            info!(node = %self.node, reason = %failure, "peer not reached");
            state.last_failure = Some(failure);
        }
    }

    pub(super) fn last_failure(&self) -> String {
        let failure = self.state().last_failure.clone();
        failure.unwrap_or_else(|| "no attempt has ended yet".to_owned())
    }

    /// The connection in use.
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        self.link.get()
    }

    /// The connection in use, once it is as `wanted`.
    pub(super) async fn wait_for(
        &self,
        wanted: impl Fn(Option<&Arc<Link>>) -> bool,
    ) -> Option<Arc<Link>> {
        self.link.wait_for(|link| wanted(link.as_ref())).await
    }

    /// A random part of `span`, between `from` of it and the whole.
    pub(super) fn jitter(&self, span: Duration, from: f64) -> Duration {
        span.mul_f64(self.state().random.random_range(from..=1.0))
    }

    pub(super) fn peers(&self) -> watch::Receiver<Option<Peer>> {
        self.peer.subscribe()
    }

    fn replace(&self, link: Option<Arc<Link>>) -> Option<Arc<Link>> {
        let peer = link.as_ref().map(|link| link.peer.clone());
        let old = self.link.replace(link);
        self.peer.send_replace(peer);
        old
    }

    /// Whether a hello from this start of the node comes too late.
    pub(super) fn check_boot(&self, boot: BootEpoch) -> Result<(), Mismatch> {
        let known = self.state().boot;
        if boot >= known {
            return Ok(());
        }
        let text = format!("node {} has been started since: boot {known} is known", self.node);
        Err(Mismatch::new(CloseCode::StaleBoot, text))
    }

    /// Takes a new connection, and keeps it or the present one: the greater [`Rank`](super::link::Rank) stays. The
    /// other one finishes what is under way, unless its process is known to be dead.
    pub(super) fn install(self: &Arc<Self>, link: &Arc<Link>) -> Result<(), Mismatch> {
        self.check_boot(link.peer.boot)?;
        let mut state = self.state();
        state.boot = state.boot.max(link.peer.boot);
        state.serial = state.serial.max(link.rank.serial);
        state.last_failure = None;
        let present = self.link.get();
        match present.filter(|present| present.connection.has_ended().is_none()) {
            Some(present) if present.peer.boot < link.peer.boot => {
                info!(node = %self.node, boot = %link.peer.boot, "peer was started again");
                present.connection.close(CloseCode::StaleBoot, "the node has been started again");
                self.replace(Some(link.clone()));
            }
            Some(present) if present.rank > link.rank => {
                debug!(node = %self.node, "a second connection is let go");
                link.retired.cancel();
            }
            Some(present) => {
                debug!(node = %self.node, "connection replaced");
                self.replace(Some(link.clone()));
                present.retired.cancel();
            }
            None => {
                info!(
                    node = %self.node, boot = %link.peer.boot, address = %link.peer.address,
                    dialled = link.dialled, build = %link.peer.build, "peer connected"
                );
                self.replace(Some(link.clone()));
            }
        }
        drop(state);
        link.shared.spawn(router::accept(link.clone()));
        // Not cut short by a stop: it sees the connection's end.
        link.shared.tasks.spawn(guard::watch(Some(self.clone()), link.clone()));
        Ok(())
    }

    /// A connection has ended.
    pub(super) fn ended(&self, link: &Arc<Link>, ended: &Ended) {
        link.shared.note_refusal(ended);
        let state = self.state();
        let present = self.link.get();
        if present.is_some_and(|present| Arc::ptr_eq(&present, link)) {
            info!(node = %self.node, reason = %ended, "peer disconnected");
            self.replace(None);
        }
        drop(state);
    }

    /// Lets go of everything, at the transport's end.
    pub(super) fn clear(&self) {
        self.replace(None);
    }
}
