//! Nodes that die: told, started again, and timed until every shard is connected once more.

use std::{collections::BTreeMap, process::ExitStatus, time::Duration};

use tokio::time::Instant;

use super::{TOKEN, child::Child, table::held, verdict::connected};
use crate::cli::Failure;
use crate::http::View;
use crate::simulator::Truth;

/// Long enough to see that the others have taken over before it is back.
pub(super) const START_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// The simulator may hear of a connection's end a little after the process is gone.
const NOTICED_WITHIN: Duration = Duration::from_millis(200);

/// What has died, and how that went.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    pub(super) count: u64,
    /// The longest that shards were without a connection.
    pub(super) worst: Option<Duration>,
    again: BTreeMap<String, Instant>,
    outage: Option<Outage>,
}

/// From a death until every shard is connected.
#[derive(Debug)]
struct Outage {
    name: String,
    since: Instant,
    last: Instant,
    /// Whether any shard was seen without a connection.
    felt: bool,
    resumes: u64,
    identifies: u64,
}

impl Deaths {
    /// Looks, does what is due, and returns the lines to print.
    pub(super) fn tend(
        &mut self,
        children: &mut [Child],
        view: Option<&View>,
        truth: &Truth,
        total: usize,
    ) -> Result<Vec<String>, Failure> {
        let now = Instant::now();
        let mut lines = Vec::new();
        while let Some((child, status)) = first_ended(children) {
            lines.push(self.died(child, status, held(view, &child.name), truth, now));
        }
        for child in children {
            if self.again.get(&child.name).is_some_and(|at| *at <= now) {
                self.again.remove(&child.name);
                let pid = child.start(TOKEN)?;
                lines.push(format!("{} is started again as pid {pid}  kill -9 {pid}", child.name));
            }
        }
        lines.extend(self.recovered(truth, connected(truth) == total, now));
        Ok(lines)
    }

    fn died(
        &mut self,
        child: &Child,
        status: ExitStatus,
        shards: usize,
        truth: &Truth,
        now: Instant,
    ) -> String {
        self.count += 1;
        self.again.insert(child.name.clone(), now + START_AGAIN_AFTER);
        let outage = self.outage.get_or_insert_with(|| Outage {
            name: child.name.clone(),
            since: now,
            last: now,
            felt: false,
            resumes: truth.resumes_accepted,
            identifies: truth.identifies_accepted,
        });
        outage.last = now;
        let again = START_AGAIN_AFTER.as_secs();
        let died = format!(
            "{} died ({status}) with {shards} shards; it is started again in {again} s",
            child.name
        );
        // Nobody killed it: its log says why it ended.
        if status.code().is_some() { format!("{died}\n{}", child.log_tail()) } else { died }
    }

    fn recovered(&mut self, truth: &Truth, all: bool, now: Instant) -> Option<String> {
        let done = |outage: &mut Outage| {
            outage.felt |= !all;
            all && now >= outage.last + NOTICED_WITHIN
        };
        let outage = self.outage.take_if(done)?;
        if !outage.felt {
            return Some(format!("no shard lost its connection when {} died", outage.name));
        }
        let took = now - outage.since;
        self.worst = self.worst.max(Some(took));
        let identifies = truth.identifies_accepted.saturating_sub(outage.identifies);
        Some(format!(
            "every shard was connected again {:.1} s after {} died: {} resumed, {identifies} identified",
            took.as_secs_f64(),
            outage.name,
            truth.resumes_accepted.saturating_sub(outage.resumes),
        ))
    }
}

/// A node whose process has ended since the last look, and how.
pub(super) fn first_ended(children: &mut [Child]) -> Option<(&Child, ExitStatus)> {
    children.iter_mut().find_map(|child| {
        let status = child.ended()?;
        Some((&*child, status))
    })
}
