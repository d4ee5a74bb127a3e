//! From an open data directory to a member of a cluster, however long that takes.

use std::{collections::BTreeSet, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    NodeError,
    core::Core,
    enrol,
    identity::{Held, Proof, Trust},
    member::{Member, name_members, watch_quorum},
    ticks::Ticks,
};
use crate::cluster::{Candidates, Directory, Outcome as Found, Seek, Standing, Waiting, directory};
use crate::config::Config;
use crate::lease::{Clock, Right, Timing};
use crate::model::{BootEpoch, ClusterId, Formats, NodeId};
use crate::raft::{self, Handle, RaftFailure, Standings};
use crate::store::{self, Backend, OpenError, Opened, Promise, Write};
use crate::transport::{
    Credentials, Identity, Kept, Local, Options as TransportOptions, StartError, Transport,
};

/// How long the UDP port may take to be free after this very process has let go of it.
const PORT_WITHIN: Duration = Duration::from_secs(3);

/// Between two attempts to listen on it.
const PORT_EVERY: Duration = Duration::from_millis(20);

/// What is needed to become one.
pub(super) struct Entry {
    pub(super) config: Config,
    pub(super) candidates: Candidates,
    /// Shows what is waited for.
    pub(super) waiting: watch::Sender<Option<Waiting>>,
    /// True from the moment on at which the data directory is this process's.
    pub(super) opened: watch::Sender<bool>,
    /// Shows how the member is, from the moment on at which there is one.
    pub(super) core: watch::Sender<Option<Core>>,
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
    met: Vec<(NodeId, SocketAddr)>,
}

impl Entry {
    /// Becomes a member, however long that takes: of the cluster that the directory knows, of one that is found, or of
    /// one that is formed.
    pub(super) async fn enter(&self) -> Result<Member, NodeError> {
        match self.enter_as_it_is().await {
            // What was put aside left a tombstone: this time the node joins anew.
            Err(error @ NodeError::OldCopy(_)) if !self.candidates.is_empty() => {
                warn!(%error, "begun anew");
                self.enter_as_it_is().await
            }
            entered => entered,
        }
    }

    async fn enter_as_it_is(&self) -> Result<Member, NodeError> {
        let opened = self.open(None).await;
        let opened = match opened {
            Err(NodeError::Store(error)) => self.recover(error).await?,
            opened => opened?,
        };
        self.opened.send_replace(true);
        self.waiting.send_replace(Some(Waiting::Looking));
        for repair in &opened.repairs {
            warn!(?repair, "the data directory was repaired");
        }
        let trust = Trust::open(&self.config, opened.identity.node)?;
        let (settled, proof) = self.settle(opened, trust).await?;
        self.start(settled, proof).await
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
        let node = store::Options::default().node;
        let trust = match Trust::open(&self.config, node)? {
            Trust::Proof(Proof::Held(held)) => held,
            // The token says which cluster it is for, and is shown as soon as the directory is open.
            Trust::Proof(Proof::Given(_)) | Trust::Invited(_) => {
                return self.open(Some(lost)).await;
            }
        };
        let memory: Arc<dyn Backend> = Arc::new(store::Memory::default());
        let standing = Standing::Lost(Some(lost));
        match self.seek(&trust, node, BootEpoch(1), memory, standing).await? {
            Found::Join { cluster, .. } => self.open(Some(cluster)).await,
            Found::Formed { .. } => Err(error.into()),
        }
    }

