//! Whether what keeps a node going still turns: its threads, and Raft's loop on them. A process in which they hang looks
//! alive in every other way.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::raft::Handle;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// When they turned last.
#[derive(Clone, Debug)]
pub(super) struct Ticks(Arc<watch::Sender<Instant>>);

impl Ticks {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Instant::now())))
    }

    /// For how long they have not been seen to turn.
    pub(super) fn silent(&self) -> Duration {
        self.0.borrow().elapsed()
    }

    /// Looks again and again, on the threads that it is about.
    pub(super) async fn watch(self, raft: Handle, stop: CancellationToken) {
        let looking = async {
            // Where Raft has stopped, the node ends for that.
            while raft.turns().await {
                self.0.send_replace(Instant::now());
                sleep(EVERY).await;
            }
        };
        let _ = stop.run_until_cancelled(looking).await;
    }
}
