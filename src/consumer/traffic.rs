//! What is counted of consumers, for Prometheus.

use metrics::{counter, gauge};

use super::pool::Pool;

/// A consumer has come, or gone.
pub(super) fn connected(change: f64) {
    gauge!("apolo_consumers").increment(change);
}

/// An event was sent.
pub(super) fn sent(again: bool) {
    counter!("apolo_consumer_events_sent_total").increment(1);
    if again {
        counter!("apolo_consumer_events_resent_total").increment(1);
    }
}

/// A consumer answered for something that it did not have: too late, or twice.
pub(super) fn unexpected(what: &'static str) {
    counter!("apolo_consumer_unexpected_total", "what" => what).increment(1);
}

/// A connection was turned away, or ended for what it sent.
pub(super) fn refused(reason: &'static str) {
    counter!("apolo_consumer_refused_total", "reason" => reason).increment(1);
}

/// How each group stands.
pub(super) fn show(pool: &Pool) {
    for (group, standing) in pool.standing() {
        let label = [("group", group.to_string())];
        gauge!("apolo_consumer_group_consumers", &label).set(standing.consumers as f64);
        gauge!("apolo_consumer_events_waiting", &label).set(standing.waiting as f64);
        gauge!("apolo_consumer_events_unacknowledged", &label).set(standing.unacknowledged as f64);
    }
}
