//! The rounds: all is well, kill, wait until all is well again, start the dead one.

use std::{io, path::PathBuf, time::Duration};

use apolo::{
    ShardTotal,
    http::{Role, View},
    simulator::{self, Simulator, Truth},
};
use tempfile::TempDir;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use crate::kills::audit;

use super::{
    nodes::Nodes,
    report::{ClusterReport, Failover},
};

/// Who is killed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Whom {
    /// Whoever leads.
    Leader,
    /// Whoever owns most shards and does not lead.
    Owner,
}

/// What is killed, how often, under what load.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The `apolo-chaos` binary.
    pub program: PathBuf,
    /// Nodes.
    pub nodes: usize,
    /// Kills: of the leader and of the owner of most shards in turn.
    pub kills: usize,
    /// Shards.
    pub shards: u32,
    /// Guilds.
    pub guilds: u64,
    /// Events a second.
    pub event_rate: f64,
}

/// Why the rounds could not be run.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// A file or a process.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The simulator.
    #[error(transparent)]
    Simulator(#[from] simulator::StartError),
    /// Something that must come about did not.
    #[error("round {round}: {what} within {within:?}; the nodes' logs end so:\n{log}")]
    Late {
        /// The round.
        round: usize,
        /// What was waited for.
        what: &'static str,
        /// For how long.
        within: Duration,
        /// The logs' ends.
        log: String,
    },
}

/// The cluster has formed and every shard has identified, on a machine that may be busy.
const UP_WITHIN: Duration = Duration::from_secs(120);

/// Every shard is resumed after a kill. The goal is 6 s; a test must not fail for a busy machine.
const RESUMED_WITHIN: Duration = Duration::from_secs(60);

/// A node that was started again has caught up.
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// The last events have been handled.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Load between the return of a node and the next kill: a few checkpoints.
const LOAD: Duration = Duration::from_millis(700);

const LOOK_EVERY: Duration = Duration::from_millis(5);

const LOG_LINES: usize = 12;

/// Runs the rounds. `told` hears of each that is over.
///
/// # Errors
///
/// [`ClusterError`]. What was found is no error: see [`ClusterReport::holds`].
pub async fn cluster_kills(
    options: &ClusterOptions,
    told: impl Fn(usize),
) -> Result<ClusterReport, ClusterError> {
    let directory = TempDir::new()?;
    let simulator = Simulator::start(simulator::Options {
        guilds: options.guilds,
        recommended_shards: ShardTotal::new(options.shards).unwrap_or(ShardTotal::ONE),
        event_rate: options.event_rate,
        // Ten seconds of the rate, as the issue has it.
        buffer: Some((options.event_rate * 10.0 / f64::from(options.shards)) as usize + 1_000),
        max_concurrency: 64,
        ..simulator::Options::default()
    })
    .await?;
    let mut rounds = Rounds {
        nodes: Nodes::new(&options.program, directory.path(), options.nodes, &simulator)?,
        simulator,
        round: 0,
        shards: options.shards as usize,
    };
    for nth in 0..options.nodes {
        rounds.nodes.start(nth)?;
    }
    rounds.all_established("every shard is up", UP_WITHIN).await?;
    let mut failovers = Vec::new();
    for round in 0..options.kills {
        rounds.round = round + 1;
        let whom = if round % 2 == 0 { Whom::Leader } else { Whom::Owner };
        failovers.push(rounds.kill(whom).await?);
        told(round + 1);
    }
    rounds.finish(options, failovers).await
}

struct Rounds {
    nodes: Nodes,
    simulator: Simulator,
    round: usize,
    shards: usize,
}

/// Connections that get a session's events.
fn established(truth: &Truth) -> usize {
    let open = truth.connections.iter().filter(|it| it.closed_ms.is_none());
    open.filter(|it| it.established_ms.is_some_and(|at| at <= truth.at_ms)).count()
}

