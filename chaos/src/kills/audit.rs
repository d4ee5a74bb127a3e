//! What the lives wrote, against what the simulator knows. Pure.

use std::collections::{BTreeMap, BTreeSet};

use apolo::simulator::Truth;

use super::Record;

/// One life of the process: what it wrote, and when it began on the simulator's clock.
#[derive(Clone, Debug, Default)]
pub struct Life {
    /// In the order in which the handlers finished.
    pub records: Vec<Record>,
    /// Milliseconds since the simulator's start.
    pub began_ms: u64,
}

/// What became of the events.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Audit {
    /// Dispatches that the simulator made.
    pub sent: u64,
    /// Handlers that finished.
    pub handled: u64,
    /// Dispatches that no handler of any life finished.
    pub lost: u64,
    /// Those of the lost that the bot was told of (`SessionLost`).
    pub told: u64,
    /// Handlers that finished for an event that one had finished for before.
    pub twice: u64,
    /// Those among them whose context did not say so.
    pub unmarked: u64,
    /// Those among them at or below the sequence that the life resumed behind.
    pub below_checkpoint: u64,
    /// Sessions that the simulator knows and no life saw begin.
    pub unknown_sessions: u64,
}

/// An event's name for good: shard, session, sequence.
type Place = (u32, u64, u64);

/// Compares.
#[must_use]
pub(crate) fn audit(lives: &[Life], truth: &Truth) -> Audit {
    let mut audit = Audit::default();
    let mut seen: BTreeSet<Place> = BTreeSet::new();
    let mut plain: BTreeSet<Place> = BTreeSet::new();
    let mut ids: BTreeMap<(u32, u64), &str> = BTreeMap::new();
    let mut lost_after: BTreeMap<(u32, u64), u64> = BTreeMap::new();
    for (nth, life) in lives.iter().enumerate() {
        let ends_ms = lives.get(nth + 1).map_or(u64::MAX, |next| next.began_ms);
        let resumed = resumed_behind(truth, life.began_ms, ends_ms);
        for record in &life.records {
            match record {
                Record::Session { shard, session, id } => {
                    ids.insert((*shard, *session), id);
                }
                Record::Lost { shard, session, after } => {
                    lost_after.insert((*shard, *session), *after);
                }
                Record::Event { shard, session, sequence, redelivered } => {
                    let place = (*shard, *session, *sequence);
                    audit.handled += 1;
                    // Nodes write at the same time: of two deliveries one may be plain, whichever is read first.
                    audit.unmarked += u64::from(!redelivered && !plain.insert(place));
                    if seen.insert(place) {
                        continue;
                    }
                    audit.twice += 1;
                    let behind = ids.get(&(*shard, *session)).and_then(|id| resumed.get(id));
                    let below = behind.is_some_and(|behind| sequence <= behind);
                    audit.below_checkpoint += u64::from(below);
                }
            }
        }
    }
    for session in &truth.sessions {
        audit.sent += session.last;
        let of_session =
            ids.iter().find(|((shard, _), id)| *shard == session.shard && **id == session.id);
        let Some(((shard, number), _)) = of_session else {
            audit.unknown_sessions += 1;
            audit.lost += session.last;
            continue;
        };
        let there = seen.range((*shard, *number, 1)..=(*shard, *number, session.last)).count();
        let lost = session.last - there as u64;
        audit.lost += lost;
        if let Some(after) = lost_after.get(&(*shard, *number)) {
            let behind = after + 1..=session.last;
            let told = behind.filter(|sequence| !seen.contains(&(*shard, *number, *sequence)));
            audit.told += told.count() as u64;
        }
    }
    audit
}

/// The lowest sequence behind which each session was resumed in a life.
fn resumed_behind(truth: &Truth, from_ms: u64, to_ms: u64) -> BTreeMap<&str, u64> {
    let mut resumed = BTreeMap::new();
    for resume in &truth.resumes {
        if (from_ms..to_ms).contains(&resume.at_ms) && resume.outcome.is_ok() {
            let lowest = resumed.entry(resume.session.as_str()).or_insert(u64::MAX);
            *lowest = resume.from.min(*lowest);
        }
    }
    resumed
}

#[cfg(test)]
mod tests {
    use apolo::simulator::{ResumeTruth, SessionTruth};

    use super::*;

    fn event(sequence: u64, redelivered: bool) -> Record {
        Record::Event { shard: 0, session: 1, sequence, redelivered }
    }

    /// Two lives of one shard: 1 to 3 in the first, resumed behind 2 in the second.
    fn lives(second: Vec<Record>) -> [Life; 2] {
        let began = Record::Session { shard: 0, session: 1, id: "a".into() };
        let first = vec![began, event(1, false), event(2, false), event(3, false)];
        [Life { records: first, began_ms: 0 }, Life { records: second, began_ms: 100 }]
    }

    fn truth(last: u64) -> Truth {
        let session = SessionTruth { id: "a".into(), last, ..SessionTruth::default() };
        let resume = ResumeTruth {
            at_ms: 110,
            connection: 2,
            session: "a".into(),
            shard: Some(0),
            from: 2,
            outcome: Ok(3),
        };
        Truth { sessions: vec![session], resumes: vec![resume], ..Truth::default() }
    }

    #[test]
    fn what_is_redelivered_behind_the_checkpoint_and_says_so_is_fine() {
        let audit = audit(&lives(vec![event(3, true), event(4, true), event(5, false)]), &truth(5));

        let fine = Audit { sent: 5, handled: 6, twice: 1, ..Audit::default() };
        assert_eq!(audit, fine);
    }

    #[test]
    fn a_missing_event_is_lost() {
        assert_eq!(audit(&lives(vec![event(3, true), event(5, false)]), &truth(5)).lost, 1);
    }

    #[test]
    fn a_second_delivery_that_does_not_say_so_is_found() {
        assert_eq!(audit(&lives(vec![event(3, false), event(4, false)]), &truth(4)).unmarked, 1);
    }

    #[test]
    fn a_second_delivery_from_before_the_checkpoint_is_found() {
        let audit = audit(&lives(vec![event(2, true), event(3, true), event(4, true)]), &truth(4));

        assert_eq!((audit.twice, audit.below_checkpoint), (2, 1));
    }

    #[test]
    fn a_loss_outside_of_the_range_that_the_bot_was_told_of_stays_untold() {
        let told = Record::Lost { shard: 0, session: 1, after: 6 };

        let audit = audit(&lives(vec![event(7, false), told]), &truth(8));

        assert_eq!((audit.lost, audit.told), (4, 1));
    }

    #[test]
    fn a_loss_that_the_bot_was_told_of_is_counted_apart() {
        let told = Record::Lost { shard: 0, session: 1, after: 3 };

        let audit = audit(&lives(vec![told]), &truth(8));

        assert_eq!((audit.lost, audit.told), (5, 5));
    }
}
