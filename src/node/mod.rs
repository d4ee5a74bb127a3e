//! A node: everything put together, started in order, stopped in order.
//!
//! The only module that knows all others. Start: open the store, join the cluster (of one), learn from Discord who the
//! bot is, fix or check the facts, serve HTTP, run shards. Stop: no new deliveries, handlers finish, the last
//! checkpoint is committed, connections are closed so that their sessions live on, the log is closed.

mod discord;
mod error;
mod facts;
mod member;
mod presence;
mod signals;
mod view;

pub use error::NodeError;
pub use facts::{FactsError, identify_time};
pub use signals::shutdown_requested;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::agent::{self, Agent, Board, Fence};
use crate::bot::DynBot;
use crate::config::Config;
use crate::control::Control;
use crate::gateway::{self, Hosts, Intents, Profile, Rest, RestLimits};
use crate::http;
use crate::model::{NodeId, ShardId, ShardTotal, SystemHealth, Token};
use crate::raft::Handle;
use crate::state::{Command, Outcome, State};
use crate::telemetry::Metrics;

use discord::Discord;
use member::Member;
use view::NodeView;

/// How long the orderly end of the agent may take, beyond which its tasks are dropped.
const STOP_WITHIN: Duration = Duration::from_millis(9_500);

/// Between two foldings of the samples that have gathered.
const METRICS_FOLD_EVERY: Duration = Duration::from_secs(5);

/// What a node is started with.
#[derive(Debug)]
pub struct Options {
    /// What the operator wants.
    pub config: Config,
    /// What handles the events.
    pub bot: Arc<dyn DynBot>,
    /// What `/metrics` shows.
    pub metrics: Option<Metrics>,
    /// The HTTP port, where it is bound already; otherwise the one that `config` names.
    pub listener: Option<TcpListener>,
    /// Whether a total or intents that differ from the committed ones are to be committed, at the price of every
    /// session. Otherwise the start is refused, with the price.
    pub reshard: bool,
}

impl Options {
    /// A node with this configuration and bot.
    #[must_use]
    pub const fn new(config: Config, bot: Arc<dyn DynBot>) -> Self {
        Self { config, bot, metrics: None, listener: None, reshard: false }
    }
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    member: Member,
    fence: Fence,
    board: Board,
    http: http::Server,
    http_addr: SocketAddr,
    draining: CancellationToken,
    /// Asks the leader's loop and the observers to stop, once the agent has.
    stop: CancellationToken,
    agent: JoinHandle<()>,
    control: JoinHandle<()>,
    discord: JoinHandle<Option<FactsError>>,
    upkeep: JoinHandle<()>,
}

impl Node {
    /// Starts a node: `apolo run`. It returns when the node leads its cluster of one and its shards are being started.
    ///
    /// # Errors
    ///
    /// [`NodeError`].
    pub async fn start(options: Options) -> Result<Self, NodeError> {
        install_crypto_provider();
        let Options { config, bot, metrics, listener, reshard } = options;
        let token = config.require_token()?.clone();
        let listener = match listener {
            Some(listener) => listener,
            None => http::bind(config.http_addr).await?,
        };
        let rest = Rest::new(&config.discord_api, token.clone(), RestLimits::default())?;
        let mut discord = Discord::new(rest, &config, reshard);
        let member = Member::alone(&config).await?;
        let (me, raft) = (member.me, member.raft.clone());
        let settled = discord.settle(&raft).await;
        let connection = settled.and_then(|url| connection(&config, &token, url));
        let gateway = match connection {
            Ok(gateway) => gateway,
            Err(error) => {
                drop(raft);
                member.leave().await;
                return Err(error);
            }
        };

        let (control, permits) = Control::new(raft.clone(), config.shard_spawn_delay);
        let fence = Fence::default();
        let agent = Agent::new(
            raft.clone(),
            agent::Options {
                me,
                bot,
                gateway,
                permits: Arc::new(permits),
                fence: fence.clone(),
                health_check_interval: config.health_check_interval,
                shard_timeout: config.shard_timeout,
            },
        );
        let board = agent.board();
        let draining = CancellationToken::new();
        let stop = CancellationToken::new();
        let folded = metrics.clone();
        let view = NodeView {
            me,
            name: config.name.clone(),
            raft: raft.clone(),
            board: board.clone(),
            metrics,
            started: Instant::now(),
            draining: draining.clone(),
        };
        let http_addr = listener.local_addr().map_err(NodeError::Socket)?;
        let serve = http::Options {
            listener,
            data_dir: Some(&config.data_dir),
            token: config.api_token.clone(),
        };
        let http = http::Server::start(serve, Arc::new(view)).map_err(NodeError::Socket)?;
        Ok(Self {
            member,
            fence,
            board,
            http,
            http_addr,
            agent: tokio::spawn(agent.run(draining.clone())),
            control: tokio::spawn(control.run(stop.clone())),
            discord: tokio::spawn(discord.watch(raft.clone(), stop.clone())),
            upkeep: tokio::spawn(upkeep(folded, stop.clone())),
            draining,
            stop,
        })
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

    /// The shards that run here.
    #[must_use]
    pub fn board(&self) -> Board {
        self.board.clone()
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

    /// Runs until `stop` is cancelled, then stops in good order within 10 s.
    ///
    /// # Errors
    ///
    /// [`NodeError::Failed`] where the disk or Raft failed: nothing is delivered any more by then.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), NodeError> {
        let failure = tokio::select! {
            () = stop.cancelled() => None,
            failure = self.member.raft.fatal() => Some(NodeError::Failed(failure)),
            _ = &mut self.agent => Some(NodeError::Ended("the agent")),
            _ = &mut self.control => Some(NodeError::Ended("the leader's loop")),
            Ok(Some(error)) = &mut self.discord => Some(NodeError::Facts(error)),
        };
        if let Some(failure) = failure {
            // What can't be made durable must not be delivered.
            self.fence.take_down();
            error!(error = %failure, "the node can't go on");
            self.agent.abort();
            return Err(failure);
        }
        self.shutdown().await;
        Ok(())
    }

    /// Stops in good order: no new deliveries, handlers finish (8 s at most), the last checkpoint is committed, the
    /// connections are closed with 4000, so that Discord keeps the sessions.
    pub async fn shutdown(self) {
        self.draining.cancel();
        if timeout(STOP_WITHIN, self.agent).await.is_err() {
            warn!("the shards did not stop in time");
            self.fence.take_down();
        }
        self.stop.cancel();
        let _ = tokio::join!(self.control, self.discord, self.upkeep);
        self.http.stop().await;
        self.member.leave().await;
        info!("stopped");
    }
}

/// Commits a command that the state must not turn down.
async fn commit(raft: &Handle, command: Command) -> Result<(), NodeError> {
    match raft.propose(command).await? {
        Outcome::Applied | Outcome::Stale => Ok(()),
        Outcome::Refused(refusal) => Err(NodeError::Refused(refusal)),
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

/// Keeps the metrics' memory bounded between two scrapes.
async fn upkeep(metrics: Option<Metrics>, stop: CancellationToken) {
    let Some(metrics) = metrics else {
        return;
    };
    while timeout(METRICS_FOLD_EVERY, stop.cancelled()).await.is_err() {
        metrics.fold();
    }
}

/// rustls takes its cryptography from a provider of the process; another may be installed already, which is as good.
fn install_crypto_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