    /// Finds out which cluster the directory's node belongs to.
    async fn settle(&self, opened: Opened, trust: Trust) -> Result<(Settled, Proof), NodeError> {
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
        let held = match trust {
            Trust::Proof(Proof::Held(held)) => held,
            Trust::Proof(Proof::Given(kept)) => return self.settle_with(settled, *kept).await,
            Trust::Invited(token) => {
                let enrolled = self.enrol(*token, &settled.identity).await?;
                settled.met = enrolled.members;
                return self.settle_with(settled, enrolled.kept).await;
            }
        };
        let Some(standing) = standing else { return Ok((settled, Proof::Held(held))) };
        let (node, boot) = (settled.identity.node, settled.identity.boot);
        match self.seek(&held, node, boot, Arc::clone(&settled.store), standing).await? {
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
        Ok((settled, Proof::Held(held)))
    }

    /// A leaf says which cluster its node belongs to: there is nobody to look for.
    async fn settle_with(
        &self,
        mut settled: Settled,
        kept: Kept,
    ) -> Result<(Settled, Proof), NodeError> {
        let promised = settled.promise.as_ref().map(|promise| promise.cluster);
        settled.cluster = enrol::cluster_of(&kept, settled.identity.cluster.or(promised))?;
        if settled.identity.cluster.is_none() {
            name_cluster(settled.store.as_ref(), settled.cluster).await?;
        }
        Ok((settled, Proof::Given(Box::new(kept))))
    }

    /// Listens on the QUIC port. A node that has just looked for others may still hold it.
    async fn listen(
        &self,
        credentials: &Arc<Credentials>,
        boot: BootEpoch,
        local: Arc<dyn Local>,
    ) -> Result<Transport, NodeError> {
        let options = || {
            TransportOptions::quic(self.config.quic_addr, Arc::clone(credentials), boot)
                .with_profile(self.config.profile)
                .with_local(Arc::clone(&local))
        };
        let listening = async {
            loop {
                match Transport::start(options()) {
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
            Err(_) => Ok(Transport::start(options())?),
        }
    }

    async fn seek(
        &self,
        held: &Held,
        node: NodeId,
        boot: BootEpoch,
        store: Arc<dyn Backend>,
        standing: Standing,
    ) -> Result<Found, NodeError> {
        let credentials = held.credentials(&Identity::joiner(node))?;
        let seeker = Arc::new(Formats::allowing(self.config.format_max));
        let transport = self.listen(&credentials, boot, seeker).await?;
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
    async fn start(&self, settled: Settled, proof: Proof) -> Result<Member, NodeError> {
        let Settled { store, identity, recovered, cluster, promise, founder, mut met } = settled;
        let (me, boot) = (identity.node, identity.boot);
        let empty = recovered.is_empty();
        let credentials = proof.credentials(&Identity::server(cluster, me))?;
        let standings = Arc::new(Standings::new(&recovered, self.config.format_max));
        let transport = self.listen(&credentials, boot, standings.clone()).await?;
        if matches!(proof, Proof::Given(_)) && empty && met.is_empty() {
            met = self.find_members(&transport).await?;
        }
        let right = Right::new(Clock::Boottime, Timing::of(self.config.profile));
        let promised = right.clone();
        let raft = Handle::start(raft::Options {
            node: me,
            store: Arc::clone(&store),
            recovered,
            transport: Some(transport.clone()),
            profile: self.config.profile,
            on_vote: Some(Arc::new(move |term, own| promised.promise(term, own))),
            standings: Some(standings.clone()),
        })
        .await?;
        enrol::bar_removed(&raft, &transport);
        let authority = proof.directory();
        let stop = CancellationToken::new();
        let (mut tasks, named) = self.keep_finding(&raft, &transport, promise.as_ref(), met, &stop);
        let ticks = Ticks::new();
        tasks.push(tokio::spawn(ticks.clone().watch(raft.clone(), stop.clone())));
        self.core.send_replace(Some(Core { raft: raft.clone(), ticks: ticks.clone() }));
        tasks.push(tokio::spawn(watch_quorum(right.clone(), stop.clone())));
        tasks.push(tokio::spawn(proof.look_after(
            Arc::clone(&credentials),
            transport.clone(),
            self.config.data_dir.clone(),
            stop.clone(),
        )));
        // Raft has it: whoever lets go of the member waits until nobody has.
        let held = store;
        let store = held.failure();
        drop(held);
        let data_dir = self.config.data_dir.clone();
        let told = standings.told();
        let member = Member {
            me,
            cluster,
            data_dir,
            boot,
            raft,
            ticks,
            right,
            transport,
            credentials,
            store,
            stop,
            tasks,
            told,
        };
        self.begin(member, founder && empty, promise, named, authority).await
    }

    /// Finds the other members, wherever they are, for as long as the node runs.
    fn keep_finding(
        &self,
        raft: &Handle,
        transport: &Transport,
        promise: Option<&Promise>,
        met: Vec<(NodeId, SocketAddr)>,
        stop: &CancellationToken,
    ) -> (Vec<JoinHandle<()>>, BTreeSet<NodeId>) {
        let (members, known) = watch::channel(BTreeSet::new());
        let options = directory::Options {
            transport: transport.clone(),
            candidates: self.candidates.clone(),
            name: self.config.name.clone(),
            members: known,
            promise: promise.cloned(),
        };
        let (_directory, keeping) = Directory::start(options, stop.clone());
        let named: BTreeSet<_> = match promise {
            Some(promise) => promise.members.keys().copied().collect(),
            None => met.iter().map(|(node, _)| *node).collect(),
        };
        for (node, address) in met {
            transport.peer(node, address);
        }
        let naming = tokio::spawn(name_members(raft.clone(), members, stop.clone()));
        (vec![keeping, naming], named)
    }

    /// Waits until the cluster knows that this node is here.
    async fn begin(
        &self,
        member: Member,
        forms: bool,
        promise: Option<Promise>,
        named: BTreeSet<NodeId>,
        authority: Option<PathBuf>,
    ) -> Result<Member, NodeError> {
        let entered = member.take_place(self, forms, promise, named);
        let entered = tokio::select! {
            entered = entered => entered,
            ended = member.ended() => Err(ended),
            () = self.stop.cancelled() => Err(NodeError::Stopped),
        };
        if entered.is_err() {
            // Nobody else must hold what is to be let go.
            self.core.send_replace(None);
        }
        match entered {
            Ok(()) => {
                enrol::receive(&member.raft, &member.transport, authority);
                Ok(member)
            }
            Err(NodeError::OldCopy(reason)) => Err(member.set_aside(reason).await),
            Err(NodeError::Removed) if member.has_left().await => {
                // Put aside and not emptied: a recovery may have forgotten it, which knows less than this directory.
                let reason =
                    "this node meant to leave when it was killed, and is no member any more";
                Err(member.set_aside(reason.to_owned()).await)
            }
            Err(error) => {
                member.leave().await;
                Err(error)
            }
        }
    }
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
