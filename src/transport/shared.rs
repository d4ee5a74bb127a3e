//! What all tasks of one transport share.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::model::{BootEpoch, NodeId, Profile};

use super::{
    CloseCode, Credentials, Ended, Identity, Timings,
    counters::Counters,
    hello::{Hello, Purpose, SharedLocal},
    limits::PEERS_MAX,
    network::Network,
    peer::Slot,
    router::Router,
};

pub(super) struct Shared {
    pub(super) identity: Identity,
    pub(super) boot: BootEpoch,
    /// See [`Hello::process`].
    pub(super) process: u64,
    pub(super) local: SharedLocal,
    pub(super) build: String,
    pub(super) profile: Profile,
    pub(super) timings: Timings,
    pub(super) network: Arc<dyn Network>,
    /// None where there are no certificates.
    pub(super) credentials: Option<Arc<Credentials>>,
    pub(super) router: Router,
    pub(super) counters: Arc<Counters>,
    pub(super) meetings: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    /// Makes jitter repeatable.
    pub(super) seed: Option<u64>,
    pub(super) peers: Mutex<BTreeMap<NodeId, Arc<Slot>>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("identity", &self.identity)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// The place of `node`, made if there is none; `None` if there are too many.
    pub(super) fn slot(&self, node: NodeId) -> Option<Arc<Slot>> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= PEERS_MAX && !peers.contains_key(&node) {
            return None;
        }
        Some(peers.entry(node).or_insert_with(|| Arc::new(Slot::new(node, self.seed))).clone())
    }

    /// The place of `node`, if it was ever named or seen.
    pub(super) fn known(&self, node: NodeId) -> Option<Arc<Slot>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    pub(super) fn hello(&self, purpose: Purpose, serial: u64) -> Hello {
        let standing = self.local.standing();
        let hello = Hello::new(
            &self.identity,
            self.boot,
            purpose,
            serial,
            standing,
            &self.build,
            self.process,
        );
        hello.with_profile(self.profile).with_formats(self.local.formats())
    }

    /// A peer that says that this node is not what it was is passed on to whoever can do something about it.
    pub(super) fn note_refusal(&self, ended: &Ended) {
        if let Ended::ByPeer { code, reason } = ended
            && *code == CloseCode::OldCopy as u64
        {
            self.local.refused(reason);
        }
    }

    /// Which of our leaves a handshake that begins now will show.
    pub(super) fn leaf_number(&self) -> u64 {
        self.credentials.as_ref().map_or(0, |credentials| credentials.current().leaf_number)
    }

    /// Runs `task` until it ends or the transport stops.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }
}
