//! A running cluster with its Discord, and what can be waited for.

use std::{collections::BTreeMap, io, net::SocketAddr, path::PathBuf, time::Duration};

use apolo::{
    ShardTotal,
    http::{Role, View},
    simulator::{self, Simulator, Truth},
};
use tempfile::TempDir;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use super::{
    account::{Account, Totals},
    nodes::{Nodes, view},
};
use crate::kills::{Life, audit};

/// How many nodes, under what load.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The `apolo-chaos` binary.
    pub program: PathBuf,
    /// Nodes.
    pub nodes: usize,
    /// Shards.
    pub shards: u32,
    /// Guilds.
    pub guilds: u64,
    /// Events a second.
    pub event_rate: f64,
}

/// Why a scenario could not be run to its end.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// A file or a process.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The simulator.
    #[error(transparent)]
    Simulator(#[from] simulator::StartError),
    /// Something that must come about did not.
    #[error("not so within {within:?}: {what}; {seen}; the nodes' logs end so:\n{log}")]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        within: Duration,
        /// How it was instead.
        seen: String,
        /// The logs' ends.
        log: String,
    },
}

/// The cluster has formed and every shard has identified, on a machine that may be busy.
const UP_WITHIN: Duration = Duration::from_secs(120);

/// All is well again after a break. The goals are seconds; a test must not fail for a busy machine.
pub(super) const WELL_WITHIN: Duration = Duration::from_secs(60);

/// apolo balances nothing for 30 s after the last hand-offs, and then so many at once.
const SPREAD_WITHIN: Duration = Duration::from_secs(120);

/// Load before each break: a few checkpoints.
pub(super) const LOAD: Duration = Duration::from_millis(700);

/// The last events have been handled.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Of a node that is told to stop: apolo's own limit is 10 s.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// By the simulator, for a RESUME.
const REPLAYED: Duration = Duration::from_secs(10);

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Between two looks through HTTP, which cost the nodes something.
const VIEW_EVERY: Duration = Duration::from_millis(50);

pub(super) struct Cluster {
    pub(super) nodes: Nodes,
    pub(super) simulator: Simulator,
    pub(super) shards: usize,
    /// Gone with the last use of the nodes.
    _directory: TempDir,
}

impl Cluster {
    /// Starts all, and returns when every shard is up and every node sees every other.
    pub(super) async fn start(options: &ClusterOptions) -> Result<Self, ClusterError> {
        let mut cluster = Self::prepare(options).await?;
        for nth in 0..options.nodes {
            cluster.nodes.start(nth)?;
        }
        cluster.up(options.nodes).await?;
        Ok(cluster)
    }

    /// Every shard is up, and every node sees every other.
    pub(super) async fn up(&self, nodes: usize) -> Result<(), ClusterError> {
        self.connected("every shard is up", UP_WITHIN).await?;
        self.whole(&format!("{nodes} nodes are there"), UP_WITHIN).await?;
        Ok(())
    }

    /// Every node owns as many shards as any other: one that came late owns none until they are balanced.
    pub(super) async fn spread(&self) -> Result<(), ClusterError> {
        let began = Instant::now();
        loop {
            let view = self.whole("shards are spread", SPREAD_WITHIN).await?;
            let counts = || view.nodes.iter().map(|node| node.shards);
            if counts().max() <= counts().min().map(|fewest| fewest + 1) {
                return Ok(());
            }
            if began.elapsed() > SPREAD_WITHIN {
                return Err(self.late("shards are spread", SPREAD_WITHIN, summary(&[view])));
            }
            sleep(VIEW_EVERY).await;
        }
    }

    /// The simulator runs, and no node yet.
    pub(super) async fn prepare(options: &ClusterOptions) -> Result<Self, ClusterError> {
        Self::prepare_on(options, discord(options, REPLAYED).await?)
    }

