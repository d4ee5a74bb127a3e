//! What has been counted, for metrics and for tests.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tracing::warn;

use super::Refusal;

/// Counts since the transport was started. Prometheus sees the same numbers.
#[derive(Debug, Default)]
pub struct Counters {
    refusals: [AtomicU64; Refusal::ALL.len()],
    /// Handshakes that were sent back for a proof of their address.
    retries: AtomicU64,
    /// Attempts to reach a peer.
    dials: AtomicU64,
    /// Connections after their hello.
    connections: AtomicU64,
    /// Streams that a handler was given.
    served: AtomicU64,
    /// Streams that were turned away.
    turned_away: AtomicU64,
}

impl Counters {
    /// How many peers were refused for `reason`.
    #[must_use]
    pub fn refusals(&self, reason: Refusal) -> u64 {
        self.refusals[reason as usize].load(Relaxed)
    }

    /// How many handshakes were sent back for a proof of their address.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.retries.load(Relaxed)
    }

    /// How many attempts to reach a peer were made.
    #[must_use]
    pub fn dials(&self) -> u64 {
        self.dials.load(Relaxed)
    }

    /// How many connections there are, after their hello and before their end.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// How many streams a handler was given.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.load(Relaxed)
    }

    /// How many streams were turned away.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Relaxed)
    }

    /// The audit line of a refusal: whose address, where it is known, is in the caller's span.
    pub(super) fn refuse(&self, reason: Refusal) {
        let before = self.refusals[reason as usize].fetch_add(1, Relaxed);
        metrics::counter!("apolo_transport_refusals_total", "reason" => reason.as_str())
            .increment(1);
        // A flood must not fill the log: the 1st, 2nd, 4th, 8th … of a kind is told.
        if (before + 1).is_power_of_two() {
            warn!(reason = reason.as_str(), count = before + 1, "peer refused: {reason}");
        }
    }

    pub(super) fn retry(&self) {
        self.retries.fetch_add(1, Relaxed);
        metrics::counter!("apolo_transport_retries_total").increment(1);
    }

    pub(super) fn dial(&self) {
        self.dials.fetch_add(1, Relaxed);
        metrics::counter!("apolo_transport_dials_total").increment(1);
    }

    pub(super) fn connect(&self) {
        self.connections.fetch_add(1, Relaxed);
        metrics::gauge!("apolo_transport_connections").increment(1.0);
    }

    pub(super) fn disconnect(&self) {
        self.connections.fetch_sub(1, Relaxed);
        metrics::gauge!("apolo_transport_connections").decrement(1.0);
    }

    pub(super) fn serve(&self) {
        self.served.fetch_add(1, Relaxed);
    }

    pub(super) fn turn_away(&self, reason: &'static str) {
        self.turned_away.fetch_add(1, Relaxed);
        metrics::counter!("apolo_transport_streams_refused_total", "reason" => reason).increment(1);
    }
}
