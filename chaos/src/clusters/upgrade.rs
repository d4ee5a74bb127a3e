//! A cluster of an earlier apolo becomes one of this one, node by node, on its own data and under load. One node goes
//! back once while that is possible, and once more when it no longer is.

use std::{fmt, path::PathBuf, time::Duration};

use apolo::Format;
use tokio::time::{Instant, sleep, timeout};

use super::{
    account::Account,
    cluster::{Cluster, ClusterError, ClusterOptions, LOAD, WELL_WITHIN},
    rolling::gaps,
    spans::Spans,
};

/// A format is raised 15 s after the last node has said that it reads it.
const SOAKED: Duration = Duration::from_secs(15);

/// The apolo that the cluster runs before.
#[derive(Clone, Debug)]
pub enum Earlier {
    /// The `apolo-chaos` binary of an earlier commit.
    Program(PathBuf),
    /// This one, which lets the cluster write nothing newer than the first format.
    Bounded,
}

/// What the upgrade came to.
#[derive(Clone, Debug)]
pub struct UpgradeReport {
    /// What must hold.
    pub account: Account,
    /// Between a connection's close and the next one's RESUMED, of each shard each time.
    pub gaps: Spans,
    /// From the moment at which the last node's replacement began to the format that all read.
    pub raised_after: Duration,
    /// How the earlier apolo ended on data that it does not read, where one was tried.
    pub refusal: Option<String>,
    nodes: usize,
}

impl UpgradeReport {
    /// Whether nothing was lost, nothing came twice and nothing was identified anew, and an earlier apolo ended because of
    /// what it read.
    #[must_use]
    pub fn holds(&self) -> bool {
        let by_bytes =
            |said: &String| ["decode: ", "newer than what"].iter().any(|it| said.contains(it));
        self.account.holds()
            && self.account.audit.twice == 0
            && self.raised_after >= SOAKED
            && self.refusal.as_ref().is_none_or(by_bytes)
    }
}

/// Upgrades every node in turn.
///
/// # Errors
///
/// [`ClusterError`]. What was found is no error: see [`UpgradeReport::holds`].
pub async fn upgrade(
    options: &ClusterOptions,
    earlier: Earlier,
) -> Result<UpgradeReport, ClusterError> {
    let mut cluster = Cluster::prepare(options).await?;
    cluster.nodes.earlier = Some(earlier.clone());
    for nth in 0..options.nodes {
        cluster.nodes.start_earlier(nth)?;
    }
    cluster.up(options.nodes).await?;
    let mut began = Instant::now();
    for nth in 0..options.nodes {
        began = Instant::now();
        replace(&mut cluster, nth, false).await?;
        if nth == 0 {
            replace(&mut cluster, nth, true).await?;
            replace(&mut cluster, nth, false).await?;
        }
    }
    let raised = async {
        while format(&cluster, 0).await != Some(Format::MAX) {
            sleep(LOAD).await;
        }
    };
    if timeout(WELL_WITHIN, raised).await.is_err() {
        return Err(cluster.late("the new format", WELL_WITHIN, "the old one".into()));
    }
    let raised_after = began.elapsed();
    let refusal = match earlier {
        Earlier::Program(_) => Some(go_back(&mut cluster).await?),
        Earlier::Bounded => None,
    };
    sleep(LOAD).await;
    let gaps = gaps(&cluster.simulator.truth());
    let account = cluster.account().await;
    Ok(UpgradeReport { account, gaps, raised_after, refusal, nodes: options.nodes })
}

/// Ends a node's process, and starts it on the same data as the one or the other.
async fn replace(cluster: &mut Cluster, nth: usize, back: bool) -> Result<(), ClusterError> {
    sleep(LOAD).await;
    for other in cluster.nodes.living().collect::<Vec<_>>() {
        // An earlier one does not know of formats.
        if format(cluster, other).await.is_some_and(|format| format != Format::MIN) {
            return Err(cluster.late("an old format while one node is old", LOAD, "a new".into()));
        }
    }
    cluster.stop(nth).await?;
    if back {
        cluster.nodes.start_earlier(nth)?;
    } else {
        cluster.nodes.start(nth)?;
    }
    cluster.whole("the node is back, and every shard runs", WELL_WITHIN).await?;
    Ok(())
}

/// Starts the earlier apolo on what it does not read, and has the node back as it was. Yields the last of what it said.
async fn go_back(cluster: &mut Cluster) -> Result<String, ClusterError> {
    cluster.stop(0).await?;
    cluster.nodes.start_earlier(0)?;
    let ended = match cluster.nodes.nodes[0].child.take() {
        Some(mut child) => timeout(WELL_WITHIN, child.wait()).await,
        None => return Err(std::io::Error::from(std::io::ErrorKind::NotFound).into()),
    };
    let Ok(status) = ended else {
        return Err(cluster.late("the earlier apolo ends", WELL_WITHIN, "it goes on".into()));
    };
    let said = cluster.nodes.last_line(0);
    if status?.success() {
        return Err(cluster.late("the earlier apolo ends with an error", WELL_WITHIN, said));
    }
    cluster.nodes.start(0)?;
    cluster.whole("the node is back as it was", WELL_WITHIN).await?;
    Ok(said)
}

async fn format(cluster: &Cluster, nth: usize) -> Option<Format> {
    cluster.nodes.view_of(nth).await.map(|view| view.format)
}

impl fmt::Display for UpgradeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "nodes              {}, {} shards", self.nodes, self.account.shards)?;
        writeln!(
            f,
            "new format         {:.1} s after the last one's turn",
            self.raised_after.as_secs_f64()
        )?;
        if let Some(refusal) = &self.refusal {
            writeln!(f, "going back         {refusal}")?;
        }
        write!(f, "{}", self.account)?;
        writeln!(f, "closed to RESUMED  {}, each shard each time", self.gaps)
    }
}
