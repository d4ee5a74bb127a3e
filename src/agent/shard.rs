//! One running shard: a connection that is polled, and a deliverer that is not.
//!
//! They are two tasks, since twilight sends heartbeats only while it is polled: whatever a handler does, the connection
//! lives on.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    deliver::{Deliverer, Fenced, Start},
    flapping::Flapping,
    progress::Progress,
    report::Seen,
    roster::Draft,
    tally::Totals,
};
use crate::bot::{GuildTotals, Shared};
use crate::gateway::{Exit, FatalClose, Feed, Phase, Received, Status, Stop, Supervisor};
use crate::lease::Fence;
use crate::model::{Epoch, ShardId, ShardStatus};

/// How long handlers may go on after a stop was asked for. With the close of the connection and the last commit it
/// stays within the 10 s that an orderly exit may take.
pub(super) const HANDLER_GRACE: Duration = Duration::from_secs(8);

/// A shard that runs, as the agent holds it.
#[derive(Debug)]
pub(super) struct RunningShard {
    pub(super) epoch: Epoch,
    pub(super) stop: CancellationToken,
    pub(super) shared: Arc<Shared>,
    pub(super) progress: Arc<Mutex<Progress>>,
    /// What it has counted that is not committed yet.
    pub(super) draft: Arc<Mutex<Draft>>,
    pub(super) status: watch::Receiver<Status>,
    /// What came from the socket.
    pub(super) received: Received,
    pub(super) flapping: Flapping,
    /// Since when it has no connection although it tries.
    pub(super) unready_since: Option<Instant>,
    pub(super) told_dead: bool,
}

/// Why a shard no longer runs.
#[derive(Debug)]
pub(super) enum End {
    /// It was told to stop, or somebody else owns it.
    Stopped,
    /// Discord closed it for good.
    Halted(FatalClose),
    /// The node lost the right to run it.
    Fenced,
}

/// Runs a shard until `stop`. Nothing is delivered after this returns. A fatal close code is told to `fatal` as soon as
/// it comes: handlers may go on for a while, and nobody is to identify meanwhile.
pub(super) async fn run(
    supervisor: Supervisor,
    feed: Feed,
    start: Start,
    stop: CancellationToken,
    fence: Fence,
    fatal: mpsc::Sender<(ShardId, FatalClose)>,
) -> End {
    let (shown, down) = (fence.clone(), fence);
    let connection = Stop::guarded(move || shown.is_down());
    let (shard, stopped) = (start.shared.shard, connection.clone());
    let gateway = tokio::spawn(async move {
        let exit = supervisor.run(stopped).await;
        if let Exit::Halted(code) = exit {
            // The agent is gone when the node stops, and then nobody identifies.
            let _ = fatal.send((shard, code)).await;
        }
        exit
    });
    let cancelled = start.shared.cancelled.clone();
    let delivering = Deliverer::new(start).run(feed, stop, HANDLER_GRACE);
    let delivered = tokio::select! {
        biased;
        () = down.fallen() => Err(Fenced),
        delivered = delivering => delivered,
    };
    cancelled.cancel();
    match delivered {
        Ok(()) => connection.drain(),
        Err(Fenced) => connection.fence(),
    }
    match (gateway.await, delivered) {
        (Ok(Exit::Halted(code)), _) => End::Halted(code),
        (_, Err(Fenced)) => End::Fenced,
        (Ok(Exit::Stopped) | Err(_), Ok(())) => End::Stopped,
    }
}

impl RunningShard {
    /// The shard as it is at `now`.
    pub(super) fn seen(&mut self, shard: ShardId, now: Instant, timeout: Duration) -> Seen {
        let progress = *self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let status = self.status.borrow().clone();
        let totals = match *self.shared.totals.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(GuildTotals { guilds, members }) => Totals { guilds, members },
            None => progress.totals,
        };
        let covered = self.draft().covered(progress.session, progress.handled);
        Seen { shard, progress, covered, status: self.judge(&status, now, timeout), totals }
    }

    pub(super) fn draft(&self) -> MutexGuard<'_, Draft> {
        self.draft.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shard's condition: one that tries for longer than `timeout` is dead. One that waits for leave to identify
    /// does not try.
    fn judge(&mut self, status: &Status, now: Instant, timeout: Duration) -> ShardStatus {
        let waits = matches!(status.phase, Phase::WaitingForPermit | Phase::Parked { .. });
        if status.shard == ShardStatus::Ready || waits {
            self.unready_since = None;
            self.told_dead = false;
            return status.shard;
        }
        let since = *self.unready_since.get_or_insert(now);
        if now.duration_since(since) >= timeout { ShardStatus::Dead } else { status.shard }
    }
}
