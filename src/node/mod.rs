//! A node: everything put together, started in order, stopped in order.
//!
//! The only module that knows all others. Start: open the store, join the cluster (of one), learn from Discord who the
//! bot is, fix or check the facts, serve HTTP, run shards. Stop: no new deliveries, handlers finish, the last
//! checkpoint is committed, connections are closed so that their sessions live on, the log is closed.

mod assemble;
mod backup;
mod changes;
mod consumers;
mod core;
mod discord;
mod enrol;
mod entry;
mod error;
mod facts;
mod front;
mod gauges;
mod handoff;
mod identity;
mod kv;
mod leave;
mod member;
mod neighbours;
mod presence;
mod recover;
mod residents;
mod respawn;
mod rows;
mod signals;
mod stop;
mod story;
mod target;
mod threads;
mod ticks;
mod tokens;
mod view;

pub use error::NodeError;
pub use facts::{FactsError, identify_time};
pub use identity::has_proof;
pub use recover::{RecoverFailure, RecoveryReport, recover};
pub use signals::shutdown_requested;

pub use crate::store::has_left;

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::agent::Board;
use crate::bot::DynBot;
use crate::cluster::{Candidates, Resolution, Waiting};
use crate::config::Config;
use crate::consumer::Consumers;
use crate::control::Wishes;
use crate::gateway::{Rest, RestLimits};
use crate::http;
use crate::ipc::{Handlers, Ipc};
use crate::kubernetes::Pod;
use crate::kv::Kv;
use crate::model::{NodeId, SystemHealth};
use crate::raft::Handle;
use crate::state::{Command, Outcome, State};
use crate::telemetry::Metrics;

use assemble::Parts;
use consumers::BotPort;
use discord::Discord;
use entry::Entry;
use front::Front;
use member::Member;
use threads::Threads;

/// How often what a node's start needs is proposed: a leader may be lost meanwhile, and the next one is soon known.
const COMMIT_ATTEMPTS_MAX: usize = 3;

/// What a node is started with.
#[derive(Debug)]
pub struct Options {
    /// What the operator wants.
    pub config: Config,
    /// What handles the events.
    pub bot: Arc<dyn DynBot>,
    /// What handles other shards' messages. More may be registered while the node runs.
    pub handlers: Handlers,
    /// Consumers, where `bot` hands events to them: they connect to the address that `config` names.
    pub consumers: Option<Consumers>,
    /// What `/metrics` shows.
    pub metrics: Option<Metrics>,
    /// Their port, where it is bound already.
    pub bot_listener: Option<TcpListener>,
    /// The HTTP port, where it is bound already; otherwise the one that `config` names.
    pub listener: Option<TcpListener>,
    /// Whether a total or intents that differ from the committed ones are to be committed, at the price of every
    /// session. Otherwise the start is refused, with the price.
    pub reshard: bool,
}

impl Options {
    /// A node with this configuration and bot.
    #[must_use]
    pub fn new(config: Config, bot: Arc<dyn DynBot>) -> Self {
        Self {
            config,
            bot,
            handlers: Handlers::default(),
            consumers: None,
            bot_listener: None,
            metrics: None,
            listener: None,
            reshard: false,
        }
    }
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    member: Member,
    board: Board,
    ipc: Ipc,
    kv: Kv,
    http: http::Server,
    http_addr: SocketAddr,
    bot_port: Option<BotPort>,
    /// Shown: the node takes no part any more.
    draining: CancellationToken,
    wishes: Wishes,
    /// An operator wants this node to leave the cluster.
    leave: Arc<Notify>,
    /// What this node is to Kubernetes, if it may run there.
    pod: Option<Pod>,
    stop: Stops,
    agent: JoinHandle<()>,
    control: JoinHandle<()>,
    discord: JoinHandle<Option<FactsError>>,
    upkeep: JoinHandle<()>,
    permits: JoinHandle<()>,
    /// Last: what runs there ends with it.
    _threads: Threads,
}

/// What is stopped after what.
#[derive(Clone, Debug, Default)]
struct Stops {
    agent: CancellationToken,
    /// The leader's loop and the observers, once the agent has stopped.
    rest: CancellationToken,
}

