//! Where the other members are: kept up by whoever is a member.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    stream::{StreamExt as _, iter},
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    model::{ClusterId, NodeId},
    store::Promise,
    transport::{Addresses, Peer, Protocol, Refused, Role, Transport, answer},
};

use super::{
    Answer, Caller, Candidates, Neighbour, Question,
    book::Book,
    look::{ANSWER_WITHIN, Reply, ask_all},
};

/// How often connections are looked at. A lost one is dialled by the transport at once; this is for what it can't know,
/// a new address.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// The first and the longest wait between two searches for members that are not connected.
const SEARCH_EVERY_MIN: Duration = Duration::from_millis(100);
const SEARCH_EVERY_MAX: Duration = Duration::from_secs(1);

/// The most connected members that are asked for others at once.
const ASKED_MAX: usize = 8;

/// The most peers that an answer names: a joiner needs one of them, a member knows most already.
const PEERS_MAX: usize = 256;

/// After so long without a first entry the operator is told what a founder that is gone for good means.
const FOUNDER_PATIENCE: Duration = Duration::from_secs(30);

/// What a directory is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The way to the others, as a member. Its join protocol is served by this from now on.
    pub transport: Transport,
    /// Where members may be.
    pub candidates: Candidates,
    /// This node's name.
    pub name: String,
    /// The members, this node among them, as Raft knows them: voters and learners. Empty until the first entry came.
    pub members: watch::Receiver<BTreeSet<NodeId>>,
    /// What this node promised, if nothing has come of it yet.
    pub promise: Option<Promise>,
}

/// Knows where the other members are. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Directory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    transport: Transport,
    candidates: Candidates,
    name: String,
    me: NodeId,
    cluster: ClusterId,
    members: watch::Receiver<BTreeSet<NodeId>>,
    promise: Option<Promise>,
    book: Mutex<Book>,
    foreign: AtomicU64,
}

impl Directory {
    /// Keeps the members of `options` known and connected until `stop`.
    #[must_use]
    pub fn start(options: Options, stop: CancellationToken) -> (Self, JoinHandle<()>) {
        let identity = *options.transport.identity();
        let shared = Arc::new(Shared {
            transport: options.transport,
            candidates: options.candidates,
            name: options.name,
            me: identity.node,
            cluster: identity.cluster,
            members: options.members,
            promise: options.promise,
            book: Mutex::default(),
            foreign: AtomicU64::new(0),
        });
        let serving = shared.clone();
        let serve = move |peer: Peer, request: Bytes| {
            let answered = serving.answer(&peer, &request);
            async move { answered }
        };
        shared.transport.register(Protocol::Join, answer(serve));
        let keeping = shared.clone();
        let task = tokio::spawn(async move {
            stop.run_until_cancelled(keeping.keep()).await;
        });
        (Self { shared }, task)
    }

    /// Where a member is, or was last.
    #[must_use]
    pub fn address(&self, node: NodeId) -> Option<SocketAddr> {
        self.shared.book().addresses(node).first().copied()
    }

