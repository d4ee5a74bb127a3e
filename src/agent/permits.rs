//! Where a node's shards ask for leave to identify: at the leader's desk, wherever the leader is.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::gateway::{Permit, PermitError, Permits};
use crate::lease::{self, PermitAnswer, PermitAsk, PermitGrant};
use crate::model::{NodeId, ShardId};
use crate::raft::{Handle, Leadership};
use crate::transport::{Protocol, Transport};

/// How long a question may take, of which the leader holds it for 0.1 s.
const ASK_WITHIN: Duration = Duration::from_secs(1);

/// Between two questions after one that failed.
const RETRY: Duration = Duration::from_millis(50);

/// Permits from whoever leads.
#[derive(Clone)]
pub struct ClusterPermits(Arc<Shared>);

struct Shared {
    raft: Handle,
    transport: Option<Transport>,
    /// The desk of the leader's loop in this process.
    here: Arc<dyn Permits>,
    waiting: Mutex<BTreeMap<ShardId, oneshot::Sender<Permit>>>,
    began: Notify,
}

impl fmt::Debug for ClusterPermits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterPermits").finish_non_exhaustive()
    }
}

impl ClusterPermits {
    /// Permits from `here` while this node leads, and from the leader elsewhere.
    #[must_use]
    pub fn new(raft: Handle, transport: Option<Transport>, here: Arc<dyn Permits>) -> Self {
        let (waiting, began) = (Mutex::default(), Notify::new());
        Self(Arc::new(Shared { raft, transport, here, waiting, began }))
    }

    /// Asks the leader elsewhere, as long as shards wait and until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.ask_on()).await;
    }

    async fn ask_on(&self) {
        let mut leadership = self.0.raft.leadership();
        loop {
            let shards: Vec<_> = {
                let mut waiting = self.0.waiting();
                waiting.retain(|_, reply| !reply.is_closed());
                waiting.keys().copied().collect()
            };
            if shards.is_empty() {
                self.0.began.notified().await;
                continue;
            }
            let seen = *leadership.borrow_and_update();
            let Leadership::Following { leader: Some(leader) } = seen else {
                // Who waits is answered here once this node leads.
                if leadership.changed().await.is_err() {
                    return;
                }
                continue;
            };
            if let Err(error) = self.ask(leader, shards).await {
                debug!(%leader, error, "no answer on permits");
                sleep(RETRY).await;
            }
        }
    }

    async fn ask(&self, leader: NodeId, shards: Vec<ShardId>) -> Result<(), &'static str> {
        let transport = self.0.transport.as_ref().ok_or("no transport")?;
        let sent = Instant::now();
        let request = lease::encode(&PermitAsk::Waiting(shards));
        let asked = transport.request(leader, Protocol::Permit, &request, ASK_WITHIN);
        let answer = asked.await.map_err(|_| "unreachable")?;
        match lease::decode(&answer).map_err(|_| "malformed")? {
            PermitAnswer::Granted(grants) => {
                for grant in grants {
                    self.hand_over(leader, sent, grant);
                }
                Ok(())
            }
            PermitAnswer::Noted | PermitAnswer::NotLeader => Err("it does not lead"),
        }
    }

    fn hand_over(&self, leader: NodeId, asked: Instant, grant: PermitGrant) {
        let Some(reply) = self.0.waiting().remove(&grant.shard) else { return };
        let (sent, was_sent) = oneshot::channel();
        let (answered, was_answered) = oneshot::channel();
        let expires = asked + Duration::from_millis(grant.valid_ms);
        let permit = Permit { expires, sent: Some(sent), answered: Some(answered) };
        if reply.send(permit).is_err() {
            // The grant is spent all the same; its bucket opens by itself.
            return;
        }
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            if was_sent.await.is_ok() {
                shared.tell(leader, PermitAsk::Sent(grant.shard)).await;
            }
            if was_answered.await.is_ok() {
                shared.tell(leader, PermitAsk::Answered(grant.shard)).await;
            }
        });
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<ShardId, oneshot::Sender<Permit>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it does not arrive, the leader waits for longer than it had to.
    async fn tell(&self, leader: NodeId, what: PermitAsk) {
        if let Some(transport) = &self.transport {
            let told = lease::encode(&what);
            let _ = transport.request(leader, Protocol::Permit, &told, ASK_WITHIN).await;
        }
    }

    async fn acquire(self: Arc<Self>, shard: ShardId) -> Result<Permit, PermitError> {
        let mut leadership = self.raft.leadership();
        loop {
            let leads = matches!(*leadership.borrow_and_update(), Leadership::Leading { .. });
            let permit = if leads { self.here.acquire(shard) } else { self.elsewhere(shard) };
            tokio::select! {
                permit = permit => match permit {
                    Ok(permit) => return Ok(permit),
                    // Somebody took this shard's place in the queue: an earlier connection of it, or a later one.
                    Err(error) if leads => return Err(error),
                    Err(_) => sleep(RETRY).await,
                },
                changed = leadership.changed() => if changed.is_err() { return Err(PermitError) },
            }
        }
    }

    fn elsewhere(&self, shard: ShardId) -> BoxFuture<'static, Result<Permit, PermitError>> {
        let (reply, permit) = oneshot::channel();
        self.waiting().insert(shard, reply);
        self.began.notify_one();
        async move { permit.await.map_err(|_| PermitError) }.boxed()
    }
}

impl Permits for ClusterPermits {
    fn acquire(&self, shard: ShardId) -> BoxFuture<'static, Result<Permit, PermitError>> {
        Arc::clone(&self.0).acquire(shard).boxed()
    }
}
