//! A node that has become a member, put together.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::future::{FutureExt as _, join4};
use tokio::{
    runtime,
    sync::{Notify, watch},
    task::{JoinHandle, spawn_blocking},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::warn;

use super::{
    Node, NodeError, Stops,
    consumers::{self, BotPort},
    core::Core,
    discord::Discord,
    front::Front,
    kv,
    member::Member,
    neighbours::{self, Neighbours},
    presence,
    residents::Here,
    story, target,
    threads::Threads,
    view::NodeView,
};
use crate::agent::{self, Agent, Board, ClusterPermits};
use crate::bot::DynBot;
use crate::cluster::Waiting;
use crate::config::Config;
use crate::consumer::Hub;
use crate::control::{self, Control, Wishes};
use crate::gateway::{self, Hosts, Intents, Profile};
use crate::http;
use crate::ipc::{self, Handlers, Ipc};
use crate::kubernetes::Pod;
use crate::kv::Kv;
use crate::model::{ShardId, ShardTotal, Token};
use crate::raft::Handle;
use crate::state::{Command, State};
use crate::telemetry::Metrics;

/// Between two foldings of the samples that have gathered.
const METRICS_FOLD_EVERY: Duration = Duration::from_secs(5);

/// What a node that has become a member is made of.
pub(super) struct Parts {
    pub(super) threads: Threads,
    pub(super) config: Config,
    pub(super) bot: Arc<dyn DynBot>,
    pub(super) handlers: Handlers,
    pub(super) metrics: Option<Metrics>,
    pub(super) token: Token,
    pub(super) front: Arc<Front>,
    pub(super) http: http::Server,
    pub(super) http_addr: SocketAddr,
    pub(super) bot_port: Option<BotPort>,
}

impl Parts {
    pub(super) async fn assemble(
        self,
        member: Member,
        mut discord: Discord,
        waiting: &watch::Sender<Option<Waiting>>,
    ) -> Result<Node, NodeError> {
        let raft = member.raft.clone();
        let stop = Stops::default();
        let options = control::Options {
            spawn_delay: self.config.shard_spawn_delay,
            voters: self.config.voters,
        };
        let (control, doors) =
            Control::new(raft.clone(), member.right.clone(), Some(&member.transport), options);
        // From here on: without a leader's loop there is no leader that grants or plans.
        let control = self.threads.spawn(control.run(stop.rest.clone()));
        let settled = tokio::select! {
            settled = discord.settle(&raft, waiting) => settled,
            ended = member.ended() => Err(ended),
        };
        let settled = settled.and_then(|url| {
            let gateway = connection(&self.config, &self.token, url)?;
            let token = self.bot_port.as_ref().map(|_| consumers::token(&self.config));
            Ok((gateway, token.transpose()?))
        });
        let (gateway, bot_token) = match settled {
            Ok(settled) => settled,
            Err(error) => {
                return Err(Box::pin(self.give_up(member, raft, control, stop, error)).await);
            }
        };
        let here: Arc<dyn gateway::Permits> = Arc::new(doors.permits);
        let permits = ClusterPermits::new(raft.clone(), Some(member.transport.clone()), here);
        let board = Board::default();
        let ipc = self.ipc(&member, &board);
        let (kv, keeping) = kv::open(&member, stop.rest.clone());
        let shards = (board.clone(), ipc.clone(), kv.clone());
        let agent = self.agent(&member, gateway, permits.clone(), doors.reports, shards);
        let (draining, leave) = (CancellationToken::new(), Arc::new(Notify::new()));
        let mut view = self.view(&member, (&board, &kv), doors.wishes.clone());
        (view.draining, view.leave) = (draining.clone(), Arc::clone(&leave));
        self.show(view, &member);
        if let Some((port, token)) = self.bot_port.as_ref().zip(bot_token) {
            port.open(&self.config, self.hub(port, token, (&board, &ipc), raft.states()));
        }
        let upkeep = self.background(&member, keeping, &stop.rest);
        let Config { name, kubernetes_api, service_account_dir, .. } = &self.config;
        let pod = Pod::named(name, kubernetes_api.clone(), service_account_dir.clone());
        Ok(Node {
            board,
            ipc,
            kv,
            http: self.http,
            http_addr: self.http_addr,
            bot_port: self.bot_port,
            agent: self.threads.spawn(agent.run(stop.agent.clone())),
            control,
            discord: tokio::spawn(discord.watch(raft, stop.rest.clone())),
            upkeep,
            permits: self.threads.spawn(permits.run(stop.rest.clone())),
            draining,
            wishes: doors.wishes,
            leave,
            pod,
            stop,
            member,
            _threads: self.threads,
        })
    }

    /// Ends a member that can't run shards.
    async fn give_up(
        self,
        member: Member,
        raft: Handle,
        control: JoinHandle<()>,
        stop: Stops,
        error: NodeError,
    ) -> NodeError {
        let is_member =
            !matches!(error, NodeError::Failed(_) | NodeError::Removed | NodeError::OldCopy(_));
        if is_member {
            // It is known to be there: until it is lost, others would give it shards.
            let stops = Command::StopNode { node: member.me, boot: member.boot };
            if let Err(error) = raft.propose_at_the_end(stops).await {
                warn!(%error, "the cluster could not be told that this node stops");
            }
        }
        stop.rest.cancel();
        let _ = control.await;
        self.http.stop().await;
        // Nobody else must hold what is to be let go.
        drop((raft, self.front));
        if let NodeError::OldCopy(reason) = error {
            return member.set_aside(reason).await;
        }
        member.leave().await;
        error
    }

    fn view(&self, member: &Member, (board, kv): (&Board, &Kv), wishes: Wishes) -> NodeView {
        NodeView {
            me: member.me,
            name: self.config.name.clone(),
            raft: member.raft.clone(),
            right: member.right.clone(),
            wishes,
            leave: Arc::default(),
            kv: kv.clone(),
            credentials: Arc::clone(&member.credentials),
            board: board.clone(),
            neighbours: Neighbours::new(member.me, member.transport.clone()),
            metrics: self.metrics.clone(),
            started: Instant::now(),
            core: Core { raft: member.raft.clone(), ticks: member.ticks.clone() },
            draining: CancellationToken::new(),
            shards_per_pod: self.config.shards_per_pod,
            bot_port: self.bot_port.as_ref().map(BotPort::shown),
        }
    }

    /// What goes on beside everything else, until `stop`.
    fn background(
        &self,
        member: &Member,
        keeping: impl Future<Output = ()> + Send + 'static,
        stop: &CancellationToken,
    ) -> JoinHandle<()> {
        let (raft, stop) = (member.raft.clone(), || stop.clone());
        let telling = story::tell(raft.clone(), self.front.told(), stop());
        let over = target::watch(raft, member.me, self.config.shards_per_pod, stop());
        let keeping = AbortOnDropHandle::new(self.threads.spawn(keeping));
        let upkeep = upkeep(self.metrics.clone(), self.config.data_dir.clone(), stop());
        tokio::spawn(join4(upkeep, over, keeping, telling).map(drop))
    }

    /// From here on the node is shown over HTTP, and to the others.
    fn show(&self, view: NodeView, member: &Member) {
        let board = view.board.clone();
        self.front.open(view);
        // Weak: what is shown holds the way to the others.
        let shown = Arc::downgrade(&self.front);
        let look = move || shown.upgrade().map(|front| front.look()).unwrap_or_default();
        neighbours::serve(&member.transport, board, look);
    }

    /// What consumers reach.
    fn hub(
        &self,
        port: &BotPort,
        token: Token,
        (board, ipc): (&Board, &Ipc),
        states: watch::Receiver<Arc<State>>,
    ) -> Hub {
        Hub {
            consumers: port.consumers.clone(),
            ipc: ipc.clone(),
            board: board.clone(),
            source: Arc::clone(&self.front) as Arc<dyn http::Source>,
            states,
            handlers: self.handlers.clone(),
            token,
        }
    }

    fn ipc(&self, member: &Member, board: &Board) -> Ipc {
        Ipc::new(ipc::Options {
            me: member.me,
            boot: member.boot,
            handlers: self.handlers.clone(),
            residents: Arc::new(Here {
                me: member.me,
                board: board.clone(),
                right: member.right.clone(),
                states: member.raft.states(),
            }),
            states: member.raft.states(),
            transport: Some(member.transport.clone()),
        })
    }

    fn agent(
        &self,
        member: &Member,
        gateway: gateway::Options,
        permits: ClusterPermits,
        local: agent::LocalReports,
        (board, ipc, kv): (Board, Ipc, Kv),
    ) -> Agent {
        let options = agent::Options {
            me: member.me,
            boot: member.boot,
            bot: Arc::clone(&self.bot),
            gateway,
            permits: Arc::new(permits),
            right: member.right.clone(),
            transport: Some(member.transport.clone()),
            local,
            board,
            ipc,
            bots: runtime::Handle::current(),
            kv,
            health_check_interval: self.config.health_check_interval,
            shard_timeout: self.config.shard_timeout,
        };
        Agent::new(member.raft.clone(), options)
    }
}

fn connection(config: &Config, token: &Token, url: String) -> Result<gateway::Options, NodeError> {
    let intents = Intents::from_bits_truncate(config.intents.bits());
    let mut profile = Profile::new(token, intents);
    if let Some(presence) = &config.presence {
        profile = profile.presence(presence::payload(presence));
    }
    let hosts = Hosts::of_api(&config.discord_api).with_gateway(&url)?;
    let options = gateway::Options::new(ShardId(0), ShardTotal::ONE, profile, url);
    Ok(gateway::Options { hosts, ..options })
}

/// Keeps the metrics' memory bounded between two scrapes, and looks at what a scrape should not wait for.
async fn upkeep(metrics: Option<Metrics>, directory: PathBuf, stop: CancellationToken) {
    let Some(metrics) = metrics else {
        return;
    };
    while timeout(METRICS_FOLD_EVERY, stop.cancelled()).await.is_err() {
        metrics.fold();
        let directory = directory.clone();
        if let Ok(bytes) = spawn_blocking(move || bytes_in(&directory)).await {
            metrics::gauge!("apolo_store_bytes").set(bytes as f64);
        }
    }
}

/// What a data directory takes. A file that goes meanwhile takes nothing.
fn bytes_in(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_in(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    bytes.sum()
}
