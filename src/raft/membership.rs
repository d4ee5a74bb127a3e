//! A member asks whoever leads whether it still is one. A learner never campaigns, and a node that was removed while it
//! was away still believes in the leader that it had: without the question both would wait for ever. One of the other
//! voters is asked too, each in its turn: a leader that was forgotten by a recovery can't tell its followers of it.

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
    for round in 0.. {
        let answered = ask(handle, round).await;
        sleep(if answered { ASK_EVERY } else { RETRY }).await;
    }
}

/// True where there is nothing to ask, or somebody has answered. Where the leader does not, everybody is asked.
async fn ask(handle: &Handle, round: usize) -> bool {
    let me = handle.id();
    let members = handle.members().borrow().clone();
    let leader = match *handle.leadership().borrow() {
        Leadership::Leading { .. } => return true,
        Leadership::Following { leader } => leader,
    };
    if !members.contains(me) {
        return false;
    }
    let network = handle.network();
    if let Some(leader) = leader {
        let voters: Vec<_> =
            members.voters.iter().copied().filter(|it| *it != me && *it != leader).collect();
        let voter = round.checked_rem(voters.len()).map(|turn| voters[turn]);
        let (led, voted) = tokio::join!(network.ask_membership(me, leader), async {
            match voter {
                Some(voter) => network.ask_membership(me, voter).await,
                None => false,
            }
        });
        if led || voted {
            return true;
        }
    }
    let mut answered = false;
    for other in members.all().filter(|other| *other != me && Some(*other) != leader) {
        answered |= network.ask_membership(me, other).await;
    }
    answered
}
