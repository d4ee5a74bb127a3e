//! Shards whose connections never last: each looks as if it were about to be well. Pure.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Connections within [`WITHIN`] that are too many. Discord asks every shard to reconnect now and then, about once in
/// some hours; a shard that does it every two minutes is not well.
pub(super) const CONNECTS_MAX: usize = 5;

/// Over how long connections are counted.
pub(super) const WITHIN: Duration = Duration::from_secs(600);

/// The latest connections of a shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Flapping {
    /// How many there had been in all.
    connects: u64,
    /// When those after the first were noticed.
    at: VecDeque<Instant>,
    /// It was too many when last looked at.
    pub(super) found: bool,
}

/// Connections that are remembered: more say no more.
const KEPT_MAX: usize = 64;

impl Flapping {
    /// Takes in how many connections there have been. How many of them fall into the last ten minutes, where that is too
    /// many.
    pub(super) fn observe(&mut self, now: Instant, connects: u64) -> Option<usize> {
        // The first connection is the start.
        let fresh = connects.saturating_sub(self.connects.max(1));
        self.connects = connects;
        let fresh = usize::try_from(fresh).unwrap_or(usize::MAX).min(KEPT_MAX);
        self.at.extend(std::iter::repeat_n(now, fresh));
        self.at.drain(..self.at.len().saturating_sub(KEPT_MAX));
        self.at.retain(|at| now.saturating_duration_since(*at) <= WITHIN);
        (self.at.len() >= CONNECTS_MAX).then_some(self.at.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_reconnects_for_ever_is_found_and_one_that_stopped_is_let_off() {
        let mut flapping = Flapping::default();
        let mut now = Instant::now();
        let mut connects = 1;
        assert_eq!(flapping.observe(now, connects), None);

        let found: Vec<_> = (0..6)
            .map(|_| {
                now += Duration::from_secs(60);
                connects += 1;
                flapping.observe(now, connects)
            })
            .collect();

        assert_eq!(found, [None, None, None, None, Some(5), Some(6)]);
        assert_eq!(flapping.observe(now + WITHIN, connects), None);
    }

    #[test]
    fn a_reconnect_now_and_then_is_none() {
        let mut flapping = Flapping::default();
        let mut now = Instant::now();

        for connects in 1..100 {
            now += Duration::from_secs(180);
            assert_eq!(flapping.observe(now, connects), None);
        }
    }
}
