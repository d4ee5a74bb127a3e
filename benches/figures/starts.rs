//! How long a start takes: from nothing to READY, and from a kill to RESUMED.

use std::{path::Path, time::Duration};

use apolo::{
    ShardTotal,
    simulator::{Options, Simulator},
};
use tempfile::TempDir;
use tokio::{runtime::Runtime, time::sleep};

use crate::{
    Failure,
    child::{Node, established, established_at, until},
    report::{Goal, Report},
};

const SHARDS: u32 = 64;
const CONCURRENCY: u32 = 16;

/// Restarts of each node that was started from nothing.
const RESTARTS: usize = 10;

/// Before a kill: Discord has sent the last READY, but a session that is not in the log yet can't be resumed.
const DURABLE: Duration = Duration::from_secs(2);

/// 16 IDENTIFYs at once, and the next 16 five seconds later: nobody can be ready sooner.
const SCHEDULE_MS: f64 = (SHARDS / CONCURRENCY - 1) as f64 * 5_000.0;

fn discord() -> Result<Options, Failure> {
    Ok(Options {
        guilds: u64::from(SHARDS) * 1_000,
        recommended_shards: ShardTotal::new(SHARDS)?,
        event_rate: 2_000.0,
        max_concurrency: CONCURRENCY,
        ..Options::default()
    })
}

pub(crate) fn measure(report: &mut Report, rounds: u32) -> Result<(), Failure> {
    eprintln!("starts of {SHARDS} shards, {rounds} rounds and {RESTARTS} restarts in each");
    let (mut starts, mut restarts) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        Runtime::new()?.block_on(round(&mut starts, &mut restarts))?;
    }
    let ratios = starts.iter().map(|ms| ms / SCHEDULE_MS).collect();
    let name = format!("{SHARDS} shards, process start to all READY");
    report.add(name.as_str(), "s", None, starts.iter().map(|ms| ms / 1e3).collect());
    report.add(
        format!("{name}, of what Discord allows"),
        "ratio",
        Some(Goal::AtMost(1.05)),
        ratios,
    );
    report.add(
        format!("{SHARDS} shards, restart after kill -9 to all RESUMED"),
        "s",
        Some(Goal::AtMost(2.0)),
        restarts.iter().map(|ms| ms / 1e3).collect(),
    );
    Ok(())
}

async fn round(starts: &mut Vec<f64>, restarts: &mut Vec<f64>) -> Result<(), Failure> {
    let directory = TempDir::new()?;
    let data_dir = directory.path().join("data");
    let simulator = Simulator::start(discord()?).await?;
    let (mut node, took) = start(&simulator, &data_dir).await?;
    starts.push(took);
    for _ in 0..RESTARTS {
        sleep(DURABLE).await;
        node.kill()?;
        until(&simulator, "the end of all connections", |truth| established(truth) == 0).await?;
        let (next, took) = start(&simulator, &data_dir).await?;
        restarts.push(took);
        node = next;
    }
    let truth = simulator.truth();
    if truth.identifies_accepted != u64::from(SHARDS) || !truth.broken.is_empty() {
        let (identifies, broken) = (truth.identifies_accepted, truth.broken);
        return Err(
            format!("{identifies} identifies instead of {SHARDS}, broken: {broken:?}").into()
        );
    }
    Ok(())
}

/// Starts a node, waits for all of its shards, and says how many milliseconds that took.
async fn start(simulator: &Simulator, data_dir: &Path) -> Result<(Node, f64), Failure> {
    let began = simulator.truth().at_ms;
    let node = Node::start(simulator, data_dir, SHARDS)?;
    let all = |truth: &apolo::simulator::Truth| established(truth) == SHARDS as usize;
    let truth = until(simulator, "all shards", all).await?;
    Ok((node, (established_at(&truth) - began) as f64))
}
