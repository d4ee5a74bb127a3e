//! A node's place in its cluster: an open store, a way to the others, and Raft upon both.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{NodeError, commit, identity::Trust};
use crate::cluster::{Candidates, Directory, Outcome as Found, Seek, Standing, Waiting, directory};
use crate::config::Config;
use crate::lease::{Clock, Right, Timing};
use crate::model::{BootEpoch, ClusterId, NodeId};
use crate::raft::{self, Handle, Leadership, RaftFailure};
use crate::state::{Command, Outcome};
use crate::store::{self, Backend, OpenError, Opened, Promise, Write};
use crate::transport::{
    Credentials, Identity, Options as TransportOptions, Renewal, StartError, Transport, renew,
};

/// How long Raft's tasks may take to let go of the store after Raft has stopped.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);

/// Between two looks at whether they have.
const RELEASE_EVERY: Duration = Duration::from_millis(5);

/// Between two attempts to be admitted, or to commit this node's start.
const RETRY: Duration = Duration::from_millis(100);

/// A node that is no member yet asks to be one this long after it began to listen, and after each attempt: the first
/// members of a cluster hear from its founder sooner.
const ADMISSION_AFTER: Duration = Duration::from_millis(300);

/// How long the UDP port may take to be free after this very process has let go of it.
const PORT_WITHIN: Duration = Duration::from_secs(3);

/// Between two attempts to listen on it.
const PORT_EVERY: Duration = Duration::from_millis(20);

/// A member of a cluster.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) me: NodeId,
    pub(super) boot: BootEpoch,
    pub(super) raft: Handle,
    pub(super) right: Right,
    pub(super) transport: Transport,
    store: Weak<dyn Backend>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// What is needed to become one.
pub(super) struct Entry<'a> {
    pub(super) config: &'a Config,
    pub(super) candidates: Candidates,
    /// Shows what is waited for.
    pub(super) waiting: watch::Sender<Option<Waiting>>,
    pub(super) stop: CancellationToken,
}

/// An open store whose node knows its cluster.
struct Settled {
    store: Arc<dyn Backend>,
    identity: store::Identity,
    recovered: store::Recovered,
    cluster: ClusterId,
    promise: Option<Promise>,
    /// Whether this node is the one that forms the cluster.
    founder: bool,
    /// Members that were met on the way.
    met: Vec<(NodeId, std::net::SocketAddr)>,
}

