//! `kill -9` under load: all is well, kill, wait until all is well again, start the dead one.

use std::{fmt, time::Duration};

use apolo::http::{NodeRow, Role, View};
use tokio::time::{Instant, sleep};

use super::{
    account::Account,
    cluster::{Cluster, ClusterError, ClusterOptions, LOAD, WELL_WITHIN},
    spans::Spans,
};

/// Who is killed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Whom {
    /// Whoever leads.
    Leader,
    /// Whoever owns most shards and does not lead.
    Owner,
}

/// One kill.
#[derive(Clone, Debug)]
struct Failover {
    leader: bool,
    /// Shards that it owned.
    shards: usize,
    /// From the kill to the last shard's RESUMED.
    resumed_in: Duration,
}

/// What the kills came to.
#[derive(Clone, Debug)]
pub struct KillsReport {
    /// What must hold.
    pub account: Account,
    nodes: usize,
    failovers: Vec<Failover>,
}

/// Kills the leader and the owner of most shards in turn, `kills` times in all. `told` hears of each that is over.
///
/// # Errors
///
/// [`ClusterError`]. What was found is no error: see [`Account::holds`].
pub async fn cluster_kills(
    options: &ClusterOptions,
    kills: usize,
    told: impl Fn(usize),
) -> Result<KillsReport, ClusterError> {
    let mut cluster = Cluster::start(options).await?;
    let mut failovers = Vec::new();
    for round in 0..kills {
        let whom = if round % 2 == 0 { Whom::Leader } else { Whom::Owner };
        failovers.push(kill(&mut cluster, whom).await?);
        told(round + 1);
    }
    Ok(KillsReport { account: cluster.account().await, nodes: options.nodes, failovers })
}

async fn kill(cluster: &mut Cluster, whom: Whom) -> Result<Failover, ClusterError> {
    let view = cluster.whole("all nodes are back", WELL_WITHIN).await?;
    // The load is what is between two kills.
    sleep(LOAD).await;
    let victim = choose(&view, whom);
    let found = victim.and_then(|it| Some((it, cluster.nodes.index_of(&it.name)?)));
    let Some((victim, nth)) = found else {
        return Err(cluster.late("somebody to kill", Duration::ZERO, format!("{view:?}")));
    };
    let failed = Instant::now();
    cluster.kill(nth).await?;
    if victim.shards > 0 {
        cluster.broken("its connections are gone").await?;
    }
    cluster.connected("every shard is resumed", WELL_WITHIN).await?;
    let resumed_in = failed.elapsed();
    cluster.nodes.start(nth)?;
    Ok(Failover { leader: victim.role == Role::Leader, shards: victim.shards, resumed_in })
}

fn choose(view: &View, whom: Whom) -> Option<&NodeRow> {
    let leads = |node: &&NodeRow| node.role == Role::Leader;
    match whom {
        Whom::Leader => view.nodes.iter().find(leads),
        Whom::Owner => view.nodes.iter().filter(|node| !leads(node)).max_by_key(|node| node.shards),
    }
}

impl fmt::Display for KillsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leaders = self.failovers.iter().filter(|it| it.leader).count();
        let moved: usize = self.failovers.iter().map(|it| it.shards).sum();
        let spans: Spans = self.failovers.iter().map(|it| it.resumed_in).collect();
        writeln!(f, "nodes              {}, {} shards", self.nodes, self.account.shards)?;
        writeln!(f, "kills              {}, {leaders} of the leader", self.failovers.len())?;
        writeln!(f, "shards moved       {moved}")?;
        write!(f, "{}", self.account)?;
        writeln!(f, "kill to RESUMED    {spans}, the last shard each")
    }
}
