//! What the node's shards have done, on its way to the cluster.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::warn;

use super::{Agent, Options, keeper, report, roster, rosters};
use crate::model::{ShardStatus, UnixMillis};
use crate::state::{Command, RosterReport, ShardReport, State};

/// Attempts to commit the last checkpoint before the process ends.
const LAST_REPORTS_MAX: usize = 3;

impl Agent {
    /// What was counted goes first, and the checkpoints follow it: once it is committed, or else with the next report.
    pub(super) fn count_and_report(&mut self, state: &State) {
        let counted = self.counted(state);
        if !self.rosters.propose(counted) {
            self.report(state);
        }
    }

    /// What the shards have counted of their guilds that the cluster does not know yet.
    fn counted(&self, state: &State) -> Vec<RosterReport> {
        let mut reports = Vec::new();
        for (shard, held) in &self.running {
            let Some(committed) = state.shards().get(shard) else { continue };
            if committed.epoch() != Some(held.epoch) {
                continue;
            }
            let roster = state.rosters().get(shard);
            let mut draft = held.draft();
            draft.forget_the_settled(committed, roster);
            reports.extend(draft.reports(*shard, held.epoch, roster));
        }
        reports
    }

    /// Publishes what the cluster does not know yet; the keeper sends it.
    pub(super) fn report(&mut self, state: &State) {
        let reports = self.due(state);
        let any = !reports.is_empty();
        self.reports.send_replace(Arc::new(reports));
        if any {
            self.early.notify_one();
        }
    }

    fn due(&mut self, state: &State) -> Vec<ShardReport> {
        let now = Instant::now();
        let Options { health_check_interval, shard_timeout, .. } = self.options;
        let mut reports = Vec::new();
        let mut dead = Vec::new();
        for (shard, held) in &mut self.running {
            let Some(committed) = state.shards().get(shard) else {
                continue;
            };
            held.draft().forget_the_settled(committed, state.rosters().get(shard));
            let seen = held.seen(*shard, now, shard_timeout);
            if seen.status == ShardStatus::Dead && !held.told_dead {
                held.told_dead = true;
                dead.push((
                    Arc::clone(&held.shared),
                    "no connection for longer than SHARD_TIMEOUT",
                ));
                warn!(
                    shard = shard.0,
                    "no connection for longer than the shard timeout; still trying"
                );
                metrics::counter!("apolo_shards_dead_total").increment(1);
            }
            let fits = committed.epoch() == Some(held.epoch);
            let due = report::due(&seen, committed, UnixMillis::now(), health_check_interval);
            reports.extend(due.filter(|_| fits));
        }
        for (shared, reason) in dead {
            self.tell_dead(shared, reason);
        }
        reports
    }

    /// The shards have ended, so what they published last is final.
    pub(super) async fn last_report(&mut self) {
        for _ in 0..LAST_REPORTS_MAX {
            let states = self.raft.states();
            let state = Arc::clone(&states.borrow());
            let counted = roster::entries(self.counted(&state));
            let all = rosters::commit(&self.raft, counted).await;
            let state = Arc::clone(&states.borrow());
            let reports: Vec<_> =
                self.due(&state).into_iter().filter(|report| report.checkpoint.is_some()).collect();
            if all && reports.is_empty() {
                return;
            }
            for chunk in reports.chunks(keeper::REPORTS_MAX) {
                if let Err(error) =
                    self.raft.propose_at_the_end(Command::Report(chunk.to_vec())).await
                {
                    warn!(%error, "the last checkpoint is not known to be committed");
                    break;
                }
            }
        }
    }
}
