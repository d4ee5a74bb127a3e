//! The orderly end of a run: no more events, the last checkpoints, the nodes one after another, the summary.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    LOOK_EVERY, Run,
    child::Child,
    verdict::{judge, outstanding},
};
use crate::cli::{
    Failure,
    dev::{complaint, verdict::Verdict},
    output::{say, thousands},
};
use crate::simulator::Truth;

/// How long the last checkpoints may take. A node that was killed a moment ago must first be missed, and one without
/// which there is no quorum must first be started again.
const SETTLE_WITHIN: Duration = Duration::from_secs(30);

/// How long a node may take to drain: its own bound is 9.5 s.
const DRAIN_WITHIN: Duration = Duration::from_secs(12);

pub(super) async fn finish(mut run: Run) -> Result<(), Failure> {
    let ran = run.started.elapsed();
    run.simulator.set_event_rate(0.0);
    let deadline = Instant::now() + SETTLE_WITHIN;
    let settled = loop {
        run.tend()?;
        let left = outstanding(&run.simulator.truth(), &run.seen.borrow().checkpoints);
        if left == 0 || Instant::now() >= deadline {
            break run.judge();
        }
        sleep(LOOK_EVERY).await;
    };
    let draining = Instant::now();
    let killed = drain(&mut run.children).await;
    let drained = draining.elapsed();
    let truth = run.simulator.truth();
    // What the drain itself did is no event that anybody sent; a rule that it broke is one.
    let verdict = Verdict { sent: settled.sent, missing: settled.missing, ..run.judge() };
    let Run { simulator, deaths, children, .. } = run;
    simulator.stop().await;
    say("")?;
    say(format_args!(
        "ran {:.1} s on {} nodes, drained in {:.1} s",
        ran.as_secs_f64(),
        children.len(),
        drained.as_secs_f64()
    ))?;
    summarise(&truth, &verdict)?;
    let worst = deaths.worst.map_or_else(String::new, |worst| {
        format!(", at worst {:.1} s until every shard was connected", worst.as_secs_f64())
    });
    say(format_args!("nodes      {} died{worst}", deaths.count))?;
    if killed > 0 {
        say(format_args!("           {killed} did not drain in time and were killed"))?;
    }
    if verdict.is_good() {
        return say("nothing was lost");
    }
    Err(Failure::failed(complaint(&verdict)))
}

impl Run {
    fn judge(&self) -> Verdict {
        judge(&self.simulator.truth(), &self.seen.borrow().checkpoints)
    }
}

/// Ends the nodes one after another, and those without a quorum together, since they have nobody to hand off to.
/// Returns how many had to be killed.
async fn drain(children: &mut [Child]) -> usize {
    let quorum = children.len() / 2 + 1;
    let mut running = children.iter().filter(|child| child.pid().is_some()).count();
    let mut killed = 0;
    let mut rest = children;
    while !rest.is_empty() {
        let together = if running > quorum { 1 } else { rest.len() };
        let (now, later) = rest.split_at_mut(together);
        running -= now.iter().filter(|child| child.pid().is_some()).count();
        killed += end(now).await;
        rest = later;
    }
    killed
}

async fn end(children: &mut [Child]) -> usize {
    children.iter().for_each(Child::terminate);
    let deadline = Instant::now() + DRAIN_WITHIN;
    loop {
        for child in children.iter_mut() {
            let _status = child.ended();
        }
        if children.iter().all(|child| child.pid().is_none()) {
            return 0;
        }
        if Instant::now() >= deadline {
            break;
        }
        sleep(LOOK_EVERY).await;
    }
    let left = children.iter_mut().filter(|child| child.pid().is_some());
    left.map(Child::kill).count()
}

fn summarise(truth: &Truth, verdict: &Verdict) -> Result<(), Failure> {
    say(format_args!(
        "events     {} sent, {} handled, {} lost",
        thousands(verdict.sent),
        thousands(verdict.sent - verdict.missing),
        thousands(verdict.missing)
    ))?;
    let broken: u64 = verdict.broken.iter().map(|(_, count)| count).sum();
    say(format_args!(
        "sessions   {} identifies, {} resumes, {} rules broken",
        thousands(truth.identifies_accepted + truth.identifies_refused),
        thousands(truth.resumes_accepted),
        thousands(broken)
    ))
}