impl Entry<'_> {
    /// Becomes a member, however long that takes: of the cluster that the directory knows, of one that is found, or of
    /// one that is formed.
    pub(super) async fn enter(&self) -> Result<Member, NodeError> {
        let opened = self.open(None).await;
        let opened = match opened {
            Err(NodeError::Store(error)) => self.recover(error).await?,
            opened => opened?,
        };
        for repair in &opened.repairs {
            warn!(?repair, "the data directory was repaired");
        }
        let trust = Trust::open(self.config)?;
        let settled = self.settle(opened, &trust).await?;
        self.start(settled, &trust).await
    }

    async fn open(&self, join: Option<ClusterId>) -> Result<Opened, NodeError> {
        let directory = self.config.data_dir.clone();
        let options = store::Options { join, ..store::Options::default() };
        let opened = spawn_blocking(move || store::open(&directory, &options)).await;
        Ok(opened.expect("opening a store does not panic")?)
    }

    /// A directory that lost its memory may join the cluster that it lost, under a new identity.
    async fn recover(&self, error: OpenError) -> Result<Opened, NodeError> {
        let Some(lost) = error.tombstone().and_then(|tombstone| tombstone.cluster) else {
            return Err(error.into());
        };
        if self.candidates.is_empty() {
            return Err(error.into());
        }
        warn!(%error, "this node begins anew, as a new member of the cluster that it lost");
        let trust = Trust::open(self.config)?;
        let node = store::Options::default().node;
        let memory: Arc<dyn Backend> = Arc::new(store::Memory::default());
        let standing = Standing::Lost(Some(lost));
        match self.seek(&trust, node, BootEpoch(1), memory, standing).await? {
            Found::Join { cluster, .. } => self.open(Some(cluster)).await,
            Found::Formed { .. } => Err(error.into()),
        }
    }

    /// Finds out which cluster the directory's node belongs to.
    async fn settle(&self, opened: Opened, trust: &Trust) -> Result<Settled, NodeError> {
        let Opened { store, identity, recovered, .. } = opened;
        let store: Arc<dyn Backend> = Arc::new(store);
        let standing = Standing::of(&identity, &recovered);
        let mut settled = Settled {
            cluster: identity.cluster.unwrap_or_else(ClusterId::mint),
            promise: recovered.promise.clone(),
            founder: false,
            met: Vec::new(),
            store,
            identity,
            recovered,
        };
        let Some(standing) = standing else { return Ok(settled) };
        let (node, boot) = (settled.identity.node, settled.identity.boot);
        match self.seek(trust, node, boot, Arc::clone(&settled.store), standing).await? {
            Found::Formed { promise, founder } => {
                settled.cluster = promise.cluster;
                settled.promise = Some(promise);
                settled.founder = founder;
            }
            Found::Join { cluster, peers } => {
                // First of all: a directory that loses its log must still know which cluster that was.
                name_cluster(settled.store.as_ref(), cluster).await?;
                settled.cluster = cluster;
                settled.met = peers;
            }
        }
        Ok(settled)
    }

    /// Listens on the QUIC port. A node that has just looked for others may still hold it.
    async fn listen(
        &self,
        credentials: &Arc<Credentials>,
        boot: BootEpoch,
    ) -> Result<Transport, NodeError> {
        let listening = async {
            loop {
                match Transport::start(self.options(credentials, boot)) {
                    Err(StartError::Bind { reason, .. })
                        if reason.kind() == io::ErrorKind::AddrInUse =>
                    {
                        sleep(PORT_EVERY).await;
                    }
                    started => return started,
                }
            }
        };
        match timeout(PORT_WITHIN, listening).await {
            Ok(started) => Ok(started?),
            Err(_) => Ok(Transport::start(self.options(credentials, boot))?),
        }
    }

    fn options(&self, credentials: &Arc<Credentials>, boot: BootEpoch) -> TransportOptions {
        TransportOptions::quic(self.config.quic_addr, Arc::clone(credentials), boot)
            .with_profile(self.config.profile)
    }

    async fn seek(
        &self,
        trust: &Trust,
        node: NodeId,
        boot: BootEpoch,
        store: Arc<dyn Backend>,
        standing: Standing,
    ) -> Result<Found, NodeError> {
        let credentials = trust.credentials(&Identity::joiner(node))?;
        let transport = self.listen(&credentials, boot).await?;
        let seek = Seek {
            transport: transport.clone(),
            store,
            candidates: self.candidates.clone(),
            expect: self.config.expect,
            name: self.config.name.clone(),
            standing,
            seed: None,
            waiting: self.waiting.clone(),
        };
        let found = seek.run(self.stop.clone()).await;
        transport.stop().await;
        Ok(found?)
    }

    /// Starts Raft, and returns once the cluster knows that this node is here.
    async fn start(&self, settled: Settled, trust: &Trust) -> Result<Member, NodeError> {
        let Settled { store, identity, recovered, cluster, promise, founder, met } = settled;
        let (me, boot) = (identity.node, identity.boot);
        let empty = recovered.is_empty();
        let credentials = trust.credentials(&Identity::server(cluster, me))?;
        let transport = self.listen(&credentials, boot).await?;
        let right = Right::new(Clock::Boottime, Timing::of(self.config.profile));
        let promised = right.clone();
        let raft = Handle::start(raft::Options {
            node: me,
            store: Arc::clone(&store),
            recovered,
            transport: Some(transport.clone()),
            profile: self.config.profile,
            on_vote: Some(Arc::new(move |term, own| promised.promise(term, own))),
        })
        .await?;
        let stop = CancellationToken::new();
        let (members, known) = watch::channel(BTreeSet::new());
        let options = directory::Options {
            transport: transport.clone(),
            candidates: self.candidates.clone(),
            name: self.config.name.clone(),
            members: known,
            promise: promise.clone(),
        };
        let (_directory, keeping) = Directory::start(options, stop.clone());
        let named = met.iter().map(|(node, _)| *node);
        let named: BTreeSet<_> = match &promise {
            Some(promise) => promise.members.keys().copied().collect(),
            None => named.collect(),
        };
        for (node, address) in met {
            transport.peer(node, address);
        }
        let tasks = vec![
            keeping,
            tokio::spawn(name_members(raft.clone(), members, stop.clone())),
            tokio::spawn(renew_leaf(trust.directory().to_owned(), credentials, stop.clone())),
        ];
        let store = Arc::downgrade(&store);
        let member = Member { me, boot, raft, right, transport, store, stop, tasks };
        let entered = member.take_place(self, cluster, founder && empty, promise, named);
        let entered = tokio::select! {
            entered = entered => entered,
            failure = member.raft.fatal() => Err(NodeError::Failed(failure)),
            () = self.stop.cancelled() => Err(NodeError::Stopped),
        };
        match entered {
            Ok(()) => Ok(member),
            Err(error) => {
                member.leave().await;
                Err(error)
            }
        }
    }
}

