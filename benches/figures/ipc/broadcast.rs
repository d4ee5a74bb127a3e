//! From a broadcast to the last of a thousand shards' handlers, on five nodes.
//!
//! The nodes write down when each handler ran, by the clock that they share with whoever broadcasts, and tell it
//! afterwards.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    runtime::Runtime,
    time::{Instant, sleep},
};

use super::{
    peer::{Answer, Ask},
    peers::{Peers, Rivals},
    stamps::Sight,
};
use crate::{
    Failure,
    report::{Goal, Report, quantile},
};

const NODES: usize = 5;
const SHARDS: u32 = 1_000;

/// Broadcasts in a round.
const BROADCASTS: u32 = 100;

/// Before the first round: connections are made, and pages are warm.
const WARM_UP: u32 = 20;

/// Between two broadcasts: each is alone.
const EVERY: Duration = Duration::from_millis(100);

/// All handlers have run by then.
const DONE_WITHIN: Duration = Duration::from_secs(30);

const LOOK_EVERY: Duration = Duration::from_millis(100);

const P99_MS_MAX: f64 = 20.0;

pub(super) fn measure(report: &mut Report, rounds: u32) -> Result<(), Failure> {
    eprintln!("broadcasts to {SHARDS} shards on {NODES} nodes, {rounds} rounds of {BROADCASTS}");
    let mut all = Broadcasts::default();
    Runtime::new()?.block_on(async {
        let mut peers = Peers::start(NODES, SHARDS, Rivals::None).await?;
        round(&mut peers, 0, 0, WARM_UP).await?;
        let firsts = (WARM_UP..).step_by(BROADCASTS as usize);
        for (sender, first) in (0..rounds as usize).zip(firsts) {
            let sender = sender % peers.len();
            let (began, seen) = round(&mut peers, sender, first, BROADCASTS).await?;
            all.add(sender, &began, &seen);
        }
        Ok::<_, Failure>(())
    })?;
    all.tell(report);
    Ok(())
}

/// Has one node broadcast. When each began, and what all nodes saw of them.
async fn round(
    peers: &mut Peers,
    sender: usize,
    first: u32,
    count: u32,
) -> Result<(BTreeMap<u32, u64>, Vec<Sight>), Failure> {
    let ask = Ask::Broadcast { first, count, every: EVERY };
    let Answer::Began(began) = peers.ask(sender, ask).await? else {
        return Err("a broadcast did not begin".into());
    };
    let deadline = Instant::now() + DONE_WITHIN;
    loop {
        let mut seen = Vec::new();
        for node in 0..peers.len() {
            if let Answer::Seen(sight) = peers.ask(node, Ask::Seen).await? {
                seen.push(sight);
            }
        }
        let ran = |broadcast| {
            seen.iter().filter_map(|sight| sight.get(broadcast)).map(|it| it.handlers).sum()
        };
        let runs: Vec<usize> = began.keys().map(ran).collect();
        if runs.iter().all(|runs| *runs == SHARDS as usize) {
            return Ok((began, seen));
        }
        if Instant::now() >= deadline {
            return Err(format!("handlers that ran, of {SHARDS}: {runs:?}").into());
        }
        sleep(LOOK_EVERY).await;
    }
}

#[derive(Default)]
struct Broadcasts {
    /// Milliseconds to the last handler.
    took: Vec<f64>,
    /// The p99 of each round.
    p99: Vec<f64>,
    /// To each other node.
    letters: Vec<f64>,
}

impl Broadcasts {
    fn add(&mut self, sender: usize, began: &BTreeMap<u32, u64>, seen: &[Sight]) {
        let last = |broadcast| {
            seen.iter().filter_map(|sight| sight.get(broadcast)).map(|it| it.last).max()
        };
        let took = began
            .iter()
            .filter_map(|(broadcast, began)| Some(last(broadcast)?.saturating_sub(*began)));
        let mut took: Vec<_> = took.map(|nanos| nanos as f64 / 1e6).collect();
        took.sort_by(f64::total_cmp);
        self.p99.push(quantile(&took, 0.99));
        self.took.extend(took);
        for (_, sight) in seen.iter().enumerate().filter(|(node, _)| *node != sender) {
            let letters = began.keys().filter_map(|broadcast| sight.get(broadcast));
            self.letters.extend(letters.map(|it| it.letters as f64));
        }
    }

    fn tell(self, report: &mut Report) {
        let name = format!("broadcast to {SHARDS} shards on {NODES} nodes");
        report.add(format!("{name}, to the last handler"), "ms", None, self.took);
        let goal = Some(Goal::AtMost(P99_MS_MAX));
        report.add(format!("{name}, p99 of a round"), "ms", goal, self.p99);
        let goal = Some(Goal::AtMost(1.0));
        report.add(format!("{name}, letters over a link"), "letters", goal, self.letters);
    }
}
