//! Nodes that lose their data directory, or their address, or what they had not synced.

use std::{fmt, time::Duration};

use apolo::http::{NodeRow, Role, View};
use tokio::time::{Instant, sleep};

use super::{
    account::Account,
    cluster::{Cluster, ClusterError, ClusterOptions, LOAD, WELL_WITHIN, established},
};
use crate::powerloss::{Loss, Volume, VolumeOptions};

/// A wiped node votes again: the goal is 60 s.
pub(super) const VOTER_WITHIN: Duration = Duration::from_secs(120);

/// So long those that lost their memory must not lead, form, or run a shard: many elections.
const HOLD_STILL: Duration = Duration::from_secs(5);

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a scenario came to.
#[derive(Clone, Debug)]
pub struct MemoryReport {
    /// What must hold.
    pub account: Account,
    /// From the start of what was broken until all was well.
    pub well_after: Vec<Duration>,
}

/// Kills a voter, empties its data directory and starts it, `rounds` times: it must vote again under a new id.
///
/// # Errors
///
/// [`ClusterError`].
pub async fn wipe_one(
    options: &ClusterOptions,
    rounds: usize,
) -> Result<MemoryReport, ClusterError> {
    let mut cluster = Cluster::start(options).await?;
    let mut well_after = Vec::new();
    for nth in 0..rounds {
        sleep(LOAD).await;
        let nth = nth % options.nodes;
        cluster.whole("all is well", WELL_WITHIN).await?;
        cluster.kill(nth).await?;
        cluster.nodes.wipe(nth)?;
        let began = Instant::now();
        cluster.nodes.start(nth)?;
        voters(&cluster, options.nodes).await?;
        well_after.push(began.elapsed());
    }
    cluster.whole("all is well at the end", WELL_WITHIN).await?;
    Ok(MemoryReport { account: cluster.account().await, well_after })
}

