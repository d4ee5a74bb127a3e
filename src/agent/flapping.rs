//! Shards whose connections never last: each looks as if it were about to be well. Pure.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Connections within [`WITHIN`] that are too many. Discord asks every shard to reconnect now and then, about once in
/// some hours; a shard that does it every two minutes is not well.
const CONNECTIONS_MAX: usize = 5;

/// Over how long connections are counted.
const WITHIN: Duration = Duration::from_secs(600);

/// Connections that are remembered: more say no more.
const KEPT_MAX: usize = 64;

/// The latest connections of a shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Flapping {
    connected: bool,
    /// It was connected before.
    begun: bool,
    /// When those after the first began.
    at: VecDeque<Instant>,
    /// It was too many when last looked at.
    pub(super) found: bool,
}

impl Flapping {
    /// Takes in whether the shard is connected: events flow. Attempts that fail are another trouble. How many connections
    /// began in the last ten minutes, where that is too many.
    pub(super) fn observe(&mut self, now: Instant, connected: bool) -> Option<usize> {
        let was = std::mem::replace(&mut self.connected, connected);
        if connected && !was && std::mem::replace(&mut self.begun, true) {
            self.at.push_back(now);
            self.at.drain(..self.at.len().saturating_sub(KEPT_MAX));
        }
        self.at.retain(|at| now.saturating_duration_since(*at) <= WITHIN);
        (self.at.len() >= CONNECTIONS_MAX).then_some(self.at.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_reconnects_for_ever_is_found_and_one_that_stopped_is_let_off() {
        let mut flapping = Flapping::default();
        let mut now = Instant::now();
        assert_eq!(flapping.observe(now, true), None);

        let found: Vec<_> = (0..6)
            .map(|_| {
                now += Duration::from_secs(60);
                flapping.observe(now, false);
                flapping.observe(now, true)
            })
            .collect();

        assert_eq!(found, [None, None, None, None, Some(5), Some(6)]);
        assert_eq!(flapping.observe(now + WITHIN, true), None);
    }

    #[test]
    fn a_reconnect_now_and_then_is_none() {
        let mut flapping = Flapping::default();
        let mut now = Instant::now();

        for _ in 0..100 {
            now += Duration::from_secs(180);
            flapping.observe(now, false);
            assert_eq!(flapping.observe(now, true), None);
        }
    }

    #[test]
    fn an_outage_of_any_length_is_one_reconnect() {
        let mut flapping = Flapping::default();
        let mut now = Instant::now();
        flapping.observe(now, true);

        for _ in 0..100 {
            now += Duration::from_secs(5);
            assert_eq!(flapping.observe(now, false), None);
        }
        assert_eq!(flapping.observe(now, true), None);
    }
}
