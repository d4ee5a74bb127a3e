//! What is counted of consumers, for Prometheus.

use std::collections::BTreeMap;

use metrics::{counter, gauge};
use tokio::time::Instant;

use super::pool::{Pool, Standing};

/// The label of groups that no event waits for. No group has this name.
const OTHERS: &str = "(others)";

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

/// How the groups stand: those that are waited for each, all others together, since consumers name them.
pub(super) fn show(pool: &Pool) {
    let mut shown = BTreeMap::from([(OTHERS.to_owned(), Standing::default())]);
    for (group, standing) in pool.standing(Instant::now()) {
        let name = if standing.required { group.to_string() } else { OTHERS.to_owned() };
        let sum: &mut Standing = shown.entry(name).or_default();
        sum.consumers += standing.consumers;
        sum.waiting += standing.waiting;
        sum.unacknowledged += standing.unacknowledged;
        sum.oldest = sum.oldest.max(standing.oldest);
    }
    for (name, standing) in shown {
        let label = [("group", name)];
        let oldest = standing.oldest.unwrap_or_default();
        gauge!("apolo_consumer_group_consumers", &label).set(standing.consumers as f64);
        gauge!("apolo_consumer_events_waiting", &label).set(standing.waiting as f64);
        gauge!("apolo_consumer_events_unacknowledged", &label).set(standing.unacknowledged as f64);
        gauge!("apolo_consumer_oldest_unacknowledged_seconds", &label).set(oldest.as_secs_f64());
    }
}