impl Rounds {
    async fn kill(&mut self, whom: Whom) -> Result<Failover, ClusterError> {
        let view = self.settled_view().await?;
        // The load is what is between two kills.
        sleep(LOAD).await;
        let victim = choose(&view, whom);
        let Some((victim, nth)) = victim.and_then(|it| Some((it, self.nodes.index_of(&it.name)?)))
        else {
            return Err(self.late("somebody to kill", BACK_WITHIN));
        };
        let failed = Instant::now();
        let shards = self.shards;
        if let Some(mut child) = self.nodes.nodes[nth].child.take() {
            child.start_kill()?;
            child.wait().await?;
        }
        if victim.shards > 0 {
            self.wait("its connections are gone", RESUMED_WITHIN, |truth| {
                established(truth) < shards
            })
            .await?;
        }
        self.all_established("every shard is resumed", RESUMED_WITHIN).await?;
        let resumed_in = failed.elapsed();
        self.nodes.start(nth)?;
        let role = if victim.role == Role::Leader { "leader" } else { "follower" };
        Ok(Failover { role, shards: victim.shards, resumed_in })
    }

    /// Every node is there, has caught up, and every shard is connected.
    async fn settled_view(&self) -> Result<View, ClusterError> {
        let count = self.nodes.nodes.len();
        let settled = async {
            loop {
                if let Some(view) = self.nodes.view().await
                    && view.nodes.len() == count
                    && view.nodes.iter().all(|node| !node.lost)
                    && view.nodes.iter().any(|node| node.role == Role::Leader)
                    && established(&self.simulator.truth()) >= self.shards
                {
                    return view;
                }
                sleep(LOOK_EVERY * 10).await;
            }
        };
        timeout(BACK_WITHIN, settled)
            .await
            .map_err(|_| self.late("all nodes are back", BACK_WITHIN))
    }

    async fn all_established(
        &self,
        what: &'static str,
        within: Duration,
    ) -> Result<(), ClusterError> {
        self.wait(what, within, |truth| established(truth) >= self.shards).await
    }

    async fn wait(
        &self,
        what: &'static str,
        within: Duration,
        done: impl Fn(&Truth) -> bool,
    ) -> Result<(), ClusterError> {
        let until = async {
            while !done(&self.simulator.truth()) {
                sleep(LOOK_EVERY).await;
            }
        };
        timeout(within, until).await.map_err(|_| self.late(what, within))
    }

    fn late(&self, what: &'static str, within: Duration) -> ClusterError {
        ClusterError::Late { round: self.round, what, within, log: self.nodes.logs(LOG_LINES) }
    }

    /// Stops the events, waits for the last one, and compares.
    async fn finish(
        self,
        options: &ClusterOptions,
        failovers: Vec<Failover>,
    ) -> Result<ClusterReport, ClusterError> {
        self.simulator.set_event_rate(0.0);
        let settled = async {
            while audit(&self.nodes.lives(), &self.simulator.truth()).lost > 0 {
                sleep(LOOK_EVERY * 20).await;
            }
        };
        // What is missing is the report's to tell.
        let _ = timeout(SETTLED_WITHIN, settled).await;
        let truth = self.simulator.truth();
        let broken = truth.broken.iter();
        Ok(ClusterReport {
            nodes: options.nodes,
            shards: options.shards,
            audit: audit(&self.nodes.lives(), &truth),
            identifies: truth.identifies_accepted + truth.identifies_refused,
            resumes: (truth.resumes_accepted, truth.resumes_refused),
            overlaps: truth.overlaps(0).len(),
            broken: broken
                .map(|(rule, broken)| format!("{rule:?} × {}: {}", broken.count, broken.last))
                .collect(),
            failovers,
        })
    }
}

fn choose(view: &View, whom: Whom) -> Option<&apolo::http::NodeRow> {
    let leads = |node: &&apolo::http::NodeRow| node.role == Role::Leader;
    match whom {
        Whom::Leader => view.nodes.iter().find(leads),
        Whom::Owner => view.nodes.iter().filter(|node| !leads(node)).max_by_key(|node| node.shards),
    }
}
