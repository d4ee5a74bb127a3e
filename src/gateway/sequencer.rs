//! What is done with a dispatch, by its sequence.

use std::collections::BTreeSet;

use super::port::Oddity;
use crate::model::Sequence;

/// How far a session has come in the queue, and what went wrong at that place.
///
/// Pure. A fault at a place is answered by a RESUME the first time; the same fault at the same place again is worked
/// around, so that nothing loops and nothing vanishes unnoticed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Sequencer {
    last: Sequence,
    replaying: bool,
    faults: BTreeSet<Fault>,
    /// The last sequence before one that was skipped, until the next dispatch has told of it.
    hole_after: Option<Sequence>,
    suspects: BTreeSet<Sequence>,
}

/// What can be wrong at a place in the stream.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Fault {
    /// Sequences are missing.
    Gap,
    /// The payload or its envelope can't be read.
    Undecodable,
    /// The payload is too large or too deep.
    Excess,
    /// The compressed stream can't be inflated.
    Inflate,
}

/// What is done with a dispatch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// It goes into the queue, with what should be looked at twice.
    Pass(Option<Oddity>),
    /// It was there before.
    Duplicate,
    /// Sequences before it are missing, and may yet come.
    Early,
    /// Sequences before it are missing: resume.
    Gap,
    /// Its sequence is so far ahead that it is taken for garbage.
    Implausible,
}

/// The widest hole that is passed over. Discord's buffer holds a few thousand dispatches; a sequence further ahead
/// would, if believed, turn everything that follows it into duplicates.
const HOLE_MAX: u64 = 100_000;

/// Sequences kept as undecodable. The bot asks for one at a time, so this only bounds a hostile stream.
const SUSPECTS_MAX: usize = 64;

impl Sequencer {
    /// A session of which everything up to `last` is in the queue or behind it.
    pub(super) fn resuming(last: Sequence) -> Self {
        Self { last, ..Self::default() }
    }

    /// A session whose READY has this sequence.
    pub(super) fn started_by(ready: Sequence) -> Self {
        Self::resuming(Sequence(ready.0.saturating_sub(1)))
    }

    /// The highest sequence in the queue: where a RESUME goes on.
    pub(super) const fn last(&self) -> Sequence {
        self.last
    }

    /// Says whether what comes is Discord's answer to a RESUME.
    pub(super) const fn set_replaying(&mut self, replaying: bool) {
        self.replaying = replaying;
    }

    /// Whether what comes is Discord's answer to a RESUME.
    pub(super) const fn is_replaying(&self) -> bool {
        self.replaying
    }

    /// Judges a dispatch. It counts as passed only after [`Sequencer::passed`]. Where it may not `wait` for the ones
    /// before it, a hole is a fault.
    pub(super) fn judge(&mut self, sequence: Sequence, wait: bool) -> Verdict {
        if sequence <= self.last {
            return Verdict::Duplicate;
        }
        let hole = sequence.0 - self.last.0 - 1;
        if hole > HOLE_MAX {
            return if self.strike(Fault::Gap) { Verdict::Implausible } else { Verdict::Gap };
        }
        if hole > 0 && wait {
            return Verdict::Early;
        }
        if hole > 0 && !self.strike(Fault::Gap) {
            return Verdict::Gap;
        }
        let hole_after = self.hole_after.or_else(|| (hole > 0).then_some(self.last));
        let oddity = if self.suspects.contains(&sequence) {
            Some(Oddity::Undecodable)
        } else {
            hole_after.map(|after| Oddity::Gap { after })
        };
        Verdict::Pass(oddity)
    }

    /// The dispatch is in the queue.
    pub(super) fn passed(&mut self, sequence: Sequence) {
        self.advance(sequence);
        self.hole_after = None;
    }

    /// Notes a fault here. Returns whether it is the second of its kind at this place, which a RESUME did not cure.
    pub(super) fn strike(&mut self, fault: Fault) -> bool {
        !self.faults.insert(fault)
    }

    /// Passes over a dispatch that can't be delivered; the next one tells of the hole.
    pub(super) fn skip(&mut self, sequence: Sequence) {
        if sequence > self.last {
            self.hole_after.get_or_insert(self.last);
            self.advance(sequence);
        }
    }