    /// The same with another Discord than most scenarios have.
    pub(super) fn prepare_on(
        options: &ClusterOptions,
        simulator: Simulator,
    ) -> Result<Self, ClusterError> {
        let directory = TempDir::new()?;
        let nodes = Nodes::new(&options.program, directory.path(), options.nodes, &simulator)?;
        Ok(Self { nodes, simulator, shards: options.shards as usize, _directory: directory })
    }

    /// Every shard has a connection that gets its events.
    pub(super) async fn connected(&self, what: &str, within: Duration) -> Result<(), ClusterError> {
        let shards = self.shards;
        self.until(what, within, |truth| established(truth) >= shards).await
    }

    /// Some shard has none.
    pub(super) async fn broken(&self, what: &str) -> Result<(), ClusterError> {
        let shards = self.shards;
        self.until(what, WELL_WITHIN, |truth| established(truth) < shards).await
    }

    pub(super) async fn until(
        &self,
        what: &str,
        within: Duration,
        done: impl Fn(&Truth) -> bool,
    ) -> Result<(), ClusterError> {
        let wait = async {
            while !done(&self.simulator.truth()) {
                sleep(LOOK_EVERY).await;
            }
        };
        let waited = timeout(within, wait).await;
        waited.map_err(|_| self.late(what, within, format!("{} shards up", self.established())))
    }

    fn established(&self) -> usize {
        established(&self.simulator.truth())
    }

    /// Every living node sees every node, one leader, a lease of its own, and no shard that is down.
    pub(super) async fn whole(&self, what: &str, within: Duration) -> Result<View, ClusterError> {
        let living: Vec<usize> = self.nodes.living().collect();
        let mut seen = String::new();
        let whole = async {
            loop {
                let mut views = Vec::new();
                for nth in &living {
                    views.extend(self.nodes.view_of(*nth).await);
                }
                let up = self.established();
                if up >= self.shards && agree(&views, living.len()) {
                    return views.swap_remove(0);
                }
                seen = format!("{up} shards up; {}", summary(&views));
                sleep(VIEW_EVERY).await;
            }
        };
        let waited = timeout(within, whole).await;
        waited.map_err(|_| self.late(what, within, seen))
    }

    /// Kills a node, and waits for its end.
    pub(super) async fn kill(&mut self, nth: usize) -> Result<(), ClusterError> {
        if let Some(mut child) = self.nodes.nodes[nth].child.take() {
            child.start_kill()?;
            child.wait().await?;
        }
        Ok(())
    }

    /// Asks a node to stop, and waits for its end.
    pub(super) async fn stop(&mut self, nth: usize) -> Result<(), ClusterError> {
        self.nodes.signal(nth, nix::sys::signal::Signal::SIGTERM)?;
        self.ended(nth).await
    }

    /// Asks a node to leave the cluster, and waits for its end.
    pub(super) async fn leave(&mut self, nth: usize) -> Result<(), ClusterError> {
        if self.nodes.ask_to_leave(nth).await.is_none() {
            return Err(self.late("an answer", STOPPED_WITHIN, "none".to_owned()));
        }
        self.ended(nth).await
    }

    pub(super) async fn ended(&mut self, nth: usize) -> Result<(), ClusterError> {
        let Some(mut child) = self.nodes.nodes[nth].child.take() else { return Ok(()) };
        let Ok(status) = timeout(STOPPED_WITHIN, child.wait()).await else {
            return Err(self.late("a node stops", STOPPED_WITHIN, "it goes on".to_owned()));
        };
        let status = status?;
        if status.success() {
            return Ok(());
        }
        Err(self.late("a node stops with status 0", STOPPED_WITHIN, status.to_string()))
    }

    /// How long some shard was down in the `span` from now on: from now to the last moment at which one was.
    pub(super) async fn watch(&self, span: Duration) -> Duration {
        let began = Instant::now();
        let mut down = Duration::ZERO;
        while began.elapsed() < span {
            if self.established() < self.shards {
                down = began.elapsed();
            }
            sleep(LOOK_EVERY).await;
        }
        down
    }

    pub(super) fn late(&self, what: &str, within: Duration, seen: String) -> ClusterError {
        let log = self.nodes.logs();
        ClusterError::Late { what: what.to_owned(), within, seen, log }
    }

