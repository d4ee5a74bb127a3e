//! What Kubernetes does to a cluster.

use std::time::Duration;

use apolo::http::{NodeRow, Role, View};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::Instant;

use super::{
    gaps::{Frozen, gaps},
    manifest::Manifest,
    report::{KubeletReport, Pods},
    stage::Stage,
};
use crate::clusters::{
    cluster::{ClusterError, ClusterOptions, LOAD},
    memory::VOTER_WITHIN,
};

/// What is run, and how.
#[derive(Clone, Debug)]
pub struct KubeletOptions {
    /// The load. How many nodes there are is the manifest's to say.
    pub cluster: ClusterOptions,
    /// What the kubelet reads.
    pub manifest: Manifest,
    /// The second pod mounts the first one's volume: to see that it does not go unnoticed.
    pub one_volume_for_two: bool,
    /// Pods may read their StatefulSet: `components/scale-in-order`.
    pub scale_in_order: bool,
}

/// What happens to the StatefulSet.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Scenario {
    /// The template changes, so every pod is made anew, one after another.
    Rolling,
    /// Two more pods, and two less again; those that are left can spare one.
    Scale,
    /// The leader's pod is deleted.
    Deleted,
    /// All pods are deleted at once.
    AllDeleted,
    /// The leader's machine is lost for good, with its volume.
    NodeLost,
    /// The leader's process stands still until its liveness probe has it stopped.
    Frozen,
}

/// Runs a scenario from the first start on.
///
/// # Errors
///
/// [`ClusterError`]. What was found is no error: see [`KubeletReport::holds`].
pub async fn kubelet(
    options: &KubeletOptions,
    scenario: Scenario,
) -> Result<KubeletReport, ClusterError> {
    let mut stage = Stage::start(options).await?;
    stage.pass(LOAD).await?;
    let mut steps = Steps { began: Instant::now(), taken: Vec::new() };
    let since_ms = stage.simulator.truth().at_ms;
    let mut frozen = None;
    match scenario {
        Scenario::Rolling => {
            stage.set.wanted.revision += 1;
            stage.well("every pod has the new template").await?;
            steps.end("all pods made anew");
        }
        Scenario::Scale => scale(&mut stage, &mut steps, options.scale_in_order).await?,
        Scenario::Deleted => {
            let leader = leader(&mut stage).await?;
            stage.set.delete(leader);
            stage.well("the deleted pod is back").await?;
            steps.end("the pod is back");
        }
        Scenario::AllDeleted => {
            for ordinal in 0..stage.set.wanted.replicas {
                stage.set.delete(ordinal);
            }
            stage.well("all pods are back").await?;
            steps.end("all pods are back");
        }
        Scenario::NodeLost => {
            let leader = leader(&mut stage).await?;
            stage.set.lose(leader);
            stage.well("the pod runs elsewhere").await?;
            steps.end("the pod runs, with an empty disk");
            voters(&mut stage).await?;
            steps.end("it votes, the old one is forgotten");
        }
        Scenario::Frozen => frozen = Some(freeze(&mut stage, &mut steps).await?),
    }
    // Shards that are balanced afterwards count too.
    stage.pass(LOAD).await?;
    let gaps = gaps(&stage.simulator.truth(), since_ms, frozen.as_ref());
    let account = stage.account().await;
    let pods = Pods::new(&stage.set.statuses());
    Ok(KubeletReport { scenario, steps: steps.taken, account, gaps, pods })
}

/// How long each step took.
struct Steps {
    began: Instant,
    taken: Vec<(&'static str, Duration)>,
}

impl Steps {
    fn end(&mut self, what: &'static str) {
        self.taken.push((what, self.began.elapsed()));
        self.began = Instant::now();
    }
}

async fn leader(stage: &mut Stage) -> Result<u32, ClusterError> {
    let view = stage.ready("all is well").await?;
    Ok(stage.leader(&view))
}

async fn scale(
    stage: &mut Stage,
    steps: &mut Steps,
    scale_in_order: bool,
) -> Result<(), ClusterError> {
    let few = stage.set.wanted.replicas;
    stage.set.wanted.replicas = few + 2;
    stage.well("two more have joined").await?;
    steps.end("two more pods");
    until(stage, "each runs some shards", |view| view.nodes.iter().all(|row| row.shards > 0))
        .await?;
    steps.end("each runs some shards");
    stage.set.wanted.replicas = few;
    stage.well("the others go on").await?;
    steps.end("two less again");
    if scale_in_order {
        let pods = few as usize;
        until(stage, "those that left are forgotten", |view| view.nodes.len() == pods).await?;
    }
    let leader = leader(stage).await?;
    stage.set.delete(leader);
    stage.well("one of those that are left was deleted").await?;
    steps.end("one of the rest deleted and back");
    Ok(())
}

async fn freeze(stage: &mut Stage, steps: &mut Steps) -> Result<Frozen, ClusterError> {
    let view = stage.ready("all is well").await?;
    let leader = stage.leader(&view);
    let rows = view.shards.iter().filter(|row| row.node == view.leader);
    let shards = rows.map(|row| row.shard.0).collect();
    let process = stage.set.status(leader).process.and_then(|id| i32::try_from(id).ok());
    let Some(process) = process else {
        return Err(stage.late("a process to freeze", "there is none".to_owned()));
    };
    let frozen = Frozen { at_ms: stage.simulator.truth().at_ms, shards };
    kill(Pid::from_raw(process), Signal::SIGSTOP).map_err(std::io::Error::from)?;
    stage.until("its liveness fails", leader, |status| status.probed_out > 0).await?;
    steps.end("liveness failed");
    stage.until("it is started again", leader, |status| status.starts > 1).await?;
    steps.end("started again");
    stage.well("it is back").await?;
    steps.end("all is well");
    Ok(frozen)
}

/// As many vote as there are pods, and nobody else is known.
async fn voters(stage: &mut Stage) -> Result<(), ClusterError> {
    let pods = stage.set.wanted.replicas as usize;
    let votes = |row: &NodeRow| matches!(row.role, Role::Leader | Role::Voter);
    until(stage, "all vote", |view| view.nodes.len() == pods && view.nodes.iter().all(votes)).await
}

/// All is well, and the nodes stand so.
async fn until(
    stage: &mut Stage,
    what: &str,
    so: impl Fn(&View) -> bool,
) -> Result<(), ClusterError> {
    let began = Instant::now();
    loop {
        let view = stage.well(what).await?;
        if so(&view) {
            return Ok(());
        }
        if began.elapsed() > VOTER_WITHIN {
            return Err(stage.late(what, format!("{:?}", view.nodes)));
        }
        stage.pass(LOAD).await?;
    }
}
