//! From a node that is no member to one that has formed a cluster, or knows which one to join.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    stream::{StreamExt as _, iter},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use thiserror::Error;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    model::{ClusterId, NodeId},
    store::{Backend, Promise, WriteError},
    transport::{Peer, Protocol, Stream, Transport},
};

use super::{
    Answer, Candidates, Decision, Heard, Question, Standing, Waiting,
    desk::{Desk, Look},
    look::{Reply, ask, ask_all},
};

/// How often a node looks. A cluster forms, or a node joins one, two or three looks after the last node was started.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What each address adds to it: a look costs two handshakes of 1.5 ms for each, one at either end, and many nodes that
/// wait must leave the machines to others.
const LOOK_EVERY_ADDRESS: Duration = Duration::from_millis(10);

/// Looks are spread by this part either way, so that nodes that were started together do not stay in step.
const JITTER: f64 = 0.25;

/// The most promises that are asked for at once.
const PROMISES_MAX: usize = 32;

/// What a node needs to become a member.
#[derive(Clone, Debug)]
pub struct Seek {
    /// The way to the others, as a joiner. Its join protocol is served by this from now on.
    pub transport: Transport,
    /// Where a promise is made durable.
    pub store: Arc<dyn Backend>,
    /// Where peers may be.
    pub candidates: Candidates,
    /// How many nodes form a cluster.
    pub expect: usize,
    /// This node's name.
    pub name: String,
    /// Where this node stands.
    pub standing: Standing,
    /// Makes jitter and the cluster's id repeatable.
    pub seed: Option<u64>,
    /// Shows what is waited for; `None` once it is over.
    pub waiting: watch::Sender<Option<Waiting>>,
}

/// What has become of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// This node is one of the first members. All have promised if it is the founder, who alone initialises Raft with
    /// exactly these members; the others start Raft without a log, under the cluster's identity, and are contacted.
    ///
    /// The data directory names the cluster. Until the founder's first entry comes, [`Directory`](super::Directory)
    /// must be given the promise, since the founder may ask for it again.
    Formed {
        /// What was promised.
        promise: Promise,
        /// Whether this node is the founder.
        founder: bool,
    },
    /// There is a cluster to join. The data directory does not name it yet: that is the caller's to do
    /// ([`Write::Cluster`](crate::store::Write::Cluster)) before anything of the cluster is stored.
    Join {
        /// The cluster.
        cluster: ClusterId,
        /// Members, and where they are; those that have answered first.
        peers: Vec<(NodeId, SocketAddr)>,
    },
}

/// Why there is no outcome.
#[derive(Debug, Error)]
pub enum SeekError {
    /// It was told to stop.
    #[error("stopped before this node became a member")]
    Stopped,
    /// A promise could not be made durable.
    #[error("failed to promise: {0}")]
    Store(#[from] WriteError),
}

impl Seek {
    /// Looks until there is an outcome. It never gives up by itself.
    ///
    /// # Errors
    ///
    /// [`SeekError`].
    pub async fn run(self, stop: CancellationToken) -> Result<Outcome, SeekError> {
        let me = self.transport.identity().node;
        let random =
            self.seed.map_or_else(rand::make_rng, |seed| StdRng::seed_from_u64(seed ^ me.0));
        let desk = Desk::new(
            me,
            self.name.clone(),
            self.expect,
            self.standing.clone(),
            self.store.clone(),
        );
        let serving = desk.clone();
        self.transport.register(Protocol::Join, move |peer: Peer, protocol, stream: Stream| {
            serving.clone().serve(peer, protocol, stream)
        });
        let waiting = self.waiting.clone();
        let mut seeker = Seeker { seek: self, desk, random, kept: BTreeSet::from([me]) };
        let outcome =
            stop.run_until_cancelled(seeker.run()).await.unwrap_or(Err(SeekError::Stopped));
        waiting.send_replace(None);
        outcome
    }
}

struct Seeker {
    seek: Seek,
    desk: Arc<Desk>,
    random: StdRng,
    /// The members that have kept this node's own promise. They never take it back.
    kept: BTreeSet<NodeId>,
}

impl Seeker {
    async fn run(&mut self) -> Result<Outcome, SeekError> {
        self.tell(Waiting::Looking);
        let desk = self.desk.clone();
        loop {
            let look = tokio::select! {
                biased;
                kept = desk.over() => return Ok(formed(kept?, false)),
                look = self.look() => look,
            };
            if let Some(outcome) = self.act(&look).await? {
                return Ok(outcome);
            }
            let pause = self.pause(look.heard.len());
            tokio::select! {
                biased;
                kept = desk.over() => return Ok(formed(kept?, false)),
                () = sleep(pause) => {}
            }
        }
    }