    /// Stops the events, waits for the last one, and compares what the bots wrote with what the simulator knows.
    pub(super) async fn account(self) -> Account {
        let (all, living) = (self.nodes.http_addresses(), self.nodes.living());
        let living: Vec<_> = living.map(|nth| all[nth]).collect();
        settle(&self.simulator, self.shards, || self.nodes.lives(), &living).await
    }
}

/// Stops the events, waits for the last one, and compares what the bots wrote with what the simulator knows and the
/// living nodes have counted.
pub(super) async fn settle(
    simulator: &Simulator,
    shards: usize,
    lives: impl Fn() -> Vec<Life>,
    living: &[SocketAddr],
) -> Account {
    simulator.set_event_rate(0.0);
    let settled = async {
        while audit(&lives(), &simulator.truth()).lost > 0
            || totals(simulator, living).await.is_some_and(|totals| totals.wrong > 0)
        {
            sleep(LOOK_EVERY * 20).await;
        }
    };
    // What is missing is the account's to tell.
    let _ = timeout(SETTLED_WITHIN, settled).await;
    let truth = simulator.truth();
    let totals = totals(simulator, living).await;
    Account::new(shards, audit(&lives(), &truth), &truth, totals)
}

/// What the cluster has counted, by any node's account.
async fn totals(simulator: &Simulator, living: &[SocketAddr]) -> Option<Totals> {
    for address in living {
        if let Some(view) = view(*address).await {
            return Some(Totals::new(&view, &simulator.truth()));
        }
    }
    None
}

/// A Discord that replays what so long has brought.
pub(super) async fn discord(
    options: &ClusterOptions,
    replayed: Duration,
) -> Result<Simulator, simulator::StartError> {
    Simulator::start(discord_options(options, replayed)).await
}

/// Its options.
pub(super) fn discord_options(options: &ClusterOptions, replayed: Duration) -> simulator::Options {
    let each = options.event_rate * replayed.as_secs_f64() / f64::from(options.shards);
    simulator::Options {
        guilds: options.guilds,
        recommended_shards: ShardTotal::new(options.shards).unwrap_or(ShardTotal::ONE),
        event_rate: options.event_rate,
        // As much again as a shard's fair part may vary.
        buffer: Some(each as usize + 1_000),
        max_concurrency: 64,
        ..simulator::Options::default()
    }
}

/// Shards with a connection that gets a session's events.
pub(super) fn established(truth: &Truth) -> usize {
    let open = truth.connections.iter().filter(|it| it.closed_ms.is_none());
    open.filter(|it| it.established_ms.is_some_and(|at| at <= truth.at_ms)).count()
}

/// They all see `living` nodes that are not lost, one leader, and a lease of their own.
pub(super) fn agree(views: &[View], living: usize) -> bool {
    let leaders: BTreeMap<_, usize> = views.iter().fold(BTreeMap::new(), |mut leaders, view| {
        *leaders.entry(view.leader.clone()).or_default() += 1;
        leaders
    });
    views.len() == living
        && leaders.len() == 1
        && leaders.keys().all(Option::is_some)
        && views.iter().all(|view| {
            let present = view.nodes.iter().filter(|node| !node.lost).count();
            view.lease && present == living && view.nodes.iter().all(|it| it.role != Role::None)
        })
}

pub(super) fn summary(views: &[View]) -> String {
    let one = |view: &View| {
        let rows = view.nodes.iter();
        let rows: Vec<_> = rows
            .map(|row| {
                format!(
                    "{} {:?} {}{}",
                    row.name,
                    row.role,
                    row.shards,
                    if row.lost { " lost" } else { "" }
                )
            })
            .collect();
        let leader = view.leader.as_deref().unwrap_or("nobody");
        let lease = if view.lease { "a lease" } else { "no lease" };
        format!("{} sees {leader} lead, has {lease}: {}", view.node.name, rows.join(", "))
    };
    views.iter().map(one).collect::<Vec<_>>().join("; ")
}
