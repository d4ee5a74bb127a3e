//! How far a session has been handled, when handlers finish in any order.

use std::collections::VecDeque;

use crate::model::Sequence;

/// The checkpoint of a session in the making: the highest sequence up to which every handler has finished.
///
/// Guilds are handled concurrently, so the highest sequence that has finished would skip the unfinished ones below it.
#[derive(Debug)]
pub(crate) struct Tracker {
    handled: Sequence,
    /// Whether the sequences behind `handled` have finished, from `handled + 1` on.
    finished: VecDeque<bool>,
}

impl Tracker {
    /// Everything up to `handled` is done.
    pub(crate) const fn new(handled: Sequence) -> Self {
        Self { handled, finished: VecDeque::new() }
    }

    /// The checkpoint.
    pub(crate) const fn handled(&self) -> Sequence {
        self.handled
    }

    /// Sequences that have begun and are not part of the checkpoint yet.
    pub(crate) fn open(&self) -> usize {
        self.finished.len()
    }

    /// Notes that `sequence` came. Sequences come in order; what was left out (a hole that Discord could not fill)
    /// counts as finished, since nobody is going to handle it.
    pub(crate) fn begin(&mut self, sequence: Sequence) {
        let last = self.handled.0 + self.finished.len() as u64;
        for _ in last + 1..sequence.0 {
            self.finished.push_back(true);
        }
        if sequence.0 > last {
            self.finished.push_back(false);
        }
    }

    /// Notes that the handler of `sequence` has finished.
    pub(crate) fn finish(&mut self, sequence: Sequence) {
        let Some(behind) = sequence.0.checked_sub(self.handled.0 + 1) else {
            return;
        };
        if let Some(finished) =
            usize::try_from(behind).ok().and_then(|at| self.finished.get_mut(at))
        {
            *finished = true;
        }
        while self.finished.front() == Some(&true) {
            self.finished.pop_front();
            self.handled = self.handled.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_checkpoint_waits_for_the_slowest_handler() {
        let mut tracker = Tracker::new(Sequence(10));
        for sequence in 11..=14 {
            tracker.begin(Sequence(sequence));
        }

        for (sequence, handled) in [(13, 10), (11, 11), (14, 11), (12, 14)] {
            tracker.finish(Sequence(sequence));
            assert_eq!(tracker.handled(), Sequence(handled), "after {sequence}");
        }
        assert_eq!(tracker.open(), 0);
    }

    #[test]
    fn a_hole_that_nobody_can_fill_does_not_hold_the_checkpoint_for_ever() {
        let mut tracker = Tracker::new(Sequence(1));
        tracker.begin(Sequence(2));
        tracker.begin(Sequence(6));

        tracker.finish(Sequence(6));
        assert_eq!(tracker.handled(), Sequence(1));
        tracker.finish(Sequence(2));
        assert_eq!(tracker.handled(), Sequence(6));
    }

    #[test]
    fn a_finish_from_before_a_rewind_changes_nothing() {
        let mut tracker = Tracker::new(Sequence(5));
        tracker.begin(Sequence(6));

        tracker.finish(Sequence(3));
        tracker.finish(Sequence(9));

        assert_eq!(tracker.handled(), Sequence(5));
    }

    proptest! {
        #[test]
        fn nothing_at_or_below_the_checkpoint_is_unfinished(order in Just((1_u64..40).collect::<Vec<_>>()).prop_shuffle()) {
            let mut tracker = Tracker::new(Sequence(0));
            (1..40).for_each(|sequence| tracker.begin(Sequence(sequence)));
            let mut done = BTreeSet::new();
            for sequence in order {
                tracker.finish(Sequence(sequence));
                done.insert(sequence);
                let expected = (1..40).take_while(|sequence| done.contains(sequence)).last();
                prop_assert_eq!(tracker.handled().0, expected.unwrap_or(0));
            }
        }
    }
}