    fn pause(&mut self, addresses: usize) -> Duration {
        let addresses = u32::try_from(addresses).unwrap_or(u32::MAX);
        let spread = self.random.random_range(1.0 - JITTER..=1.0 + JITTER);
        (LOOK_EVERY + LOOK_EVERY_ADDRESS.saturating_mul(addresses)).mul_f64(spread)
    }

    /// Asks every address, and those who have asked this node.
    async fn look(&self) -> Look {
        let resolution = self.seek.candidates.resolve().await;
        let mut addresses = resolution.addresses.clone();
        addresses.extend(self.desk.callers());
        let question = self.desk.question(self.seek.transport.boot());
        let replies = ask_all(&self.seek.transport, addresses, &question).await;
        let mut look = Look { unresolved: resolution.failures.clone(), ..Look::default() };
        for (address, reply) in replies {
            let heard = match reply {
                Reply::Silent => continue,
                Reply::Myself => Heard::Myself,
                Reply::Answer(_, answer) => Heard::Answer(answer),
                Reply::Unclear(reason) => Heard::Unclear(reason),
                Reply::Foreign => Heard::Unclear("it belongs to another cluster".to_owned()),
            };
            look.heard.insert(address, heard);
        }
        look.silent = resolution.unheard(|address| look.heard.contains_key(address));
        look
    }

    async fn act(&mut self, look: &Look) -> Result<Option<Outcome>, SeekError> {
        match self.desk.decide(look.clone()) {
            Decision::Join { cluster, peers } if self.desk.join(cluster).await => {
                info!(%cluster, peers = peers.len(), "found a cluster to join");
                Ok(Some(Outcome::Join { cluster, peers }))
            }
            Decision::Join { .. } => Ok(None),
            Decision::Follow(promise) => Ok(Some(formed(promise, false))),
            Decision::Found { members } => {
                let (cluster, founder) = (self.mint(), self.desk.me);
                let promise = Promise { cluster, founder, members };
                if self.desk.found(promise.clone()).await? {
                    return Ok(self.collect(promise, look).await);
                }
                Ok(None)
            }
            Decision::Collect(promise) => Ok(self.collect(promise, look).await),
            Decision::Wait(waiting) => {
                self.tell(waiting);
                Ok(None)
            }
        }
    }

    /// The cluster's id. It must differ from all others, but in a simulation that can be repeated.
    fn mint(&mut self) -> ClusterId {
        match self.seek.seed {
            Some(_) => {
                ClusterId(uuid::Builder::from_random_bytes(self.random.random()).into_uuid())
            }
            None => ClusterId::mint(),
        }
    }

    /// Asks those members that have not kept the promise yet.
    async fn collect(&mut self, promise: Promise, look: &Look) -> Option<Outcome> {
        let question = Question::Promise(promise.clone()).encode();
        let mut places = BTreeMap::new();
        for (address, heard) in &look.heard {
            if let Heard::Answer(answer) = heard
                && let Some((node, _)) = answer.who()
            {
                places.entry(node).or_insert(*address);
            }
        }
        let mut asked = Vec::new();
        for (node, name) in promise.members.iter().filter(|(node, _)| !self.kept.contains(node)) {
            let (transport, question) = (&self.seek.transport, &question);
            let place = places.get(node).copied();
            let asking = async move {
                let reply = match place {
                    Some(address) => ask(transport, address, question).await,
                    None => Reply::Silent,
                };
                (*node, name.clone(), reply)
            };
            asked.push(asking.boxed());
        }
        let replies: Vec<_> = iter(asked).buffer_unordered(PROMISES_MAX).collect().await;
        let mut missing = BTreeMap::new();
        for (node, name, reply) in replies {
            let reason = match reply {
                Reply::Answer(by, Answer::Kept) if by == node => {
                    self.kept.insert(node);
                    continue;
                }
                Reply::Answer(_, Answer::Refused { reason }) | Reply::Unclear(reason) => reason,
                Reply::Silent => "silent".to_owned(),
                Reply::Answer(..) | Reply::Myself | Reply::Foreign => "not there".to_owned(),
            };
            missing.insert(name, reason);
        }
        if missing.is_empty() {
            info!(cluster = %promise.cluster, members = promise.members.len(), "all have promised");
            return Some(formed(promise, true));
        }
        self.tell(Waiting::Promises { cluster: promise.cluster, missing });
        None
    }

    /// An operator is told once for each reason.
    fn tell(&self, waiting: Waiting) {
        self.seek.waiting.send_if_modified(|told| {
            if told.as_ref() == Some(&waiting) {
                return false;
            }
            info!(reason = %waiting, "not a member yet");
            *told = Some(waiting);
            true
        });
    }
}

const fn formed(promise: Promise, founder: bool) -> Outcome {
    Outcome::Formed { promise, founder }
}
