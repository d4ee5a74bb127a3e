//! What a node has to say of its shards that the cluster does not know yet. Pure.

use std::time::Duration;

use super::{progress::Progress, tally::Totals};
use crate::model::{Checkpoint, Sequence, ShardHealth, ShardId, ShardStatus, UnixMillis};
use crate::state::{Shard, ShardReport};

/// A shard as its owner sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) shard: ShardId,
    pub(super) progress: Progress,
    /// How far the checkpoint may be committed: what is counted up to there is.
    pub(super) covered: Sequence,
    pub(super) status: ShardStatus,
    pub(super) totals: Totals,
}

/// The report that is due, where there is anything new. A shard whose numbers alone have changed is reported every
/// `interval`; a new status at once.
pub(super) fn due(
    seen: &Seen,
    committed: &Shard,
    now: UnixMillis,
    interval: Duration,
) -> Option<ShardReport> {
    let epoch = committed.epoch()?;
    let checkpoint = Checkpoint { session: seen.progress.session, sequence: seen.covered };
    let of_session =
        committed.session().is_some_and(|session| session.number == checkpoint.session);
    let checkpoint = (of_session && checkpoint > committed.checkpoint()).then_some(checkpoint);
    let before = committed.health();
    let changed = before.status != seen.status
        || before.guild_count != seen.totals.guilds
        || before.member_count != seen.totals.members;
    let old = before.last_check.is_none_or(|last| now.since(last) >= interval);
    let became_ready = seen.status == ShardStatus::Ready && before.status != ShardStatus::Ready;
    let health = (changed || old).then_some(ShardHealth {
        status: seen.status,
        guild_count: seen.totals.guilds,
        member_count: seen.totals.members,
        ready_at: if became_ready { Some(now) } else { before.ready_at },
        last_check: Some(now),
    });
    let report = ShardReport { shard: seen.shard, epoch, checkpoint, health };
    (report.checkpoint.is_some() || report.health.is_some()).then_some(report)
}

/// What an owner says of a shard that it has stopped: all it knows, new or not. What it has counted is committed before.
pub(super) fn last_word(seen: &Seen, committed: &Shard, now: UnixMillis) -> ShardReport {
    let epoch = committed.epoch().unwrap_or_default();
    let Seen { progress, totals, .. } = seen;
    let health = ShardHealth {
        status: ShardStatus::Spawning,
        guild_count: totals.guilds,
        member_count: totals.members,
        ready_at: committed.health().ready_at,
        last_check: Some(now),
    };
    let report = ShardReport::new(seen.shard, epoch).at(progress.session, progress.handled);
    ShardReport { health: Some(health), ..report }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{
        ApplicationId, BootEpoch, ClusterId, LogIndex, NodeId, Session, SessionId, SessionNumber,
        ShardTotal,
    };
    use crate::placement;
    use crate::state::{Command, Facts, State};

    const SHARD: ShardId = ShardId(0);
    const INTERVAL: Duration = Duration::from_secs(30);
    const NOW: UnixMillis = UnixMillis(1_000_000);

    /// A shard in session 1 whose health was reported at [`NOW`].
    fn state() -> State {
        let node = NodeId(1);
        let total = ShardTotal::ONE;
        let facts = Facts { application: ApplicationId(1), total, intents: 0 };
        let mut state = State::default();
        state.apply(LogIndex(1), Command::Form { cluster: ClusterId(Uuid::from_u128(1)) });
        let boot = BootEpoch(1);
        state.apply(LogIndex(2), Command::StartNode { node, name: "a".into(), boot });
        state.apply(LogIndex(3), Command::FixFacts(facts));
        let moves = placement::assign(&state);
        state.apply(LogIndex(4), Command::Assign(moves));
        let epoch = state.shards()[&SHARD].epoch().unwrap();
        let id = SessionId("s".into());
        let session = Session { number: SessionNumber(1), id, resume_url: String::new() };
        state.apply(LogIndex(5), Command::StartSession { shard: SHARD, epoch, session });
        let report = due(&seen(0), &state.shards()[&SHARD], NOW, INTERVAL).unwrap();
        state.apply(LogIndex(6), Command::Report(vec![report]));
        state
    }

    fn seen(handled: u64) -> Seen {
        let progress = Progress {
            session: SessionNumber(1),
            handled: Sequence(handled),
            ..Progress::default()
        };
        let totals = Totals { guilds: 2, members: 30 };
        let covered = progress.handled;
        Seen { shard: SHARD, progress, covered, status: ShardStatus::Ready, totals }
    }

    fn due_now(seen: &Seen) -> Option<ShardReport> {
        due(seen, &state().shards()[&SHARD], NOW, INTERVAL)
    }

    #[test]
    fn nothing_new_is_not_reported() {
        assert_eq!(due_now(&seen(0)), None);
    }

    #[test]
    fn progress_is_reported_without_repeating_the_health() {
        let report = due_now(&seen(7)).unwrap();

        assert_eq!(report.checkpoint.map(|checkpoint| checkpoint.sequence), Some(Sequence(7)));
        assert_eq!(report.health, None);
    }

    #[test]
    fn a_checkpoint_is_reported_as_far_as_the_guilds_are_counted() {
        let report = due_now(&Seen { covered: Sequence(5), ..seen(7) }).unwrap();

        assert_eq!(report.checkpoint.map(|checkpoint| checkpoint.sequence), Some(Sequence(5)));
    }

    #[test]
    fn a_new_status_is_reported_at_once_and_an_old_one_at_the_interval() {
        let lost = Seen { status: ShardStatus::Disconnected, ..seen(0) };
        assert_eq!(
            due_now(&lost).unwrap().health.map(|health| health.status),
            Some(ShardStatus::Disconnected)
        );

        let later = NOW.plus(INTERVAL);
        let report = due(&seen(0), &state().shards()[&SHARD], later, INTERVAL).unwrap();
        assert_eq!(report.health.and_then(|health| health.last_check), Some(later));
        assert_eq!(report.health.and_then(|health| health.ready_at), Some(NOW));
    }

    #[test]
    fn a_session_that_is_not_committed_yet_has_no_checkpoint() {
        let mut seen = seen(9);
        seen.progress.session = SessionNumber(2);

        assert_eq!(due_now(&seen), None);
    }
}
