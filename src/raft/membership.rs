//! A member asks whoever leads whether it still is one. A learner never campaigns, and a node that was removed while it
//! was away still believes in the leader that it had: without the question both would wait for ever.

use std::time::Duration;

use tokio::time::sleep;

use super::{handle::Handle, leadership::Leadership};

/// Between two questions. The first one comes before a restarted voter votes.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Between two attempts while nobody answers.
const RETRY: Duration = Duration::from_millis(100);

/// Asks until Raft has stopped.
pub(super) async fn ask_on(handle: Handle) {
    tokio::select! {
        () = ask_again_and_again(&handle) => {}
        _ = handle.fatal() => {}
    }
}

async fn ask_again_and_again(handle: &Handle) {
    loop {
        let answered = ask(handle).await;
        sleep(if answered { ASK_EVERY } else { RETRY }).await;
    }
}

/// True where there is nothing to ask, or somebody has answered. Where the leader does not, everybody is asked.
async fn ask(handle: &Handle) -> bool {
    let me = handle.id();
    let members = handle.members().borrow().clone();
    let leader = match *handle.leadership().borrow() {
        Leadership::Leading { .. } => return true,
        Leadership::Following { leader } => leader,
    };
    if !members.contains(me) {
        return false;
    }
    if let Some(leader) = leader
        && handle.network().ask_membership(me, leader).await
    {
        return true;
    }
    let mut answered = false;
    for other in members.all().filter(|other| *other != me && Some(*other) != leader) {
        answered |= handle.network().ask_membership(me, other).await;
    }
    answered
}
