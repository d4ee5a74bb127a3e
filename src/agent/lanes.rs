//! Order within a guild, concurrency between guilds.

use std::collections::{HashMap, VecDeque};

use crate::model::GuildId;

/// What is handled one after the other: a guild's events; all events without a guild share one lane.
pub(crate) type Lane = Option<GuildId>;

/// The lanes of a shard that have a handler running, and what waits behind it.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    busy: HashMap<Lane, VecDeque<T>>,
    waiting: usize,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { busy: HashMap::new(), waiting: 0 }
    }
}

impl<T> Lanes<T> {
    /// Whether no handler runs: an event may then start without asking for its lane.
    pub(crate) fn is_idle(&self) -> bool {
        self.busy.is_empty()
    }

    /// Events that wait behind a running handler.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Puts an event behind the handler that runs in its lane, or gives it back where none does.
    pub(crate) fn wait(&mut self, lane: Lane, event: T) -> Option<T> {
        match self.busy.get_mut(&lane) {
            Some(queue) => {
                queue.push_back(event);
                self.waiting += 1;
                None
            }
            None => Some(event),
        }
    }

    /// Notes that a handler of this lane runs on.
    pub(crate) fn start(&mut self, lane: Lane) {
        self.busy.entry(lane).or_default();
    }

    /// Notes that the lane's handler has finished; the lane is free where nothing waits.
    pub(crate) fn next(&mut self, lane: Lane) -> Option<T> {
        let next = self.busy.get_mut(&lane)?.pop_front();
        match next {
            Some(event) => {
                self.waiting -= 1;
                Some(event)
            }
            None => {
                self.busy.remove(&lane);
                None
            }
        }
    }

    /// Forgets what waits. What runs goes on.
    pub(crate) fn clear_waiting(&mut self) {
        for queue in self.busy.values_mut() {
            queue.clear();
        }
        self.waiting = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Lane = Some(GuildId(1));
    const B: Lane = Some(GuildId(2));

    #[test]
    fn a_guilds_events_wait_for_each_other_and_for_nobody_else() {
        let mut lanes = Lanes::default();
        lanes.start(A);

        assert_eq!(lanes.wait(A, 1), None);
        assert_eq!(lanes.wait(A, 2), None);
        assert_eq!(lanes.wait(B, 3), Some(3));
        assert_eq!([lanes.next(A), lanes.next(A), lanes.next(A)], [Some(1), Some(2), None]);
        assert!(lanes.is_idle());
    }

    #[test]
    fn clearing_keeps_the_lane_of_a_running_handler_busy() {
        let mut lanes = Lanes::default();
        lanes.start(A);
        lanes.wait(A, 1);

        lanes.clear_waiting();

        assert_eq!(lanes.waiting(), 0);
        assert!(!lanes.is_idle());
        assert_eq!(lanes.next(A), None);
    }
}