impl Member {
    async fn take_place(
        &self,
        entry: &Entry<'_>,
        cluster: ClusterId,
        forms: bool,
        promise: Option<Promise>,
        named: BTreeSet<NodeId>,
    ) -> Result<(), NodeError> {
        let raft = &self.raft;
        if forms && !raft.is_formed().await? {
            let voters = promise.into_iter().flat_map(|promise| promise.members.into_keys());
            raft.form(voters.chain([self.me])).await?;
        }
        let mut members = raft.members();
        let is_member = members.wait_for(|members| members.contains(self.me));
        let others = named.iter().copied().filter(|node| *node != self.me);
        tokio::select! {
            // Whoever has promised is a member as soon as the founder has formed the cluster.
            known = is_member => drop(known),
            () = self.ask_admission(others.collect()) => unreachable!("it asks until it is dropped"),
        }
        self.commit_start(entry.config, cluster).await?;
        let (node, boot) = (self.me, self.boot);
        info!(%cluster, %node, %boot, data_dir = %entry.config.data_dir.display(), "the node is a member");
        Ok(())
    }

    /// Asks to be made a member, again and again.
    async fn ask_admission(&self, others: Vec<NodeId>) {
        loop {
            sleep(ADMISSION_AFTER).await;
            self.raft.ask_admission(others.iter().copied()).await;
        }
    }

    /// Until there is a leader that takes it.
    async fn commit_start(&self, config: &Config, cluster: ClusterId) -> Result<(), NodeError> {
        let (node, boot, name) = (self.me, self.boot, config.name.clone());
        loop {
            let formed = commit(&self.raft, Command::Form { cluster }).await;
            let started = match formed {
                Ok(()) => {
                    let start = Command::StartNode { node, name: name.clone(), boot };
                    self.raft.propose(start).await
                }
                Err(NodeError::Propose(error)) => Err(error),
                Err(error) => return Err(error),
            };
            match started {
                Ok(Outcome::Refused(refusal)) => return Err(NodeError::Refused(refusal)),
                Ok(_) => return Ok(()),
                Err(error) if error.is_retryable() => sleep(RETRY).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Stops Raft and gives the data directory free.
    pub(super) async fn leave(self) {
        let Self { raft, store, transport, stop, tasks, .. } = self;
        raft.shutdown().await;
        stop.cancel();
        transport.stop().await;
        for task in tasks {
            let _ = task.await;
        }
        drop((raft, transport));
        let released = async {
            while store.strong_count() > 0 {
                sleep(RELEASE_EVERY).await;
            }
        };
        if timeout(RELEASE_WITHIN, released).await.is_err() {
            warn!("the data directory stays locked until the process ends");
        }
    }

    /// Hands the leadership to a voter that has all, if this node has it.
    pub(super) async fn hand_leadership_over(&self) {
        let mut leadership = self.raft.leadership();
        for _ in 0..TRANSFERS_MAX {
            if !self.raft.is_leader() {
                return;
            }
            let members = self.raft.members().borrow().clone();
            let matched = self.raft.matched().unwrap_or_default();
            let others = members.voters.iter().filter(|voter| **voter != self.me);
            let Some(to) = others.max_by_key(|voter| matched.get(voter)) else { return };
            if let Err(error) = self.raft.transfer_leadership(*to).await {
                warn!(%error, "the leadership was not handed over");
                return;
            }
            let gone = leadership.wait_for(|seen| !matches!(seen, Leadership::Leading { .. }));
            let _ = timeout(TRANSFER_WITHIN, gone).await;
        }
    }
}

/// A transfer that is not taken up by then is asked for again: the request may be lost.
const TRANSFER_WITHIN: Duration = Duration::from_millis(300);

/// So often. Then the others elect somebody by themselves.
const TRANSFERS_MAX: usize = 3;

/// Tells the directory whom to keep connected: the members, once they are known. Until then what was promised holds.
async fn name_members(
    raft: Handle,
    named: watch::Sender<BTreeSet<NodeId>>,
    stop: CancellationToken,
) {
    let mut members = raft.members();
    loop {
        let known: BTreeSet<_> = members.borrow_and_update().all().collect();
        named.send_if_modified(|before| {
            let changed = *before != known;
            *before = known;
            changed
        });
        tokio::select! {
            () = stop.cancelled() => return,
            changed = members.changed() => if changed.is_err() { return },
        }
    }
}

/// Renews the certificate before it ends, and trusts a new authority once its files are there.
async fn renew_leaf(
    directory: std::path::PathBuf,
    credentials: Arc<Credentials>,
    stop: CancellationToken,
) {
    renew(Renewal::new(directory), credentials, stop).await;
}

/// Writes into the data directory whose it is.
async fn name_cluster(store: &dyn Backend, cluster: ClusterId) -> Result<(), NodeError> {
    let (done, written) = oneshot::channel();
    store.submit(Write::Cluster(cluster), Box::new(move |result| drop(done.send(result))));
    match written.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(NodeError::Failed(RaftFailure::Store(error))),
        Err(_) => Err(NodeError::Ended("the store's writer")),
    }
}
