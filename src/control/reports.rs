//! What the shards' owners report, gathered into one entry for the whole cluster.

use std::{collections::BTreeMap, time::Duration};

use tokio::{task::JoinHandle, time::Instant};

use crate::model::{NodeId, ShardId};
use crate::state::{Command, ShardReport, State, encode_command};

use super::proposer::Proposer;

/// Reports in one entry: 48 bytes each at most, so that it stays below 128 KiB.
const ENTRY_MAX: usize = 2_048;

/// What reports may put on the links to all members together. A cluster that reports more does so less often, and each
/// report then says more (decision 22).
const BYTES_PER_SECOND: u64 = 10_000_000;

/// Reports that are not committed yet: the last of each shard.
#[derive(Debug, Default)]
pub(super) struct Reports {
    waiting: BTreeMap<ShardId, ShardReport>,
    /// The next entry begins behind this shard, so that each has its turn.
    last: Option<ShardId>,
    /// When the next entry may begin.
    next: Option<Instant>,
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
        let now = Instant::now();
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        let entry = self.next_entry(state);
        if entry.is_empty() {
            return;
        }
        let command = Command::Report(entry);
        let members = proposer.raft.members().borrow().all().count();
        self.next = Some(now + report_pause(encode_command(&command).len(), members));
        let proposer = proposer.clone();
        self.committing = Some(tokio::spawn(async move {
            // Where it comes to nothing the owners say it again.
            let _ = proposer.propose(command).await;
        }));
    }

    /// What waits and says something new, in turns where it is too much for one entry.
    fn next_entry(&mut self, state: &State) -> Vec<ShardReport> {
        self.waiting.retain(|_, report| is_news(state, report));
        let last = self.last;
        let behind = self.waiting.iter().filter(|(shard, _)| Some(**shard) > last);
        let before = self.waiting.iter().filter(|(shard, _)| Some(**shard) <= last);
        let turn = behind.chain(before).map(|(_, report)| *report);
        let entry: Vec<_> = turn.take(ENTRY_MAX).collect();
        for report in &entry {
            self.waiting.remove(&report.shard);
        }
        self.last = entry.last().map(|report| report.shard);
        entry
    }
}

/// Until the next entry of reports, after one of `bytes` that goes to so many members.
#[must_use]
pub fn report_pause(bytes: usize, members: usize) -> Duration {
    let micros = (bytes as u64).saturating_mul(members as u64) * 1_000_000 / BYTES_PER_SECOND;
    Duration::from_micros(micros)
}

/// Whether the state would take it in: not one that was sent again while its entry was under way.
fn is_news(state: &State, report: &ShardReport) -> bool {
    let Some(shard) = state.shards().get(&report.shard) else { return false };
    let further = report.checkpoint.is_some_and(|checkpoint| checkpoint > shard.checkpoint());
    let health = report.health.is_some_and(|health| health != shard.health());
    shard.epoch() == Some(report.epoch) && (further || health)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{
        ApplicationId, BootEpoch, ClusterId, LogIndex, Sequence, Session, SessionId, SessionNumber,
        ShardTotal,
    };
    use crate::placement;
    use crate::state::Facts;

    /// So many shards of one node, each in its first session.
    fn state(shards: u32) -> State {
        let (node, boot) = (NodeId(1), BootEpoch(1));
        let total = ShardTotal::new(shards).unwrap();
        let facts = Facts { application: ApplicationId(1), total, intents: 0 };
        let mut state = State::default();
        let mut index = 0;
        let mut apply = |state: &mut State, command| {
            index += 1;
            state.apply(LogIndex(index), command)
        };
        apply(&mut state, Command::Form { cluster: ClusterId(Uuid::from_u128(1)) });
        apply(&mut state, Command::StartNode { node, name: "a".into(), boot });
        apply(&mut state, Command::FixFacts(facts));
        while state.shards().values().any(|shard| shard.epoch().is_none()) {
            let moves = placement::assign(&state);
            apply(&mut state, Command::Assign(moves));
        }
        for shard in total.shards() {
            let epoch = state.shards()[&shard].epoch().unwrap();
            let (id, resume_url) = (SessionId("s".into()), String::new());
            let session = Session { number: SessionNumber(1), id, resume_url };
            apply(&mut state, Command::StartSession { shard, epoch, session });
        }
        state
    }

    /// Every shard has come to `sequence`.
    fn all_at(state: &State, sequence: u64) -> Vec<ShardReport> {
        let report = |(shard, held): (&ShardId, &crate::state::Shard)| {
            ShardReport::new(*shard, held.epoch().unwrap()).at(SessionNumber(1), Sequence(sequence))
        };
        state.shards().iter().map(report).collect()
    }

    #[test]
    fn where_there_are_more_reports_than_an_entry_holds_each_shard_has_its_turn() {
        let (state, mut reports) = (state(5_000), Reports::default());
        let mut seen = std::collections::BTreeSet::new();
        for turn in 1..=3 {
            reports.add(all_at(&state, turn));
            let entry = reports.next_entry(&state);
            assert!(entry.len() <= ENTRY_MAX);
            seen.extend(entry.iter().map(|report| report.shard));
        }

        assert_eq!(seen.len(), 5_000);
    }

    #[test]
    fn what_says_nothing_new_is_not_committed() {
        let (mut state, mut reports) = (state(4), Reports::default());
        let all = all_at(&state, 7);
        let applied = state.applied();
        state.apply(LogIndex(applied.0 + 1), Command::Report(all.clone()));

        reports.add(all);

        assert_eq!(reports.next_entry(&state), []);
    }

    #[test]
    fn entries_are_as_far_apart_as_their_bytes_on_all_links_take() {
        assert_eq!(report_pause(24_600, 1_000), Duration::from_millis(2_460));
        assert_eq!(report_pause(600, 3), Duration::from_micros(180));
    }
}
