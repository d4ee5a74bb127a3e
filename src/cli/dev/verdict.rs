//! Whether anything was lost: what the simulator sent, against what the bot got. Pure.

use super::recorder::{Counts, Sequences};
use crate::model::ShardId;
use crate::simulator::Truth;

/// What became of the events.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Verdict {
    /// Dispatches that the simulator made.
    pub(super) sent: u64,
    /// Those among them that no handler got.
    pub(super) missing: u64,
    /// Rules of Discord's that apolo broke, with how often.
    pub(super) broken: Vec<(String, u64)>,
    /// The identify budget was overspent.
    pub(super) token_reset: bool,
}

impl Verdict {
    /// Nothing was lost and no rule was broken.
    pub(super) fn is_good(&self) -> bool {
        self.missing == 0 && self.broken.is_empty() && !self.token_reset
    }
}

/// Compares. A session whose READY the bot never got is missing as a whole.
pub(super) fn judge(truth: &Truth, counts: &Counts) -> Verdict {
    let nothing = Sequences::default();
    let mut verdict = Verdict { token_reset: truth.token_reset, ..Verdict::default() };
    for session in &truth.sessions {
        let number = counts.sessions.get(&session.id).copied().unwrap_or_default();
        let got = counts.got.get(&(ShardId(session.shard), number)).unwrap_or(&nothing);
        verdict.sent += session.last;
        verdict.missing += got.missing(&session.dispatched());
    }
    verdict.broken = broken(truth);
    verdict
}

/// The rules that were broken, with how often.
pub(super) fn broken(truth: &Truth) -> Vec<(String, u64)> {
    truth.broken.iter().map(|(rule, broken)| (format!("{rule:?}"), broken.count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SessionNumber;
    use crate::simulator::SessionTruth;

    fn truth(last: u64) -> Truth {
        let session = SessionTruth { id: "a".into(), shard: 3, last, ..SessionTruth::default() };
        Truth { sessions: vec![session], ..Truth::default() }
    }

    fn judged(last: u64, got: std::ops::RangeInclusive<u64>) -> Verdict {
        let mut counts = Counts::default();
        let sequences = counts.got.entry((ShardId(3), SessionNumber(1))).or_default();
        got.for_each(|sequence| sequences.insert(sequence));
        counts.sessions.insert("a".to_owned(), SessionNumber(1));
        judge(&truth(last), &counts)
    }

    #[test]
    fn an_event_that_no_handler_got_is_missing() {
        assert_eq!((judged(9, 1..=9).missing, judged(9, 1..=9).is_good()), (0, true));
        assert_eq!((judged(9, 1..=7).missing, judged(9, 1..=7).is_good()), (2, false));
    }

    #[test]
    fn a_session_that_the_bot_never_saw_is_missing_as_a_whole() {
        let verdict = judge(&truth(5), &Counts::default());

        assert_eq!((verdict.sent, verdict.missing), (5, 5));
    }
}
