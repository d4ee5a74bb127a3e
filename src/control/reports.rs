//! What the shards' owners report, gathered into one entry for the whole cluster.

use std::collections::BTreeMap;

use tokio::task::JoinHandle;

use crate::model::{NodeId, ShardId};
use crate::state::{Command, ShardReport, State};

use super::proposer::Proposer;

/// Reports in one entry: 48 bytes each at most, so that it stays below 128 KiB.
const ENTRY_MAX: usize = 2_048;

/// Reports that are not committed yet: the last of each shard.
#[derive(Debug, Default)]
pub(super) struct Reports {
    waiting: BTreeMap<ShardId, ShardReport>,
    /// One entry at a time: when commits are slow, the next one carries more.
    committing: Option<JoinHandle<()>>,
}

impl Reports {
    pub(super) fn add(&mut self, reports: Vec<ShardReport>) {
        for report in reports {
            self.waiting.insert(report.shard, report);
        }
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// What `node` has reported of its shards and is not committed yet.
    pub(super) fn of(&mut self, state: &State, node: NodeId) -> Vec<ShardReport> {
        let owned = state.owned_by(node).map(|(shard, _)| shard);
        owned.filter_map(|shard| self.waiting.remove(&shard)).take(ENTRY_MAX).collect()
    }

    /// Proposes what waits and says something new, unless an entry is under way.
    pub(super) fn commit(&mut self, proposer: &Proposer, state: &State) {
        if self.committing.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        self.waiting.retain(|_, report| is_news(state, report));
        if self.waiting.is_empty() {
            return;
        }
        let entry: Vec<_> = self.waiting.values().take(ENTRY_MAX).copied().collect();
        for report in &entry {
            self.waiting.remove(&report.shard);
        }
        let proposer = proposer.clone();
        self.committing = Some(tokio::spawn(async move {
            // Where it comes to nothing the owners say it again.
            let _ = proposer.propose(Command::Report(entry)).await;
        }));
    }
}

/// Whether the state would take it in: not one that was sent again while its entry was under way.
fn is_news(state: &State, report: &ShardReport) -> bool {
    let Some(shard) = state.shards().get(&report.shard) else { return false };
    let further = report.checkpoint.is_some_and(|checkpoint| checkpoint > shard.checkpoint());
    let health = report.health.is_some_and(|health| health != shard.health());
    shard.epoch() == Some(report.epoch) && (further || health)
}
