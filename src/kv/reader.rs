//! Reads that wait for the leader's word, many at a time.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::KvError;
use crate::raft::Handle;
use crate::state::State;

/// Reads that wait on one node. One question answers all of them, so more say that no leader answers.
pub(super) const READS_MAX: usize = 1_024;

/// How long a leader may be looked for: several elections.
const FIND_WITHIN: Duration = Duration::from_secs(5);

/// Who waits for a state.
pub(super) type Read = oneshot::Sender<Result<Arc<State>, KvError>>;

/// Until nobody can read any more.
pub(super) async fn run(raft: Handle, mut inbox: mpsc::Receiver<Read>) {
    let mut waiting = Vec::new();
    // All of them asked before the leader is.
    while inbox.recv_many(&mut waiting, READS_MAX).await > 0 {
        let caught_up = raft.catch_up(Instant::now() + FIND_WITHIN).await;
        let state = match caught_up {
            Ok(()) => Ok(Arc::clone(&raft.states().borrow())),
            Err(_) => Err(KvError::Unavailable),
        };
        for read in waiting.drain(..) {
            // The caller may have given up.
            let _ = read.send(state.clone());
        }
    }
}
