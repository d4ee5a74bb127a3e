//! What is counted of messages, for Prometheus.

use std::time::Duration;

use metrics::{counter, histogram};

use super::error::IpcError;

/// A request has its answer, or will have none.
pub(super) fn answered<A>(took: Duration, answer: &Result<A, IpcError>) {
    let outcome = answer.as_ref().map_or_else(IpcError::code, |_| "ok");
    counter!("apolo_ipc_requests_total", "outcome" => outcome).increment(1);
    histogram!("apolo_ipc_request_seconds").record(took.as_secs_f64());
}

/// A broadcast, or a request to many, is on its way to so many.
pub(super) fn broadcast(receivers: usize) {
    counter!("apolo_ipc_broadcasts_total").increment(1);
    counter!("apolo_ipc_broadcast_receivers_total").increment(receivers as u64);
}

/// A handler is to run for a message.
pub(super) fn received() {
    counter!("apolo_ipc_handled_total").increment(1);
}
