//! Every node is restarted in turn, as by a StatefulSet's rolling update.

use std::{collections::BTreeMap, fmt, time::Duration};

use apolo::simulator::{ConnectionEnd, Truth};
use tokio::time::sleep;

use super::{
    account::Account,
    cluster::{Cluster, ClusterError, ClusterOptions, LOAD, WELL_WITHIN},
    spans::Spans,
};

/// What the restarts came to.
#[derive(Clone, Debug)]
pub struct RollingReport {
    /// What must hold.
    pub account: Account,
    /// Between a connection's close and the next one's RESUMED, of each shard each time.
    pub gaps: Spans,
    nodes: usize,
    rounds: usize,
}

impl RollingReport {
    /// Whether nothing was lost, nothing came twice and nothing was identified anew.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.account.holds() && self.account.audit.twice == 0
    }
}

/// Restarts every node in turn, `rounds` times. `told` hears of each restart that is over.
///
/// # Errors
///
/// [`ClusterError`]. What was found is no error: see [`RollingReport::holds`].
pub async fn rolling_restart(
    options: &ClusterOptions,
    rounds: usize,
    told: impl Fn(usize),
) -> Result<RollingReport, ClusterError> {
    let mut cluster = Cluster::start(options).await?;
    for restart in 0..rounds * options.nodes {
        let nth = restart % options.nodes;
        sleep(LOAD).await;
        cluster.stop(nth).await?;
        cluster.nodes.start(nth)?;
        cluster.whole("the node is back, and every shard runs", WELL_WITHIN).await?;
        told(restart + 1);
    }
    let gaps = gaps(&cluster.simulator.truth());
    Ok(RollingReport { account: cluster.account().await, gaps, nodes: options.nodes, rounds })
}

/// Between each connection that its client closed and the next of its shard.
pub(super) fn gaps(truth: &Truth) -> Spans {
    let mut shards: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for connection in &truth.connections {
        if let (Some((shard, _)), Some(from)) = (connection.shard, connection.established_ms) {
            shards.entry(shard).or_default().push((from, connection.closed_ms, connection.end));
        }
    }
    let mut gaps = Vec::new();
    for spans in shards.values_mut() {
        spans.sort_unstable_by_key(|span| span.0);
        gaps.extend(spans.windows(2).filter_map(|pair| {
            let handed = matches!(pair[0].2, Some(ConnectionEnd::Client { .. }));
            let gap = pair[1].0.saturating_sub(pair[0].1?);
            handed.then(|| Duration::from_millis(gap))
        }));
    }
    gaps.into_iter().collect()
}

impl fmt::Display for RollingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "nodes              {}, {} shards", self.nodes, self.account.shards)?;
        writeln!(f, "restarts           {} of each node", self.rounds)?;
        write!(f, "{}", self.account)?;
        writeln!(f, "closed to RESUMED  {}, each shard each time", self.gaps)
    }
}
