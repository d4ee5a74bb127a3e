//! How a node ends: its shards go to others, or their sessions are kept; whether it stays a member; what stops after what.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    Node, NodeError, handoff,
    leave::{self, Stays},
    member::Member,
};
use crate::kubernetes::Pod;

/// How long the orderly end of the agent may take, beyond which its tasks are dropped.
const STOP_WITHIN: Duration = Duration::from_millis(9_500);

/// What is left of the time to stop for handlers of other shards' messages, and as much for senders that lost their
/// connection to ask for an answer again.
const MESSAGES_WITHIN: Duration = Duration::from_millis(250);

impl Node {
    /// Ends a node whose data directory is an old copy.
    pub(super) async fn set_aside(self, reason: String) -> NodeError {
        for task in [self.control, self.upkeep, self.permits] {
            task.abort();
        }
        self.discord.abort();
        self.http.stop().await;
        self.member.set_aside(reason).await
    }

    /// True once this node is no member any more.
    pub(super) async fn leave(&self, stop: &CancellationToken) -> bool {
        let raft = &self.member.raft;
        let left = tokio::select! {
            left = leave::leave(raft, &self.wishes, self.member.me) => left,
            () = stop.cancelled() => {
                leave::stay(raft, self.member.me).await;
                Err("the node was asked to stop meanwhile".to_owned())
            }
            failure = raft.fatal() => Err(failure.to_string()),
        };
        match left {
            Ok(()) => true,
            Err(reason) => {
                error!(%reason, "the node did not leave the cluster");
                false
            }
        }
    }

    /// Stops; and leaves the cluster where this node's pod is scaled away, which is asked while its shards are handed
    /// off.
    pub(super) async fn stop_or_leave(self) -> Result<(), NodeError> {
        self.draining.cancel();
        let Member { raft, me, boot, .. } = &self.member;
        let ((), scaled_away) =
            tokio::join!(handoff::hand_off(raft, *me, *boot), is_scaled_away(self.pod.as_ref()),);
        let left = scaled_away && self.scale_in().await;
        let noted = if left { self.member.confirm_farewell() } else { Ok(()) };
        self.end().await;
        noted?;
        if left {
            info!("left the cluster; scaled up again, the pod joins it as a new node");
        } else {
            info!("stopped");
        }
        Ok(())
    }

    /// True once this node, which has stopped and whose pod is not made again, is no member any more.
    async fn scale_in(&self) -> bool {
        info!("this pod is scaled away");
        if !leave::may_go(&self.member.raft, self.member.me) {
            warn!("no other node takes this one's shards, so it stays a member");
            return false;
        }
        if let Err(error) = self.member.intend_farewell() {
            warn!(%error, "the node can't note that it leaves, so it stays a member");
            return false;
        }
        match leave::let_go(&self.member.raft, &self.wishes, self.member.me).await {
            Ok(()) => true,
            Err(Stays { reason, in_doubt }) => {
                if !in_doubt {
                    self.member.withdraw_farewell();
                }
                warn!(%reason, "the node did not leave; `apolo status` on another one says whether it is a member still, and `apolo remove` takes it out");
                false
            }
        }
    }

    /// Ends a node that is no member any more.
    pub(super) async fn depart(self) -> Result<(), NodeError> {
        let noted = self.member.say_farewell();
        self.end().await;
        info!("left the cluster; empty the data directory to let the node join again as a new one");
        noted
    }

    /// Stops in good order: shards are handed off to other nodes where there are any; otherwise handlers finish (8 s at
    /// most), the last checkpoint is committed, and the connections are closed with 4000, so that Discord keeps the
    /// sessions. The leadership goes last.
    pub async fn shutdown(self) {
        self.draining.cancel();
        handoff::hand_off(&self.member.raft, self.member.me, self.member.boot).await;
        self.end().await;
        info!("stopped");
    }

    async fn end(self) {
        self.draining.cancel();
        self.stop.agent.cancel();
        if timeout(STOP_WITHIN, self.agent).await.is_err() {
            warn!("the shards did not stop in time");
            self.member.right.end();
        }
        if timeout(MESSAGES_WITHIN, self.ipc.close()).await.is_err() {
            warn!("handlers of other shards' messages still run, and end with the process");
        }
        let goodbyes = async {
            if let Some(port) = self.bot_port {
                port.server.stop().await;
            }
        };
        let _ = tokio::join!(
            timeout(MESSAGES_WITHIN, self.ipc.answered()),
            timeout(MESSAGES_WITHIN, goodbyes),
        );
        self.stop.rest.cancel();
        let _ = tokio::join!(self.control, self.discord, self.upkeep, self.permits);
        self.member.hand_leadership_over().await;
        self.http.stop().await;
        self.member.leave().await;
    }
}

/// Whether Kubernetes says that the pod is not made again. What it does not say is no reason to leave.
async fn is_scaled_away(pod: Option<&Pod>) -> bool {
    let Some(pod) = pod else { return false };
    pod.is_scaled_away().await.unwrap_or_else(|problem| {
        warn!(%problem, "not known whether this pod is scaled away; its node stays a member");
        false
    })
}
