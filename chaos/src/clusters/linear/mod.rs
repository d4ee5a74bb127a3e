//! The key-value store under clients who write down what they asked and were told, while its nodes are broken.
//!
//! ```text
//!   clients ──HTTP──▶ nodes ◀── one fault a history: kill, cut off, freeze; then heal
//!      └──▶ history, and at its end a read of every key from every node ──▶ crate::linear::check
//! ```
//!
//! It promises that each history has at least so many answered operations, some before its fault, some while it lasts
//! and some after it, and that a fault of the leader lasts until another node leads. It does not choose when threads
//! run: the same seed asks for the same things, and gets another history.

mod client;
mod connection;
mod fault;
mod report;
mod workload;

pub use report::{LinearReport, Recorded};

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep, timeout},
};

use super::{
    cluster::{Cluster, ClusterError, ClusterOptions, WELL_WITHIN},
    firewall::can_partition,
};
use crate::linear::{History, Verdict, check};
use client::{Client, Tally};
use fault::Fault;
use workload::Workload;

/// What is asked, how often, and where a history is kept that does not hold.
#[derive(Clone, Debug)]
pub struct LinearOptions {
    /// The `apolo-chaos` binary.
    pub program: PathBuf,
    /// Nodes.
    pub nodes: usize,
    /// Histories.
    pub histories: usize,
    /// Answered operations of each, at least.
    pub operations: usize,
    /// Of the faults and of what is asked.
    pub seed: u64,
    /// Reads look at the node's own copy, which may be old: to see that the checker notices.
    pub stale: bool,
    /// A directory for histories that do not hold.
    pub save_in: PathBuf,
}

/// More than the nodes have processors, and enough that operations overlap on every key.
const CLIENTS: usize = 24;

/// A check takes some milliseconds. What takes this long has failed.
const CHECK_WITHIN: Duration = Duration::from_secs(20);

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Records histories of one cluster under faults, and checks each. It ends at the first that does not hold. `told`
/// hears of each that is over.
///
/// # Errors
///
/// [`ClusterError`]: also where operations are not answered again after a fault. What was found is no error: see
/// [`LinearReport::holds`].
pub async fn linear(
    options: &LinearOptions,
    told: impl Fn(usize),
) -> Result<LinearReport, ClusterError> {
    let mut cluster = Cluster::start(&ClusterOptions {
        program: options.program.clone(),
        nodes: options.nodes,
        // The shards are there to be a cluster; the load is the clients'.
        shards: 3,
        guilds: 30,
        event_rate: 10.0,
    })
    .await?;
    let mut random = StdRng::seed_from_u64(options.seed);
    let mut report = LinearReport::new(options, can_partition().err());
    let mut faults = Vec::new();
    while report.recorded.len() < options.histories && report.failed().is_none() {
        if faults.is_empty() {
            faults = Fault::all(options.nodes, report.without_cuts.is_none());
            faults.shuffle(&mut random);
        }
        let fault = faults.pop().expect("there is a fault that needs nothing");
        let nth = report.recorded.len();
        let (history, mut recorded) = record(&mut cluster, options, nth, fault).await?;
        let began = Instant::now();
        let history = Arc::new(history);
        let checked = Arc::clone(&history);
        let checking = spawn_blocking(move || check(&checked, CHECK_WITHIN));
        recorded.verdict = checking.await.map_err(io::Error::other)?;
        recorded.checked_in = began.elapsed();
        if !recorded.verdict.holds() {
            recorded.saved = Some(save(&history, &options.save_in, options.seed, nth)?);
        }
        report.recorded.push(recorded);
        told(nth + 1);
    }
    cluster.whole("all nodes are there after the last fault", WELL_WITHIN).await?;
    Ok(report)
}

fn save(history: &History, directory: &Path, seed: u64, nth: usize) -> io::Result<PathBuf> {
    let path = directory.join(format!("history-{seed}-{nth}.jsonl"));
    history.save(&path)?;
    Ok(path)
}

/// One history: clients begin, something breaks, heals, and all is read.
async fn record(
    cluster: &mut Cluster,
    options: &LinearOptions,
    nth: usize,
    fault: Fault,
) -> Result<(History, Recorded), ClusterError> {
    let (tally, began) = (Arc::new(Tally::default()), Instant::now());
    let client = |id: usize| {
        let seed = options.seed.wrapping_add(((nth * (CLIENTS + options.nodes) + id) as u64) << 32);
        let workload = Workload::new(StdRng::seed_from_u64(seed), nth, id, options.stale);
        Client::new(id, cluster.nodes.http_addresses(), workload, Arc::clone(&tally), began)
    };
    let mut clients = JoinSet::new();
    for id in 0..CLIENTS {
        clients.spawn(client(id).run());
    }
    let last: Vec<Client> = (CLIENTS..CLIENTS + options.nodes).map(client).collect();
    let quarter = options.operations.div_ceil(4);
    answered(cluster, &tally, quarter, "operations are answered before the fault").await?;
    // Fewer: while it lasts, those who ask a node that is cut off wait.
    let struck = fault.strike(cluster, &tally, quarter / 2).await?;
    answered(cluster, &tally, options.operations, "operations are answered after the fault")
        .await?;
    tally.stopping.store(true, Ordering::Relaxed);
    let mut history = History::default();
    while let Some(operations) = clients.join_next().await {
        history.0.extend(operations.map_err(io::Error::other)??);
    }
    for (node, client) in last.into_iter().enumerate() {
        let read = timeout(WELL_WITHIN, client.read_all(node)).await;
        let what = format!("{fault}: every key is read from every node in the end");
        let seen = format!("node {} does not answer", node + 1);
        history.0.extend(read.map_err(|_| cluster.late(&what, WELL_WITHIN, seen))??);
    }
    let recorded = Recorded {
        fault,
        answered: tally.answered.load(Ordering::Relaxed),
        unknown: tally.unknown.load(Ordering::Relaxed),
        refused: tally.refused.load(Ordering::Relaxed),
        unread: tally.unread.load(Ordering::Relaxed),
        terms: struck.terms,
        new_leader: struck.new_leader,
        stall: stall(&history),
        slowest: slowest(&history),
        verdict: Verdict::Linearizable,
        checked_in: Duration::ZERO,
        saved: None,
    };
    Ok((history, recorded))
}

/// Waits until so many operations have been answered.
async fn answered(
    cluster: &Cluster,
    tally: &Tally,
    count: usize,
    what: &str,
) -> Result<(), ClusterError> {
    let wait = async {
        while tally.answered.load(Ordering::Relaxed) < count && !tally.is_over() {
            sleep(LOOK_EVERY).await;
        }
    };
    let waited = timeout(WELL_WITHIN, wait).await;
    waited.map_err(|_| cluster.late(what, WELL_WITHIN, format!("{tally:?}")))
}

/// The longest time without an answer to anybody.
fn stall(history: &History) -> Duration {
    let returned = history.0.iter().map(crate::linear::Operation::returned_ns);
    let mut returned: Vec<u64> = returned.filter(|at| *at < u64::MAX).collect();
    returned.sort_unstable();
    let longest = returned.windows(2).map(|pair| pair[1] - pair[0]).max();
    Duration::from_nanos(longest.unwrap_or_default())
}

/// The longest time from a call to its answer.
fn slowest(history: &History) -> Duration {
    let answered = history.0.iter().filter(|it| it.returned_ns() < u64::MAX);
    let longest = answered.map(|it| it.returned_ns() - it.called_ns).max();
    Duration::from_nanos(longest.unwrap_or_default())
}