    /// How often a member of another cluster was found at an address of ours.
    #[must_use]
    pub fn foreigners(&self) -> u64 {
        self.shared.foreign.load(Relaxed)
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The promise, as long as no entry has come.
    fn unformed(&self) -> Option<&Promise> {
        self.promise.as_ref().filter(|_| self.members.borrow().is_empty())
    }

    /// The other members; before the first entry those that were promised.
    fn others(&self) -> BTreeSet<NodeId> {
        let mut others = match self.unformed() {
            Some(promise) => promise.members.keys().copied().collect(),
            None => self.members.borrow().clone(),
        };
        others.remove(&self.me);
        others
    }

    async fn keep(self: Arc<Self>) {
        let mut members = self.members.clone();
        let mut named = BTreeSet::new();
        let mut wait = SEARCH_EVERY_MIN;
        let mut searched: Option<Instant> = None;
        let began = Instant::now();
        let mut told = false;
        loop {
            members.mark_unchanged();
            self.name(&mut named);
            let missing = self.missing(&named);
            if missing.is_empty() {
                wait = SEARCH_EVERY_MIN;
            } else if searched.is_none_or(|at| at.elapsed() >= wait) {
                self.search(&missing).await;
                searched = Some(Instant::now());
                wait = (wait * 2).min(SEARCH_EVERY_MAX);
            }
            if !told && began.elapsed() >= FOUNDER_PATIENCE && self.remind() {
                told = true;
            }
            let pause = if missing.is_empty() { CHECK_EVERY } else { wait.min(CHECK_EVERY) };
            tokio::select! {
                biased;
                // Without anyone who says who is a member, those of before stay.
                changed = members.changed() => if changed.is_err() { sleep(pause).await },
                () = sleep(pause) => {}
            }
        }
    }

    /// Names new members to the transport, and forgets those that are no longer members.
    fn name(self: &Arc<Self>, named: &mut BTreeSet<NodeId>) {
        let others = self.others();
        self.book().keep(&others);
        for node in others.difference(named).copied() {
            let finding = Arc::downgrade(self);
            let addresses = Addresses::resolved_by(move || {
                let found = finding.upgrade().map(|shared| shared.book().addresses(node));
                async move { found.unwrap_or_default() }
            });
            self.transport.peer(node, addresses);
        }
        for node in named.difference(&others) {
            self.transport.forget(*node);
        }
        *named = others;
    }

    /// The members that are not connected. Of those that are, it is noted where.
    fn missing(&self, named: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let mut missing = named.clone();
        for peer in self.transport.connected() {
            self.book().met(peer.node, peer.address);
            missing.remove(&peer.node);
        }
        missing
    }

    /// Looks for members at every address that is known or was given, and asks those that are connected.
    async fn search(&self, missing: &BTreeSet<NodeId>) {
        let question = self.question();
        let connected = self.transport.connected();
        let bytes = question.encode();
        let mut asked = Vec::with_capacity(connected.len());
        for peer in &connected {
            let request = self.transport.request(peer.node, Protocol::Join, &bytes, ANSWER_WITHIN);
            asked.push(request.boxed());
        }
        let asking = iter(asked).buffer_unordered(ASKED_MAX).for_each(|answered| {
            if let Some(answer) = answered.ok().and_then(|bytes| Answer::decode(&bytes).ok()) {
                self.learn(&answer);
            }
            std::future::ready(())
        });
        let looking = async {
            let found = connected.iter().map(|peer| peer.address).collect::<BTreeSet<_>>();
            let mut addresses = self.candidates.resolve().await.addresses;
            addresses.extend(self.book().all());
            addresses.retain(|address| !found.contains(address));
            for (address, reply) in ask_all(&self.transport, addresses, &question).await {
                match reply {
                    Reply::Answer(node, answer) => {
                        self.book().met(node, address);
                        self.learn(&answer);
                    }
                    Reply::Foreign => self.note_foreign(address),
                    Reply::Silent | Reply::Myself | Reply::Unclear(_) => {}
                }
            }
        };
        tokio::join!(asking, looking);
        tracing::debug!(missing = missing.len(), "looked for members");
    }

    fn question(&self) -> Question {
        let (node, name) = (self.me, self.name.clone());
        let from = Caller { node, name, boot: self.transport.boot() };
        let mut sees = self.others();
        sees.insert(self.me);
        Question::WhoAreYou { from, sees }
    }

    /// Where others are, as a member of this cluster says.
    fn learn(&self, answer: &Answer) {
        if let Answer::Member { cluster, peers, .. } = answer
            && *cluster == self.cluster
        {
            let mut book = self.book();
            peers.iter().for_each(|peer| book.told(peer.node, peer.address));
        }
    }

    fn note_foreign(&self, address: SocketAddr) {
        metrics::counter!("apolo_cluster_foreign_members_total").increment(1);
        if self.foreign.fetch_add(1, Relaxed) == 0 {
            warn!(
                %address,
                "a member of another cluster is at one of this cluster's addresses, and is ignored; check --peers and --discover"
            );
        }
    }

    /// Whether the founder is still waited for, said to the operator.
    fn remind(&self) -> bool {
        let Some(promise) = self.unformed() else { return false };
        info!(
            cluster = %promise.cluster, founder = %promise.founder,
            "the cluster is promised and not formed: waiting for the founder; if it is gone for good, delete the data \
             directories of all who have promised"
        );
        true
    }

    fn answer(&self, peer: &Peer, request: &Bytes) -> Result<Bytes, Refused> {
        let answer = match Question::decode(request) {
            Ok(Question::WhoAreYou { from, .. }) if from.node == peer.node => {
                if peer.role == Role::Server {
                    self.book().met(peer.node, peer.address);
                }
                self.introduce()
            }
            Ok(Question::Promise(promise)) if promise.founder == peer.node => {
                match self.unformed() {
                    Some(own) if *own == promise => Answer::Kept,
                    Some(own) => Answer::refused(format!(
                        "it has promised to form cluster {} with node {}",
                        own.cluster, own.founder
                    )),
                    None => Answer::refused(format!("it is a member of cluster {}", self.cluster)),
                }
            }
            Ok(_) => {
                warn!(node = %peer.node, address = %peer.address, "it asks in another node's name");
                return Err(Refused::NotAllowed);
            }
            Err(error) => Answer::refused(error.to_string()),
        };
        Ok(answer.encode().into())
    }

    fn introduce(&self) -> Answer {
        let (node, name, cluster) = (self.me, self.name.clone(), self.cluster);
        if let Some(promise) = self.unformed() {
            let sees = promise.members.keys().copied().collect();
            return Answer::Promised { node, name, cluster, founder: promise.founder, sees };
        }
        let (others, book) = (self.others(), self.book());
        let known = others.into_iter().filter_map(|node| {
            let address = *book.addresses(node).first()?;
            Some(Neighbour { node, name: String::new(), address })
        });
        let peers = known.take(PEERS_MAX).collect();
        Answer::Member { node, name, cluster, peers }
    }
}
