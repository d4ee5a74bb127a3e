//! How soon `/ready` says what is so: that a node has lost its quorum, that it stops, and that all is well again.

use std::{fmt, net::SocketAddr, time::Duration};

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep, timeout};

use super::{
    account::Account,
    cluster::{Cluster, ClusterError, ClusterOptions, LOAD, WELL_WITHIN},
    nodes::request,
    spans::Spans,
};

/// Between two probes.
const PROBE_EVERY: Duration = Duration::from_millis(10);

const PROBE_WITHIN: Duration = Duration::from_secs(1);

/// How soon it was said.
#[derive(Clone, Debug)]
pub struct ProbesReport {
    /// What must hold.
    pub account: Account,
    /// From the end of the other nodes, of three, to the last one's 503.
    pub quorum_lost: Spans,
    /// From SIGTERM to the node's 503.
    pub stopping: Spans,
    /// From the moment at which every shard has a connection again to 200 of every node.
    pub well: Spans,
    /// From the start of a node that was stopped to its 200.
    pub started: Spans,
    rounds: usize,
}

/// Kills two nodes of three and starts them again, and stops one and starts it again, `rounds` times. `told` hears of each.
///
/// # Errors
///
/// [`ClusterError`]. What was found is no error.
pub async fn probes(
    options: &ClusterOptions,
    rounds: usize,
    told: impl Fn(usize),
) -> Result<ProbesReport, ClusterError> {
    let mut cluster = Cluster::start(options).await?;
    let addresses = cluster.nodes.http_addresses();
    let (mut quorum_lost, mut stopping) = (Vec::new(), Vec::new());
    let (mut well, mut started) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (first, others) = (round % 3, [(round + 1) % 3, (round + 2) % 3]);
        sleep(LOAD).await;
        for other in others {
            cluster.kill(other).await?;
        }
        quorum_lost.push(until(&cluster, &addresses[first..=first], false).await?);
        for other in others {
            cluster.nodes.start(other)?;
        }
        cluster.connected("every shard is back", WELL_WITHIN).await?;
        well.push(until(&cluster, &addresses, true).await?);
        cluster.whole("all nodes are back", WELL_WITHIN).await?;
        sleep(LOAD).await;
        cluster.nodes.signal(first, Signal::SIGTERM)?;
        stopping.push(until(&cluster, &addresses[first..=first], false).await?);
        cluster.ended(first).await?;
        cluster.nodes.start(first)?;
        started.push(until(&cluster, &addresses[first..=first], true).await?);
        cluster.whole("all nodes are back", WELL_WITHIN).await?;
        told(round + 1);
    }
    let account = cluster.account().await;
    let spans = |spans: Vec<Duration>| spans.into_iter().collect();
    let (quorum_lost, stopping) = (spans(quorum_lost), spans(stopping));
    let (well, started) = (spans(well), spans(started));
    Ok(ProbesReport { account, quorum_lost, stopping, well, started, rounds })
}

/// How long it takes until all of these say that they are ready, or all that they are not.
async fn until(
    cluster: &Cluster,
    nodes: &[SocketAddr],
    ready: bool,
) -> Result<Duration, ClusterError> {
    let began = Instant::now();
    let wanted: &[u8] = if ready { b"HTTP/1.1 200 " } else { b"HTTP/1.1 503 " };
    while !all(nodes, wanted).await {
        if began.elapsed() > WELL_WITHIN {
            let what = format!("/ready says {ready}");
            return Err(cluster.late(&what, WELL_WITHIN, "the opposite".to_owned()));
        }
        sleep(PROBE_EVERY).await;
    }
    Ok(began.elapsed())
}

async fn all(nodes: &[SocketAddr], wanted: &[u8]) -> bool {
    const ASK: &str = "GET /ready HTTP/1.1\r\nHost: apolo\r\nConnection: close\r\n\r\n";
    for node in nodes {
        let answer = timeout(PROBE_WITHIN, request(*node, ASK)).await.ok().flatten();
        if !answer.is_some_and(|answer| answer.starts_with(wanted)) {
            return false;
        }
    }
    true
}

impl fmt::Display for ProbesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rounds             {}", self.rounds)?;
        writeln!(f, "quorum lost        {} until 503", self.quorum_lost)?;
        writeln!(f, "SIGTERM            {} until 503", self.stopping)?;
        writeln!(f, "all shards back    {} until 200 of every node", self.well)?;
        writeln!(f, "started again      {} until 200", self.started)?;
        write!(f, "{}", self.account)
    }
}