    /// Goes back, so that what lies behind `after` comes again. Returns where it stands: never ahead of where it was.
    pub(super) fn rewind(&mut self, after: Sequence, undecodable: Option<Sequence>) -> Sequence {
        self.last = self.last.min(after);
        self.faults.clear();
        self.hole_after = None;
        self.suspects = self.suspects.split_off(&self.last.next());
        if self.suspects.len() < SUSPECTS_MAX {
            self.suspects.extend(undecodable);
        }
        self.last
    }

    fn advance(&mut self, sequence: Sequence) {
        self.last = sequence;
        if !self.faults.is_empty() {
            self.faults.clear();
        }
        if !self.suspects.is_empty() {
            self.suspects.remove(&sequence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Verdict = Verdict::Pass(None);

    fn at(last: u64) -> Sequencer {
        Sequencer::resuming(Sequence(last))
    }

    #[test]
    fn the_next_sequence_passes_and_an_old_one_is_a_duplicate() {
        let mut sequencer = at(4);

        assert_eq!(sequencer.judge(Sequence(5), false), PLAIN);
        sequencer.passed(Sequence(5));

        assert_eq!(sequencer.judge(Sequence(5), false), Verdict::Duplicate);
        assert_eq!(sequencer.judge(Sequence(1), false), Verdict::Duplicate);
        assert_eq!(sequencer.last(), Sequence(5));
    }

    #[test]
    fn a_gap_resumes_once_and_is_flagged_the_second_time() {
        let mut sequencer = at(4);

        assert_eq!(sequencer.judge(Sequence(7), false), Verdict::Gap);
        let oddity = Some(Oddity::Gap { after: Sequence(4) });
        assert_eq!(sequencer.judge(Sequence(7), false), Verdict::Pass(oddity));
        sequencer.passed(Sequence(7));

        assert_eq!(sequencer.judge(Sequence(8), false), PLAIN);
        sequencer.passed(Sequence(8));
        assert_eq!(sequencer.judge(Sequence(10), false), Verdict::Gap, "another place counts anew");
    }

    #[test]
    fn a_dispatch_before_its_turn_may_wait_without_a_fault() {
        let mut sequencer = at(4);

        assert_eq!(sequencer.judge(Sequence(6), true), Verdict::Early);
        assert_eq!(sequencer.judge(Sequence(5), true), PLAIN);
        sequencer.passed(Sequence(5));

        assert_eq!(sequencer.judge(Sequence(6), true), PLAIN);
    }

    #[test]
    fn a_sequence_far_ahead_is_never_believed() {
        let mut sequencer = at(4);

        assert_eq!(sequencer.judge(Sequence(u64::MAX), false), Verdict::Gap);
        assert_eq!(sequencer.judge(Sequence(u64::MAX), false), Verdict::Implausible);
        assert_eq!(sequencer.judge(Sequence(5), false), PLAIN);
    }

    #[test]
    fn a_skipped_dispatch_is_told_of_by_the_next() {
        let mut sequencer = at(4);

        sequencer.skip(Sequence(5));
        sequencer.skip(Sequence(6));

        let oddity = Some(Oddity::Gap { after: Sequence(4) });
        assert_eq!(sequencer.judge(Sequence(7), false), Verdict::Pass(oddity));
        sequencer.passed(Sequence(7));
        assert_eq!(sequencer.judge(Sequence(8), false), PLAIN);
    }

    #[test]
    fn a_rewind_goes_back_only_and_flags_what_could_not_be_read() {
        let mut sequencer = at(9);

        assert_eq!(sequencer.rewind(Sequence(6), Some(Sequence(7))), Sequence(6));
        assert_eq!(sequencer.judge(Sequence(7), false), Verdict::Pass(Some(Oddity::Undecodable)));
        sequencer.passed(Sequence(7));

        assert_eq!(sequencer.rewind(Sequence(20), None), Sequence(7));
    }

    #[test]
    fn a_fault_is_struck_again_only_at_the_same_place() {
        let mut sequencer = at(4);

        assert!(!sequencer.strike(Fault::Inflate));
        assert!(!sequencer.strike(Fault::Excess));
        assert!(sequencer.strike(Fault::Inflate));
        sequencer.passed(Sequence(5));

        assert!(!sequencer.strike(Fault::Inflate));
    }
}
