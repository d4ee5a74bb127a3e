//! What observers see of a supervisor, and its metrics.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use metrics::{Counter, counter};
use tokio::sync::watch;

use super::port::{Phase, Status};
use crate::model::{Sequence, SessionNumber, ShardStatus};

/// The last sequence that came from the socket, shared since it moves with every event.
#[derive(Clone, Debug, Default)]
pub struct Received(Arc<AtomicU64>);

impl Received {
    /// The sequence.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        Sequence(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn set(&self, sequence: Sequence) {
        self.0.store(sequence.0, Ordering::Relaxed);
    }
}

/// Publishes a shard's [`Status`]: on changes of phase and on heartbeat acknowledgements, not on events.
#[derive(Debug)]
pub(super) struct Board {
    status: watch::Sender<Status>,
    pub(super) received: Received,
    pub(super) counters: Counters,
}

impl Board {
    pub(super) fn new(session: Option<SessionNumber>) -> (Self, watch::Receiver<Status>) {
        let (status, seen) = watch::channel(Status {
            shard: ShardStatus::Spawning,
            phase: Phase::Connecting,
            session,
            latency: None,
            connects: 0,
            last_disconnect: None,
        });
        (Self { status, received: Received::default(), counters: Counters::new() }, seen)
    }

    pub(super) fn phase(&self, phase: Phase) {
        self.status.send_if_modified(|status| {
            let shard = match phase {
                Phase::Connected | Phase::Behind => ShardStatus::Ready,
                Phase::Halted(_) => ShardStatus::Dead,
                Phase::BackingOff { .. }
                | Phase::Connecting
                | Phase::WaitingForPermit
                | Phase::Identifying
                | Phase::Resuming
                | Phase::Parked { .. } => match status.shard {
                    ShardStatus::Spawning => ShardStatus::Spawning,
                    ShardStatus::Ready | ShardStatus::Disconnected | ShardStatus::Dead => {
                        ShardStatus::Disconnected
                    }
                },
            };
            let changed = (status.phase, status.shard) != (phase, shard);
            (status.phase, status.shard) = (phase, shard);
            changed
        });
    }

    pub(super) fn session(&self, session: Option<SessionNumber>) {
        self.status.send_modify(|status| status.session = session);
    }

    pub(super) fn latency(&self, latency: Option<Duration>) {
        self.status.send_modify(|status| status.latency = latency);
    }

    pub(super) fn connecting(&self) {
        self.status.send_modify(|status| {
            status.connects += 1;
            status.latency = None;
        });
        self.phase(Phase::Connecting);
    }

    pub(super) fn ended(&self, reason: &str) {
        self.status.send_modify(|status| {
            status.last_disconnect = Some(reason.to_owned());
            status.latency = None;
        });
    }
}

/// Counters that move with events; the rarer ones are looked up where they are used.
#[derive(Clone)]
pub(super) struct Counters {
    pub(super) duplicates: Counter,
    pub(super) dropped_behind: Counter,
}

impl Counters {
    fn new() -> Self {
        Self {
            duplicates: counter!("apolo_gateway_duplicates_total"),
            dropped_behind: counter!("apolo_gateway_dropped_behind_total"),
        }
    }
}

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counters").finish_non_exhaustive()
    }
}
