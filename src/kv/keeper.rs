//! Has what is due removed, where this node leads and nothing else brings the time.

use std::time::Duration;

use tokio::time::sleep;
use tracing::debug;

use crate::raft::Handle;
use crate::state::{Command, user::UserBatch};

/// Between two batches that bring nothing but the time: keys that end one after another end together, at most so late.
const EVERY: Duration = Duration::from_millis(50);

/// Until Raft stops.
pub(super) async fn run(raft: Handle) {
    let mut states = raft.states();
    let mut leadership = raft.leadership();
    loop {
        let due = states.borrow_and_update().user().next_due();
        leadership.borrow_and_update();
        // The term's clock begins here, whether anything is due or not.
        let wait = raft.logical_now().and_then(|(term, now_ms)| {
            due.map(|due| (term, Duration::from_millis(due.saturating_sub(now_ms))))
        });
        match wait {
            Some((term, Duration::ZERO)) => {
                let done = raft.propose_in(term, Command::User(UserBatch::default())).await;
                if let Err(error) = done {
                    debug!(%error, "what is due waits");
                }
                sleep(EVERY).await;
                continue;
            }
            Some((_, left)) => {
                tokio::select! {
                    changed = states.changed() => if changed.is_err() { return },
                    changed = leadership.changed() => if changed.is_err() { return },
                    () = sleep(left) => {}
                }
            }
            None => {
                tokio::select! {
                    changed = states.changed() => if changed.is_err() { return },
                    changed = leadership.changed() => if changed.is_err() { return },
                }
            }
        }
    }
}
