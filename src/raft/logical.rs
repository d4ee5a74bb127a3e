//! The state's logical time, as the leader of a term measures it.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// How far the state's time had come when this node began to lead, and since when that is. An instant stands still while
/// the machine sleeps; then, too, a time to live is only prolonged.
#[derive(Debug, Default)]
pub(super) struct Logical(Mutex<Option<Reign>>);

#[derive(Clone, Copy, Debug)]
struct Reign {
    term: u64,
    base_ms: u64,
    since: Instant,
}

impl Logical {
    /// The time in `term`, in milliseconds. When it is asked for the first time in a term, it is the one of the state,
    /// which lacks nothing of earlier terms.
    pub(super) fn now_ms(&self, term: u64, now: Instant, of_state: impl FnOnce() -> u64) -> u64 {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reign = match *known {
            Some(reign) if reign.term == term => reign,
            _ => *known.insert(Reign { term, base_ms: of_state(), since: now }),
        };
        let elapsed = now.saturating_duration_since(reign.since).as_millis();
        reign.base_ms.saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_goes_on_within_a_term_and_begins_at_the_states_in_the_next() {
        let (logical, began) = (Logical::default(), Instant::now());
        let at = |ms| began + Duration::from_millis(ms);

        assert_eq!(logical.now_ms(3, at(0), || 70), 70);
        assert_eq!(logical.now_ms(3, at(30), || unreachable!("it is known")), 100);
        // Another led meanwhile, or nobody: what this node measured does not count.
        assert_eq!(logical.now_ms(5, at(500), || 80), 80);
        assert_eq!(logical.now_ms(5, at(501), || unreachable!("it is known")), 81);
    }
}
