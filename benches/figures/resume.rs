//! From `kill -9` of a node that owns 100 shards to their last RESUMED at the others, phase by phase.
//!
//! ```text
//!  last renewal   kill      loss proposed   committed   RESUME sent      RESUMED handed over
//!       │          ├── detection ──┼── commit ──┼─ reconnect ─┼──── replay ────┤
//!       └──────────── silence ─────┘            (applied, TCP, HELLO)
//! ```
//!
//! The node does not lead: what the loss of a leader takes, `leader-kill` shows. The moments of the loss and of each
//! RESUMED are the nodes' own log lines, those between are the simulator's. Replay ends when the handlers have been
//! handed everything up to RESUMED. The leader logs the commit when its loop has the answer; a new owner may have
//! applied it by then, so that its RESUME can be a little before.

use std::{collections::BTreeMap, time::Duration};

use apolo::{
    ShardTotal,
    simulator::{Options, Simulator},
};
use tokio::{
    runtime::Runtime,
    time::{Instant, sleep},
};

use crate::{
    Failure,
    cluster::{Cluster, Line},
    report::Report,
};

const SHARDS: u32 = 100;

/// Kills in a round.
const KILLS: u32 = 2;

/// Before a kill: some checkpoints.
const LOAD: Duration = Duration::from_secs(1);

const RESUMED_WITHIN: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(100);

fn discord() -> Result<Options, Failure> {
    Ok(Options {
        guilds: u64::from(SHARDS) * 20,
        recommended_shards: ShardTotal::new(SHARDS)?,
        event_rate: 1_000.0,
        max_concurrency: SHARDS,
        ..Options::default()
    })
}

pub(crate) fn measure(report: &mut Report, rounds: u32) -> Result<(), Failure> {
    let kills = KILLS * rounds;
    eprintln!("resumes of {SHARDS} shards after the kill of their owner, {kills} kills");
    let mut phases = Phases::default();
    Runtime::new()?.block_on(async {
        let simulator = Simulator::start(discord()?).await?;
        let mut cluster = Cluster::start(simulator, SHARDS as usize).await?;
        cluster.gather().await?;
        sleep(LOAD).await;
        // What a start spends is no part of it.
        let spent = cluster.simulator.truth().identifies_accepted;
        for _ in 0..kills {
            let owner = cluster.gather().await?;
            sleep(LOAD).await;
            let killed = cluster.kill(owner).await?;
            let resumed = until_resumed(&cluster, killed).await?;
            phases.add(&cluster, owner, killed, &resumed)?;
            cluster.launch(owner)?;
        }
        let truth = cluster.simulator.truth();
        if truth.identifies_accepted != spent || !truth.broken.is_empty() {
            let (identifies, broken) = (truth.identifies_accepted - spent, truth.broken);
            return Err(
                format!("{identifies} identifies after the start, broken: {broken:?}").into()
            );
        }
        Ok::<_, Failure>(())
    })?;
    phases.tell(report);
    Ok(())
}

/// When each shard had its RESUMED, by the log of its new owner.
async fn until_resumed(cluster: &Cluster, killed: f64) -> Result<BTreeMap<u32, f64>, Failure> {
    let deadline = Instant::now() + RESUMED_WITHIN;
    loop {
        let mut resumed = BTreeMap::new();
        for line in cluster.lines(killed)? {
            if line.says("connected") && line.fields["resumed"] == true {
                let shard = line.fields["shard"].as_str().and_then(|shard| shard.parse().ok());
                resumed.entry(shard.ok_or("a shard without a number")?).or_insert(line.at);
            }
        }
        if resumed.len() == SHARDS as usize {
            return Ok(resumed);
        }
        if Instant::now() >= deadline {
            return Err(format!("{} of {SHARDS} shards were resumed", resumed.len()).into());
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Milliseconds: of each kill, or of each shard.
#[derive(Default)]
struct Phases {
    detection: Vec<f64>,
    silence: Vec<f64>,
    commit: Vec<f64>,
    reconnect: Vec<f64>,
    replay: Vec<f64>,
    each: Vec<f64>,
    total: Vec<f64>,
}

impl Phases {
    fn add(
        &mut self,
        cluster: &Cluster,
        owner: usize,
        killed: f64,
        resumed: &BTreeMap<u32, f64>,
    ) -> Result<(), Failure> {
        let lines = cluster.lines(killed)?;
        let told = |what: &str| {
            let mut told = lines.iter().filter(|line| line.says(what));
            let found = told.find(|line| line.fields["node"] == cluster.name(owner));
            found.ok_or_else(|| Failure::from(format!("no node logged {what:?}")))
        };
        let lost: &Line = told("the node is lost")?;
        let committed = told("the loss is committed")?.at;
        self.detection.push(lost.at - killed);
        self.silence.push(lost.fields["silent_ms"].as_f64().ok_or("no silence was logged")?);
        self.commit.push(committed - lost.at);
        let truth = cluster.simulator.truth();
        let began = truth.started_at.0 as f64;
        let sent: BTreeMap<u32, f64> = truth
            .resumes
            .iter()
            .filter_map(|it| Some((it.shard?, began + it.at_ms as f64)))
            .filter(|(_, at)| *at >= killed)
            .rev()
            .collect();
        for (shard, at) in resumed {
            let sent = *sent.get(shard).ok_or("a RESUMED without a RESUME")?;
            self.reconnect.push(sent - committed);
            // The simulator counts whole milliseconds, from another moment on.
            self.replay.push((at - sent).max(0.0));
            self.each.push(at - killed);
        }
        self.total.push(resumed.values().fold(0.0, |last, at| at.max(last)) - killed);
        Ok(())
    }

    fn tell(self, report: &mut Report) {
        let name = format!("resume of {SHARDS} shards");
        let mut add = |phase: &str, spans| {
            report.add(format!("{name}, {phase}"), "ms", None, spans);
        };
        add("kill to loss proposed", self.detection);
        add("last renewal to loss proposed", self.silence);
        add("loss proposed to committed", self.commit);
        add("committed to RESUME, each", self.reconnect);
        add("RESUME to RESUMED, each", self.replay);
        add("kill to RESUMED, each", self.each);
        add("kill to the last RESUMED", self.total);
    }
}
