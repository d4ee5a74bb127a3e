//! Whether anything was lost: what the simulator sent, against what the cluster has committed as handled. Pure.

use std::{cmp::Reverse, collections::BTreeMap};

use super::poll::Checkpoints;
use crate::cli::dev::verdict::{Verdict, broken};
use crate::model::ShardId;
use crate::simulator::{SessionTruth, Truth};

/// Compares. What lies beyond a session's last checkpoint counts as lost.
///
/// The simulator goes on with a session that was given up until it times out, although its events come in the next
/// session too. Where a session was given up, the count is therefore higher than what the bot missed; it is never lower.
pub(super) fn judge(truth: &Truth, checkpoints: &Checkpoints) -> Verdict {
    let mut verdict =
        Verdict { token_reset: truth.token_reset, broken: broken(truth), ..Verdict::default() };
    for (session, checkpoint) in pairs(truth, checkpoints).into_values().flatten() {
        verdict.sent += session.last;
        verdict.missing += session.last.saturating_sub(checkpoint);
    }
    verdict
}

/// Events that may still be handled: those of each shard's latest session. An earlier one never comes back.
pub(super) fn outstanding(truth: &Truth, checkpoints: &Checkpoints) -> u64 {
    let latest = pairs(truth, checkpoints).into_values().filter_map(|pairs| pairs.first().copied());
    latest.map(|(session, checkpoint)| session.last.saturating_sub(checkpoint)).sum()
}

/// Every session with its last checkpoint, by shard, the latest first.
///
/// The simulator names sessions and the cluster numbers them, so they are paired by their order, the latest first: of a
/// cluster that is older than the simulator, the earlier sessions are not the simulator's.
fn pairs<'a>(
    truth: &'a Truth,
    checkpoints: &Checkpoints,
) -> BTreeMap<ShardId, Vec<(&'a SessionTruth, u64)>> {
    let mut pairs: BTreeMap<ShardId, Vec<(&SessionTruth, u64)>> = BTreeMap::new();
    for session in &truth.sessions {
        pairs.entry(ShardId(session.shard)).or_default().push((session, 0));
    }
    for (shard, sessions) in &mut pairs {
        sessions.sort_by_key(|(session, _)| Reverse(session.began_ms));
        let committed = checkpoints.iter().rev().filter(|((of, _), _)| of == shard);
        for ((_, checkpoint), (_, sequence)) in sessions.iter_mut().zip(committed) {
            *checkpoint = *sequence;
        }
    }
    pairs
}

/// How many shards have a connection.
pub(super) fn connected(truth: &Truth) -> usize {
    let with = truth.sessions.iter().filter(|session| session.connected && session.end.is_none());
    let mut shards: Vec<u32> = with.map(|session| session.shard).collect();
    shards.sort_unstable();
    shards.dedup();
    shards.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SessionNumber;

    fn session(began_ms: u64, last: u64) -> SessionTruth {
        SessionTruth { shard: 3, began_ms, last, connected: true, ..SessionTruth::default() }
    }

    fn judged(sessions: Vec<SessionTruth>, committed: &[(u64, u64)]) -> (u64, u64) {
        let committed = committed.iter();
        let checkpoints = committed
            .map(|(number, sequence)| ((ShardId(3), SessionNumber(*number)), *sequence))
            .collect();
        let verdict = judge(&Truth { sessions, ..Truth::default() }, &checkpoints);
        (verdict.sent, verdict.missing)
    }

    #[test]
    fn what_lies_beyond_the_checkpoint_is_lost() {
        assert_eq!(judged(vec![session(0, 9)], &[(1, 9)]), (9, 0));
        assert_eq!(judged(vec![session(0, 9)], &[(1, 7)]), (9, 2));
        assert_eq!(judged(vec![session(0, 9)], &[]), (9, 9));
    }

    #[test]
    fn the_latest_session_has_the_latest_checkpoint() {
        assert_eq!(judged(vec![session(5, 20), session(0, 9)], &[(1, 9), (2, 19)]), (29, 1));
        assert_eq!(judged(vec![session(0, 9)], &[(1, 800), (2, 8)]), (9, 1));
    }

    #[test]
    fn nobody_waits_for_a_session_that_has_a_successor() {
        let truth = Truth { sessions: vec![session(0, 9), session(5, 20)], ..Truth::default() };
        let committed = |sequence| Checkpoints::from([((ShardId(3), SessionNumber(1)), sequence)]);

        assert_eq!(outstanding(&truth, &committed(18)), 2);
        assert_eq!(outstanding(&truth, &committed(20)), 0);
        assert_eq!(judge(&truth, &committed(20)).missing, 9);
    }

    #[test]
    fn a_shard_counts_once_however_many_sessions_it_has_had() {
        let truth = Truth { sessions: vec![session(0, 1), session(5, 1)], ..Truth::default() };

        assert_eq!(connected(&truth), 1);
    }
}