/// So many vote, and nobody else is known.
async fn voters(cluster: &Cluster, count: usize) -> Result<(), ClusterError> {
    let votes = |row: &NodeRow| matches!(row.role, Role::Leader | Role::Voter) && !row.lost;
    let began = Instant::now();
    loop {
        let view = cluster.whole("the wiped node is there", VOTER_WITHIN).await?;
        if view.nodes.len() == count && view.nodes.iter().all(votes) {
            return Ok(());
        }
        if began.elapsed() > VOTER_WITHIN {
            let seen = format!("{:?}", view.nodes);
            return Err(cluster.late("the wiped node votes", VOTER_WITHIN, seen));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Kills two of three nodes and empties their directories: nobody may lead, form, or run a shard, and each says why.
///
/// # Errors
///
/// [`ClusterError`], also where somebody does.
pub async fn wipe_majority(options: &ClusterOptions) -> Result<Vec<String>, ClusterError> {
    let mut cluster = Cluster::start(options).await?;
    sleep(LOAD).await;
    for nth in 1..options.nodes {
        cluster.kill(nth).await?;
        cluster.nodes.wipe(nth)?;
    }
    for nth in 1..options.nodes {
        cluster.nodes.start(nth)?;
    }
    cluster.until("nobody runs a shard", WELL_WITHIN, |truth| established(truth) == 0).await?;
    let mut said = Vec::new();
    let began = Instant::now();
    while began.elapsed() < HOLD_STILL {
        said.clear();
        for nth in 0..options.nodes {
            if let Some(view) = cluster.nodes.view_of(nth).await {
                if view.lease {
                    let seen = format!("{} has a lease", view.node.name);
                    return Err(cluster.late("nobody may run shards", HOLD_STILL, seen));
                }
                said.extend(view.waiting);
            }
        }
        sleep(LOOK_EVERY).await;
    }
    let up = established(&cluster.simulator.truth());
    if up == 0 {
        Ok(said)
    } else {
        Err(cluster.late("nobody runs a shard", HOLD_STILL, up.to_string()))
    }
}

/// Copies a killed node's data directory, lets the cluster go on with that node for a while, kills it again and
/// restores the copy: it must not go on as the member that it was, and votes again under a new id.
///
/// # Errors
///
/// [`ClusterError`].
pub async fn restore_old_copy(options: &ClusterOptions) -> Result<MemoryReport, ClusterError> {
    let mut cluster = Cluster::start(options).await?;
    let view = cluster.whole("all is well", WELL_WITHIN).await?;
    let follows = view.nodes.iter().find(|row| row.role != Role::Leader);
    let nth = follows.and_then(|row| cluster.nodes.index_of(&row.name)).unwrap_or(0);
    cluster.kill(nth).await?;
    cluster.nodes.copy(nth)?;
    cluster.nodes.start(nth)?;
    cluster.whole("it is back", WELL_WITHIN).await?;
    sleep(LOAD).await;
    cluster.kill(nth).await?;
    cluster.nodes.restore(nth)?;
    let began = Instant::now();
    cluster.nodes.start(nth)?;
    voters(&cluster, options.nodes).await?;
    let well_after = vec![began.elapsed()];
    let after = cluster.whole("all is well at the end", WELL_WITHIN).await?;
    let id = |view: &View| {
        let row = view.nodes.iter().find(|row| cluster.nodes.index_of(&row.name) == Some(nth));
        row.map(|row| row.id.clone())
    };
    if id(&view) == id(&after) {
        let seen = "it goes on as the member that it was".to_owned();
        return Err(cluster.late("a new id", VOTER_WITHIN, seen));
    }
    Ok(MemoryReport { account: cluster.account().await, well_after })
}

/// Kills all at once, gives each another address, and starts them.
///
/// # Errors
///
/// [`ClusterError`].
pub async fn move_all(options: &ClusterOptions) -> Result<MemoryReport, ClusterError> {
    let mut cluster = Cluster::start(options).await?;
    sleep(LOAD).await;
    for nth in 0..options.nodes {
        cluster.kill(nth).await?;
    }
    cluster.nodes.readdress()?;
    let began = Instant::now();
    for nth in 0..options.nodes {
        cluster.nodes.start(nth)?;
    }
    cluster.whole("all found each other at new addresses", WELL_WITHIN).await?;
    let well_after = vec![began.elapsed()];
    Ok(MemoryReport { account: cluster.account().await, well_after })
}

/// Takes the power from all nodes at once, `rounds` times: what no fdatasync covered is gone, or torn. Their data
/// directories are on volumes that forget.
///
/// # Errors
///
/// [`ClusterError`], also where no such volume can be mounted (see [`available`](crate::powerloss::available)).
pub async fn power_loss(
    options: &ClusterOptions,
    rounds: u64,
) -> Result<MemoryReport, ClusterError> {
    let mut cluster = Cluster::prepare(options).await?;
    let mut volumes = Vec::new();
    for nth in 0..options.nodes {
        let volume = Volume::mount(VolumeOptions::default())?;
        cluster.nodes.keep_data_in(nth, volume.path().join("data"));
        cluster.nodes.start(nth)?;
        volumes.push(volume);
    }
    cluster.up(options.nodes).await?;
    let mut well_after = Vec::new();
    for round in 0..rounds {
        sleep(LOAD).await;
        for (nth, volume) in (0..).zip(&volumes) {
            let seed = round * 10 + nth;
            volume.power_cut(if round % 2 == 0 { Loss::Everything } else { Loss::Subset { seed } });
        }
        for nth in 0..options.nodes {
            cluster.kill(nth).await?;
        }
        let began = Instant::now();
        for (nth, volume) in volumes.iter().enumerate() {
            volume.restore();
            cluster.nodes.start(nth)?;
        }
        cluster.whole("all is well after the power is back", WELL_WITHIN).await?;
        well_after.push(began.elapsed());
    }
    Ok(MemoryReport { account: cluster.account().await, well_after })
}

impl fmt::Display for MemoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.account)?;
        let spans: super::Spans = self.well_after.iter().copied().collect();
        writeln!(f, "start to well      {spans}")
    }
}
