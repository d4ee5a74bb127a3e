//! A cluster grows and shrinks under load.

use tokio::time::{Instant, sleep};

use super::{
    cluster::{Cluster, ClusterError, ClusterOptions, LOAD, WELL_WITHIN},
    memory::MemoryReport,
};

/// Three nodes form a cluster, the others of [`ClusterOptions::nodes`] join it, and then all but one leave it, one after
/// another.
///
/// # Errors
///
/// [`ClusterError`], also where one that leaves does not end with status 0.
pub async fn scale(options: &ClusterOptions) -> Result<MemoryReport, ClusterError> {
    let mut cluster = Cluster::prepare(options).await?;
    cluster.nodes.expect = options.nodes.min(3);
    for nth in 0..cluster.nodes.expect {
        cluster.nodes.start(nth)?;
    }
    cluster.up(cluster.nodes.expect).await?;
    let mut well_after = Vec::new();
    for nth in cluster.nodes.expect..options.nodes {
        sleep(LOAD).await;
        let began = Instant::now();
        cluster.nodes.start(nth)?;
        cluster.whole("it has joined", WELL_WITHIN).await?;
        well_after.push(began.elapsed());
    }
    for nth in (1..options.nodes).rev() {
        sleep(LOAD).await;
        let began = Instant::now();
        cluster.leave(nth).await?;
        let view = cluster.whole("the others go on", WELL_WITHIN).await?;
        well_after.push(began.elapsed());
        if view.nodes.len() != nth {
            let seen = format!("{} nodes are known", view.nodes.len());
            return Err(cluster.late("the one that left is forgotten", WELL_WITHIN, seen));
        }
    }
    Ok(MemoryReport { account: cluster.account().await, well_after })
}
