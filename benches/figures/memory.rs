//! What an idle connected shard takes of the node's memory.

use std::time::Duration;

use apolo::{
    ShardTotal,
    simulator::{Options, Simulator},
};
use tempfile::TempDir;
use tokio::{runtime::Runtime, time::sleep};

use crate::{
    Failure,
    child::{Node, established, until},
    report::{Goal, Report},
};

const FEW: u32 = 1;
const MANY: u32 = 129;

/// After the last READY, so that what the start took has been given back.
const SETTLE: Duration = Duration::from_secs(5);

/// One guild for each shard, and next to no events.
fn idle() -> Options {
    Options {
        guilds: u64::from(MANY),
        recommended_shards: ShardTotal::ONE,
        event_rate: 0.01,
        max_concurrency: 64,
        session_start_total: 100_000,
        session_start_remaining: 100_000,
        ..Options::default()
    }
}

pub(crate) fn measure(report: &mut Report, rounds: u32) -> Result<(), Failure> {
    eprintln!("memory of an idle shard, {rounds} rounds");
    let mut shards = Vec::new();
    let mut nodes = Vec::new();
    for _ in 0..rounds {
        let few = Runtime::new()?.block_on(resident(FEW))?;
        let many = Runtime::new()?.block_on(resident(MANY))?;
        shards.push((many - few) / f64::from(MANY - FEW) / 1e6);
        nodes.push(few / 1e6);
    }
    report.add("node with one idle shard, resident", "MB", None, nodes);
    report.add("each further idle shard, resident", "MB", Some(Goal::AtMost(1.0)), shards);
    Ok(())
}

async fn resident(total: u32) -> Result<f64, Failure> {
    let directory = TempDir::new()?;
    let simulator = Simulator::start(idle()).await?;
    let node = Node::start(&simulator, &directory.path().join("data"), total)?;
    until(&simulator, "all shards ready", |truth| established(truth) == total as usize).await?;
    sleep(SETTLE).await;
    node.resident()
}