impl Node {
    /// Starts a node: `apolo run` and `apolo join`. It returns when the node is a member of a cluster, however long that
    /// takes, and its shards are being started. HTTP is served from the beginning.
    ///
    /// # Errors
    ///
    /// [`NodeError`].
    pub async fn start(options: Options) -> Result<Self, NodeError> {
        install_crypto_provider();
        let Options { config, bot, handlers, consumers, metrics, listener, reshard, .. } = options;
        let token = config.require_token()?.clone();
        let candidates = candidates(&config)?;
        let listener = match listener {
            Some(listener) => listener,
            None => http::bind(http::Port::Http, config.http_addr).await?,
        };
        let http_addr = listener.local_addr().map_err(NodeError::Socket)?;
        let bot_port = consumers::listen(consumers, options.bot_listener, &config).await?;
        let rest = Rest::new(&config.discord_api, token.clone(), RestLimits::default())?;
        let discord = Discord::new(rest, &config, reshard);
        let waiting = watch::Sender::new(Some(Waiting::Opening));
        let core = watch::Sender::new(None);
        let (name, waits) = (config.name.clone(), waiting.subscribe());
        let front = Arc::new(Front::new(name, metrics.clone(), waits, core.subscribe()));
        let serve = http::Options { listener, data_dir: None, token: config.api_token.clone() };
        let http = http::Server::start(serve, Arc::clone(&front) as Arc<dyn http::Source>)
            .map_err(NodeError::Socket)?;
        let (opened, mut is_open) = watch::channel(false);
        // From here on the directory is this process's: who looks into it is told what the node waits for.
        let socket = async {
            match is_open.wait_for(|open| *open).await {
                Ok(_) => http.serve_socket(&config.data_dir).map_err(NodeError::Socket),
                Err(_never_opened) => Ok(()),
            }
        };

        let stop = CancellationToken::new();
        let _stopped_if_dropped = stop.clone().drop_guard();
        let threads = Threads::start().map_err(NodeError::Threads)?;
        let told = waiting.clone();
        let entry = Entry { config: config.clone(), candidates, waiting, opened, core, stop };
        let entered = threads.run(async move { entry.enter().await });
        let member = match tokio::try_join!(entered, socket) {
            Ok((member, ())) => member,
            Err(error) => {
                http.stop().await;
                return Err(error);
            }
        };
        let parts = Parts {
            threads,
            config,
            bot,
            handlers,
            metrics,
            token,
            front,
            http,
            http_addr,
            bot_port,
        };
        parts.assemble(member, discord, &told).await
    }

    /// This node's id.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.member.me
    }

    /// Where HTTP is served.
    #[must_use]
    pub const fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where consumers connect, if any may.
    #[must_use]
    pub fn bot_addr(&self) -> Option<SocketAddr> {
        self.bot_port.as_ref().map(|port| port.address)
    }

    /// Where the other nodes find this one.
    #[must_use]
    pub fn quic_addr(&self) -> SocketAddr {
        self.member.transport.address()
    }

    /// The shards that run here.
    #[must_use]
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// Requests and broadcasts to other shards and nodes.
    #[must_use]
    pub const fn ipc(&self) -> &Ipc {
        &self.ipc
    }

    /// Values, counters, leaderboards and locks that the whole bot shares.
    #[must_use]
    pub const fn kv(&self) -> &Kv {
        &self.kv
    }

    /// What the cluster knows.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.member.raft.states().borrow())
    }

    /// The seed's system health, once the shard total is fixed.
    #[must_use]
    pub fn system_health(&self) -> Option<SystemHealth> {
        self.state().health()
    }

    /// Runs until `stop` is cancelled, then stops in good order, below 30 s (and leaves the cluster where Kubernetes has
    /// scaled its pod away, 20 s more); or until the node has left the cluster, as an operator asked.
    ///
    /// # Errors
    ///
    /// [`NodeError::Failed`] where the disk or Raft failed: nothing is delivered any more by then.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), NodeError> {
        loop {
            let event = self.next_event(&stop).await;
            match event {
                Event::Stop => return Box::pin(self.stop_or_leave()).await,
                Event::Leave => {
                    if self.leave(&stop).await {
                        return self.depart().await;
                    }
                }
                Event::Failed(failure) => {
                    // What can't be made durable must not be delivered.
                    self.member.right.end();
                    error!(error = %failure, "the node can't go on");
                    self.agent.abort();
                    if let NodeError::OldCopy(reason) = failure {
                        return Err(self.set_aside(reason).await);
                    }
                    return Err(failure);
                }
            }
        }
    }

    async fn next_event(&mut self, stop: &CancellationToken) -> Event {
        let failure = tokio::select! {
            () = stop.cancelled() => return Event::Stop,
            () = self.leave.notified() => return Event::Leave,
            ended = self.member.ended() => ended,
            _ = &mut self.agent => NodeError::Ended("the agent"),
            _ = &mut self.control => NodeError::Ended("the leader's loop"),
            Ok(Some(error)) = &mut self.discord => NodeError::Facts(error),
        };
        Event::Failed(failure)
    }
}

/// Why a node does not just go on.
enum Event {
    Stop,
    Leave,
    Failed(NodeError),
}

/// Where the others may be, as the operator wrote it.
fn candidates(config: &Config) -> Result<Candidates, NodeError> {
    let peers = config.peers.iter().map(|peer| peer.parse());
    let discover = config.discover.as_ref().map(|name| name.parse()).transpose()?;
    Ok(Candidates::new(peers.collect::<Result<_, _>>()?, discover))
}

/// The addresses at which this node would look for others.
///
/// # Errors
///
/// Where a peer's name can't be read.
pub async fn resolve(config: &Config) -> Result<Resolution, NodeError> {
    Ok(candidates(config)?.resolve().await)
}

/// Commits a command that the state must not turn down, and that may be committed twice.
async fn commit(raft: &Handle, command: Command) -> Result<(), NodeError> {
    let mut attempts = 1;
    let outcome = loop {
        match raft.propose(command.clone()).await {
            Ok(outcome) => break outcome,
            Err(error) if error.is_retryable() && attempts < COMMIT_ATTEMPTS_MAX => attempts += 1,
            Err(error) => return Err(error.into()),
        }
    };
    match outcome {
        Outcome::Applied | Outcome::Stale | Outcome::User(_) | Outcome::Restored(_) => Ok(()),
        Outcome::Refused(refusal) => Err(NodeError::Refused(refusal)),
    }
}

/// rustls takes its cryptography from a provider of the process; another may be installed already, which is as good.
fn install_crypto_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
