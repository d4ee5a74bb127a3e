//! Has what is due removed, where this node leads and nothing else brings the time.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::debug;

use crate::raft::Handle;
use crate::state::{Command, user::UserBatch};

/// Between two batches that bring nothing but the time: keys that end one after another end together, at most so late.
const EVERY: Duration = Duration::from_millis(50);

/// While anything has an end, the state's time is committed at least so often: a new leader goes on from what is committed,
/// so this is what a change of the leader can prolong a time to live by, and one that changes often must not stop time.
const TICK: Duration = Duration::from_secs(10);

/// A batch that brings nothing but the time.
fn time() -> Command {
    Command::User(UserBatch::default())
}

/// Until Raft stops.
pub(super) async fn run(raft: Handle) {
    let mut states = raft.states();
    let mut leadership = raft.leadership();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = states.borrow_and_update().user().next_due();
        leadership.borrow_and_update();
        // The term's clock begins here, whether anything is due or not.
        let wait = raft.logical_now().and_then(|(term, now_ms)| {
            due.map(|due| (term, Duration::from_millis(due.saturating_sub(now_ms))))
        });
        match wait {
            Some((term, Duration::ZERO)) => {
                let done = raft.propose_in(term, time()).await;
                if let Err(error) = done {
                    debug!(%error, "what is due waits");
                }
                sleep(EVERY).await;
                continue;
            }
            Some((term, left)) => {
                tokio::select! {
                    changed = states.changed() => if changed.is_err() { return },
                    changed = leadership.changed() => if changed.is_err() { return },
                    () = sleep(left) => {}
                    _ = ticks.tick() => drop(raft.propose_in(term, time()).await),
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
