//! Permits for shards of other nodes: what [`PermitDesk`](super::PermitDesk) is to those of this one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};
use tracing::warn;

use crate::gateway::{Permit, Permits as _};
use crate::lease::{self, PermitAnswer, PermitAsk, PermitGrant};
use crate::model::{NodeId, ShardId};
use crate::raft::Handle;
use crate::transport::{self, Peer, Protocol, Refused, Transport};

use super::PermitDesk;

/// How long a question is held until there is something to say: a shard that begins to wait is named by the next one.
const HOLD: Duration = Duration::from_millis(100);

/// Between two looks at what has been granted meanwhile: a twentieth of a permit's life.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Shards of one node that wait at once, at most: as many as a bot can have.
const WAITING_MAX: usize = crate::model::SHARDS_MAX as usize;

/// The leader's side.
#[derive(Clone, Debug)]
pub(super) struct RemotePermits {
    raft: Handle,
    desk: PermitDesk,
    nodes: Arc<Mutex<BTreeMap<NodeId, BTreeMap<ShardId, Place>>>>,
}

/// A shard of another node.
#[derive(Debug)]
enum Place {
    /// Waits at the desk.
    Waiting(oneshot::Receiver<Permit>),
    /// Was told that it may identify.
    Used(Permit),
}

impl RemotePermits {
    pub(super) fn new(raft: Handle, desk: PermitDesk) -> Self {
        Self { raft, desk, nodes: Arc::default() }
    }

    pub(super) fn serve(&self, transport: &Transport) {
        let permits = self.clone();
        transport.register(
            Protocol::Permit,
            transport::answer(move |peer: Peer, request: Bytes| {
                let permits = permits.clone();
                async move { permits.answer(peer.node, &request).await }
            }),
        );
    }

    async fn answer(&self, node: NodeId, request: &[u8]) -> Result<Bytes, Refused> {
        let received = Instant::now();
        let ask: PermitAsk = lease::decode(request).map_err(|error| {
            warn!(%node, %error, "a question for permits can't be read");
            Refused::Failed
        })?;
        let answer = match ask {
            _ if !self.raft.is_leader() => PermitAnswer::NotLeader,
            PermitAsk::Waiting(shards) if shards.len() > WAITING_MAX => {
                return Err(Refused::TooLarge);
            }
            PermitAsk::Waiting(shards) => {
                PermitAnswer::Granted(self.wait(node, &shards, received).await)
            }
            PermitAsk::Sent(shard) => {
                self.tell(node, shard, |permit| permit.sent.take());
                PermitAnswer::Noted
            }
            PermitAsk::Answered(shard) => {
                self.tell(node, shard, |permit| permit.answered.take());
                PermitAnswer::Noted
            }
        };
        Ok(lease::encode(&answer).into())
    }

    async fn wait(&self, node: NodeId, shards: &[ShardId], received: Instant) -> Vec<PermitGrant> {
        self.queue(node, shards);
        let until = received + HOLD;
        loop {
            let granted = self.granted(node, received);
            if !granted.is_empty() || Instant::now() >= until {
                return granted;
            }
            sleep_until(until.min(Instant::now() + LOOK_EVERY)).await;
        }
    }

    /// Has exactly these shards of the node wait, beside those that were told already.
    fn queue(&self, node: NodeId, shards: &[ShardId]) {
        let named: BTreeSet<_> = shards.iter().copied().collect();
        let mut nodes = self.nodes();
        let places = nodes.entry(node).or_default();
        places.retain(|shard, place| matches!(place, Place::Used(_)) || named.contains(shard));
        for shard in named {
            if !matches!(places.get(&shard), Some(Place::Waiting(_))) {
                places.insert(shard, Place::Waiting(self.ask(shard)));
            }
        }
    }

    fn ask(&self, shard: ShardId) -> oneshot::Receiver<Permit> {
        let (reply, permit) = oneshot::channel();
        let asked = self.desk.acquire(shard);
        tokio::spawn(async move {
            let mut reply = reply;
            tokio::select! {
                permit = asked => if let Ok(permit) = permit { drop(reply.send(permit)) },
                () = reply.closed() => {}
            }
        });
        permit
    }

    fn granted(&self, node: NodeId, received: Instant) -> Vec<PermitGrant> {
        let mut nodes = self.nodes();
        let Some(places) = nodes.get_mut(&node) else { return Vec::new() };
        let mut grants = Vec::new();
        let mut void = Vec::new();
        for (shard, place) in places.iter_mut() {
            let Place::Waiting(waiting) = place else { continue };
            let permit = match waiting.try_recv() {
                Ok(permit) => permit,
                Err(oneshot::error::TryRecvError::Empty) => continue,
                Err(oneshot::error::TryRecvError::Closed) => {
                    void.push(*shard);
                    continue;
                }
            };
            let valid = permit.expires.saturating_duration_since(received);
            *place = Place::Used(permit);
            let valid_ms = u64::try_from(valid.as_millis()).unwrap_or(0);
            if valid_ms > 0 {
                grants.push(PermitGrant { shard: *shard, valid_ms });
            }
        }
        for shard in void {
            places.remove(&shard);
        }
        grants
    }

    fn tell(
        &self,
        node: NodeId,
        shard: ShardId,
        which: impl FnOnce(&mut Permit) -> Option<oneshot::Sender<()>>,
    ) {
        let mut nodes = self.nodes();
        let place = nodes.get_mut(&node).and_then(|places| places.get_mut(&shard));
        if let Some(Place::Used(permit)) = place
            && let Some(told) = which(permit)
        {
            // The loop may have ended: then nobody counts.
            let _ = told.send(());
        }
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<NodeId, BTreeMap<ShardId, Place>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
