//! A bot of Discord's largest kind on one node: 448 shards, 1,000,000 guilds.

use std::time::Duration;

use apolo::{
    ShardTotal,
    simulator::{Options, Simulator, Truth},
};
use tempfile::TempDir;
use tokio::{
    runtime::Runtime,
    time::{Instant, sleep},
};

use crate::{
    Failure,
    child::{Node, established, established_at, own_resident, until},
    report::{Goal, Report},
};

const SHARDS: u32 = 448;
const GUILDS: u64 = 1_000_000;
const CONCURRENCY: u32 = 16;
const EVENTS_PER_SECOND: f64 = 2_000.0;
const WATCHED: Duration = Duration::from_secs(60);
const SCHEDULE_MS: f64 = (SHARDS / CONCURRENCY - 1) as f64 * 5_000.0;

pub(crate) fn measure(report: &mut Report) -> Result<(), Failure> {
    eprintln!("{SHARDS} shards with {GUILDS} guilds");
    Runtime::new()?.block_on(run(report))
}

async fn run(report: &mut Report) -> Result<(), Failure> {
    let directory = TempDir::new()?;
    let before = own_resident()?;
    let options = Options {
        guilds: GUILDS,
        recommended_shards: ShardTotal::new(SHARDS)?,
        event_rate: EVENTS_PER_SECOND,
        max_concurrency: CONCURRENCY,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await?;
    let began = simulator.truth().at_ms;
    let node = Node::start(&simulator, &directory.path().join("data"), SHARDS)?;
    let all = |truth: &Truth| established(truth) == SHARDS as usize;
    let truth = until(&simulator, "all shards ready", all).await?;
    let took = (established_at(&truth) - began) as f64;

    let (from, at) = (sent(&simulator.truth()), Instant::now());
    sleep(WATCHED).await;
    let truth = simulator.truth();
    let rate = (sent(&truth) - from) as f64 / at.elapsed().as_secs_f64();
    if truth.identifies_accepted != u64::from(SHARDS) || !truth.broken.is_empty() {
        let (identifies, broken) = (truth.identifies_accepted, truth.broken);
        return Err(
            format!("{identifies} identifies instead of {SHARDS}, broken: {broken:?}").into()
        );
    }
    let name = "448 shards, 1,000,000 guilds";
    let schedule = Some(Goal::AtMost(1.05));
    report.add(format!("{name}: start to all READY"), "s", None, vec![took / 1e3]);
    let ratio = vec![took / SCHEDULE_MS];
    report.add(format!("{name}: the same, of what Discord allows"), "ratio", schedule, ratio);
    report.add(format!("{name}: events taken"), "1/s", None, vec![rate]);
    report.add(format!("{name}: node, resident"), "MB", None, vec![node.resident()? / 1e6]);
    let simulated = own_resident()? - before;
    report.add(format!("{name}: simulator, resident"), "MB", None, vec![simulated / 1e6]);
    Ok(())
}

/// Dispatches that connections were given.
fn sent(truth: &Truth) -> u64 {
    truth.sessions.iter().map(|session| session.sent).sum()
}
