//! Tells what happens in the cluster: to the time line of every node, and in the leader's log lines and metrics.

use std::sync::Arc;

use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::model::UnixMillis;
use crate::raft::Handle;
use crate::state::State;
use crate::timeline::{Fact, Kind, Narrator, Timeline};

/// Runs until `stop`.
pub(super) async fn tell(raft: Handle, timeline: Timeline, stop: CancellationToken) {
    let mut states = raft.states();
    let first = Arc::clone(&states.borrow_and_update());
    let mut narrator = Narrator::new(first);
    loop {
        let changed = stop.run_until_cancelled(states.changed()).await;
        if !matches!(changed, Some(Ok(()))) {
            return;
        }
        let facts = observe(&mut narrator, &mut states);
        if raft.is_leader() {
            facts.iter().for_each(log);
        }
        timeline.push(facts, UnixMillis::now());
    }
}

fn observe(narrator: &mut Narrator, states: &mut watch::Receiver<Arc<State>>) -> Vec<Fact> {
    let state = Arc::clone(&states.borrow_and_update());
    narrator.observe(&state, Instant::now())
}

/// Once in the cluster: the others' collectors would store it as often as there are nodes.
fn log(fact: &Fact) {
    let (kind, text) = (fact.kind.as_str(), fact.text());
    if fact.kind.is_grave() {
        warn!(kind, "{text}");
    } else {
        info!(kind, "{text}");
    }
    let seconds = fact.took.unwrap_or_default().as_secs_f64();
    match fact.kind {
        Kind::Failover => metrics::histogram!("apolo_failover_seconds").record(seconds),
        Kind::Handoff => metrics::histogram!("apolo_handoff_seconds").record(seconds),
        Kind::ShardMoved => {
            metrics::counter!("apolo_shards_moved_total").increment(fact.shards.len() as u64);
        }
        Kind::NodeLost => metrics::counter!("apolo_nodes_lost_total").increment(1),
        _ => {}
    }
}
