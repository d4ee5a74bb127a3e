//! How long a kubelet waits before it starts a container again whose process ended by itself. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// After the second end; the first is answered at once. The kubelet's own figures, all three.
const FIRST: Duration = Duration::from_secs(10);

const LONGEST: Duration = Duration::from_secs(300);

/// One that ran for longer is as good as new.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// Of one container of one pod: a pod that is made anew has a new one.
#[derive(Debug, Default)]
pub(super) struct Backoff(Option<Last>);

#[derive(Debug)]
struct Last {
    started: Instant,
    next: Duration,
}

impl Backoff {
    /// When a container may start again that ended at `ended`.
    pub(super) fn start_after(&mut self, ended: Instant) -> Instant {
        let recent = |last: &&Last| ended.duration_since(last.started) <= FORGOTTEN_AFTER;
        let (started, next) = match self.0.as_ref().filter(recent) {
            None => (ended, FIRST),
            Some(last) => (ended + last.next, LONGEST.min(last.next * 2)),
        };
        self.0 = Some(Last { started, next });
        started
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_end_is_answered_at_once_and_each_further_one_later_up_to_five_minutes() {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();

        let waits = [(); 8].map(|()| {
            let ended = now + SECOND;
            now = backoff.start_after(ended);
            (now - ended).as_secs()
        });

        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_minutes_of_running_are_forgiven_and_a_second_less_is_not() {
        let mut backoff = Backoff::default();
        let first = backoff.start_after(Instant::now());
        let second = backoff.start_after(first + FORGOTTEN_AFTER);

        let ended = second + FORGOTTEN_AFTER + SECOND;

        assert_eq!(second - first, FORGOTTEN_AFTER + FIRST);
        assert_eq!(backoff.start_after(ended), ended);
    }
}
