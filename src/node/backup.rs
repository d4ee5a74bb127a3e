//! Backups and restores of what the bot keeps.

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::kv::unread;
use crate::backup::frames;
use crate::http::{BackupStream, KvProblem};
use crate::kv::{Consistency, Kv};
use crate::model::UnixMillis;
use crate::raft::{Handle, ProposeError};
use crate::state::{
    Command, Outcome,
    user::{Restore, RestoreStep, Restored},
};

/// Backups that are made at once. Each holds a state for as long as its reader takes, and a thread.
const BACKUPS_MAX: usize = 2;

static BACKUPS: Semaphore = Semaphore::const_new(BACKUPS_MAX);

/// Pieces that wait for the reader, of less than 100 KiB each.
const AHEAD: usize = 4;

/// How long a step may be proposed again: less than whoever asks over HTTP waits.
const WITHIN: Duration = Duration::from_secs(8);

/// Between two proposals of a step.
const RETRY: Duration = Duration::from_millis(20);

/// Everything as it is at one moment, with every change that was answered before. It is encoded on a thread of its own,
/// as fast as it is read; writes go on, since the state is one that nobody changes any more.
pub(super) async fn backup(kv: &Kv) -> Result<BackupStream, KvProblem> {
    let place = BACKUPS.try_acquire().map_err(|_| {
        let why = format!("{BACKUPS_MAX} backups are being made already; try again soon");
        KvProblem::Unavailable(why)
    })?;
    let state = kv.within(WITHIN).read(Consistency::Linearizable).await.map_err(unread)?;
    let Some(cluster) = state.cluster() else {
        return Err(KvProblem::Unavailable("the cluster has not been formed yet".to_owned()));
    };
    let made_at = UnixMillis::now();
    let (pieces, reading) = mpsc::channel::<io::Result<Bytes>>(AHEAD);
    // It ends with its reader.
    drop(spawn_blocking(move || {
        let _place = place;
        for piece in frames(state.user(), cluster, made_at) {
            if pieces.blocking_send(Ok(piece)).is_err() {
                return;
            }
        }
    }));
    Ok(stream::unfold(reading, |mut reading| async {
        reading.recv().await.map(|piece| (piece, reading))
    })
    .boxed())
}

/// Has a step of a restore committed. It counts once, so it is proposed until its outcome is known.
pub(super) async fn restore(
    raft: &Handle,
    step: RestoreStep,
) -> Result<Option<Restored>, KvProblem> {
    let until = Instant::now() + WITHIN;
    let command = Command::Restore(Restore { now_ms: 0, step });
    loop {
        let error = match raft.propose(command.clone()).await {
            Ok(Outcome::Applied) => return Ok(None),
            Ok(Outcome::Restored(done)) => return Ok(Some(done)),
            Ok(Outcome::Refused(refusal)) => return Err(KvProblem::Conflict(refusal.to_string())),
            Ok(outcome) => unreachable!("{outcome:?} is no answer to it"),
            Err(error @ ProposeError::TooLong { .. }) => {
                return Err(KvProblem::Malformed(error.to_string()));
            }
            Err(error) => error,
        };
        if !error.is_retryable() || Instant::now() >= until {
            return Err(KvProblem::Unavailable(error.to_string()));
        }
        sleep(RETRY).await;
    }
}
