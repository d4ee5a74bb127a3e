//! `apolo leave`: this node gives everything away, and has the leader take it out of the cluster.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::control::{Wish, WishError, WishRefusal, Wishes};
use crate::http::Changed;
use crate::model::NodeId;
use crate::raft::Handle;
use crate::state::{Command, State};

/// How long the others may take to take the shards over: handlers go on for 8 s at most, and a drain has no cap.
const HANDED_OFF_WITHIN: Duration = Duration::from_secs(60);

/// For so long is the leader asked to let a node go that owns nothing any more: others may leave as well, one after
/// another, and the leader may change meanwhile. The last question may take 12 s more: it is not given up, as it may be
/// granted. With the 9 s of handing off and the 13 s of an end that is within the 60 s of a pod's grace.
const LET_GO_WITHIN: Duration = Duration::from_secs(15);

/// How long a node that the others know no more has the state forget it, too.
pub(super) const FORGOTTEN_WITHIN: Duration = Duration::from_secs(2);

/// Between two tries.
const RETRY: Duration = Duration::from_millis(200);

/// Whether this node may leave, as the leader sees it, and what will happen.
pub(super) async fn check(
    state: &State,
    wishes: &Wishes,
    me: NodeId,
    name: &str,
) -> Result<Changed, String> {
    if !others_take_shards(state, me) && state.owned_by(me).next().is_some() {
        return Err(format!(
            "{name} does not leave: no other node takes its shards; undrain one, or start one"
        ));
    }
    match wishes.ask(Wish::Leave { node: me, check: true }).await {
        Ok(_) => {}
        Err(WishError::Refused(refusal)) => {
            return Err(format!("{name} does not leave: {refusal}"));
        }
        Err(error) => return Err(error.to_string()),
    }
    let shards = state.owned_by(me).count();
    Ok(Changed {
        done: format!(
            "{name} leaves: it hands {shards} shards off, is removed, and its process ends"
        ),
    })
}

/// Leaves. Where that does not work the node takes its part again.
pub(super) async fn leave(raft: &Handle, wishes: &Wishes, me: NodeId) -> Result<(), String> {
    info!("leaving the cluster: shards are handed off");
    let done = give_all_away(raft, wishes, me).await;
    if done.is_err() {
        stay(raft, me).await;
    }
    done
}

/// The node takes its part again.
pub(super) async fn stay(raft: &Handle, me: NodeId) {
    if let Err(error) = raft.propose(Command::DrainNode { node: me, wanted: false }).await {
        warn!(%error, "the node stays and is drained; run `apolo undrain` for it");
    }
}

async fn give_all_away(raft: &Handle, wishes: &Wishes, me: NodeId) -> Result<(), String> {
    let drain = Command::DrainNode { node: me, wanted: true };
    raft.propose(drain).await.map_err(|error| error.to_string())?;
    let mut states = raft.states();
    let empty = states.wait_for(|state| state.owned_by(me).next().is_none());
    if timeout(HANDED_OFF_WITHIN, empty).await.is_err() {
        return Err("the other nodes did not take every shard in time".to_owned());
    }
    let_go(raft, wishes, me).await.map_err(|stays| stays.reason)
}

/// Whether there is somebody to take over what this node, which stops, owns.
pub(super) fn may_go(raft: &Handle, me: NodeId) -> bool {
    let state = raft.states().borrow().clone();
    state.owned_by(me).next().is_none() || others_take_shards(&state, me)
}

/// Why a node was not let go.
pub(super) struct Stays {
    pub(super) reason: String,
    /// It may come to pass all the same.
    pub(super) in_doubt: bool,
}

/// Has the leader take this node, which owns nothing or is about to, out of the members.
pub(super) async fn let_go(raft: &Handle, wishes: &Wishes, me: NodeId) -> Result<(), Stays> {
    let until = Instant::now() + LET_GO_WITHIN;
    let asked = async {
        let mut in_doubt = false;
        loop {
            let refused = match ask_to_go(raft, wishes, me).await {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            let for_good = matches!(
                refused,
                WishError::Refused(WishRefusal::Last | WishRefusal::NoQuorum { .. })
            );
            in_doubt |= may_come_to_pass(&refused);
            if for_good || Instant::now() >= until {
                return Err(Stays { reason: refused.to_string(), in_doubt });
            }
            sleep(RETRY).await;
        }
    };
    tokio::select! {
        asked = asked => asked,
        // The answer was lost: the others say that they do not know this node. The state may know it still.
        () = raft.is_removed() => {
            let _ = timeout(FORGOTTEN_WITHIN, ask_to_go(raft, wishes, me)).await;
            Ok(())
        }
        failure = raft.fatal() => Err(Stays { reason: failure.to_string(), in_doubt: true }),
    }
}

/// Whether a removal that was answered so may be committed all the same. Where no leader is found any more, one may have
/// begun it before it was lost.
const fn may_come_to_pass(answer: &WishError) -> bool {
    match answer {
        WishError::Refused(WishRefusal::Failed(_))
        | WishError::Unreached { .. }
        | WishError::NoLeader => true,
        WishError::Refused(_) => false,
    }
}

async fn ask_to_go(raft: &Handle, wishes: &Wishes, me: NodeId) -> Result<(), WishError> {
    if raft.is_leader() {
        wishes.ask(Wish::TransferLeader { to: None }).await?;
    }
    wishes.ask(Wish::Leave { node: me, check: false }).await.map(drop)
}

fn others_take_shards(state: &State, me: NodeId) -> bool {
    state.nodes().iter().any(|(id, node)| *id != me && node.takes_shards())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_that_says_no_takes_the_doubt_away() {
        let failed = WishRefusal::Failed("the change of the members takes too long".to_owned());
        let unreached = WishError::Unreached { leader: NodeId(1), why: "it is gone".to_owned() };
        assert!(may_come_to_pass(&WishError::Refused(failed)) && may_come_to_pass(&unreached));
        assert!(may_come_to_pass(&WishError::NoLeader));

        let no = WishError::Refused(WishRefusal::NoQuorum { living: 1, needed: 2 });
        assert!(!may_come_to_pass(&no));
    }
}
