//! A node's place in its cluster: an open store, a way to the others, and Raft upon both.

use std::{collections::BTreeSet, io, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{NodeError, commit, entry::Entry, leave::FORGOTTEN_WITHIN, ticks::Ticks};
use crate::cluster::Waiting;
use crate::config::Config;
use crate::lease::Right;
use crate::model::{BootEpoch, ClusterId, NodeId, UnixMillis};
use crate::raft::{Handle, Leadership};
use crate::state::{Command, Outcome};
use crate::store::{self, Promise, WriteError};
use crate::transport::{Credentials, Transport};

/// How long Raft's tasks may take to let go of the store after Raft has stopped.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);

/// Between two attempts to be admitted, or to commit this node's start.
pub(super) const RETRY: Duration = Duration::from_millis(100);

/// A node that is no member yet asks to be one this long after it began to listen, and after each attempt: the first
/// members of a cluster hear from its founder sooner.
const ADMISSION_AFTER: Duration = Duration::from_millis(300);

/// A member of a cluster.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) me: NodeId,
    pub(super) cluster: ClusterId,
    pub(super) data_dir: PathBuf,
    pub(super) boot: BootEpoch,
    pub(super) raft: Handle,
    pub(super) ticks: Ticks,
    pub(super) right: Right,
    pub(super) transport: Transport,
    pub(super) credentials: Arc<Credentials>,
    /// Ends when nobody has the store any more and its directory is free.
    pub(super) store: watch::Receiver<Option<WriteError>>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: Vec<JoinHandle<()>>,
    /// A leader's word that the data directory is an old copy.
    pub(super) told: watch::Receiver<Option<String>>,
}

impl Member {
    pub(super) async fn take_place(
        &self,
        entry: &Entry,
        forms: bool,
        promise: Option<Promise>,
        named: BTreeSet<NodeId>,
    ) -> Result<(), NodeError> {
        let (raft, cluster) = (&self.raft, self.cluster);
        if forms && !raft.is_formed().await? {
            let voters = promise.into_iter().flat_map(|promise| promise.members.into_keys());
            raft.form(voters.chain([self.me])).await?;
        }
        let mut members = raft.members();
        let is_member = members.wait_for(|members| members.contains(self.me));
        let others = named.iter().copied().filter(|node| *node != self.me);
        tokio::select! {
            // Whoever has promised is a member as soon as the founder has formed the cluster.
            known = is_member => drop(known),
            () = self.ask_admission(others.collect()) => unreachable!("it asks until it is dropped"),
        }
        tokio::select! {
            started = self.commit_start(&entry.config, cluster) => started?,
            () = say_no_quorum(&entry.waiting) => unreachable!("it goes on"),
        }
        // It is a member, whatever it had in mind when it was killed.
        self.withdraw_farewell();
        let (node, boot) = (self.me, self.boot);
        info!(%cluster, %node, %boot, data_dir = %entry.config.data_dir.display(), "the node is a member");
        Ok(())
    }

    /// Asks to be made a member, again and again.
    async fn ask_admission(&self, others: Vec<NodeId>) {
        loop {
            sleep(ADMISSION_AFTER).await;
            self.raft.ask_admission(others.iter().copied()).await;
        }
    }

    /// Until there is a leader that takes it.
    async fn commit_start(&self, config: &Config, cluster: ClusterId) -> Result<(), NodeError> {
        let (node, boot, name) = (self.me, self.boot, config.name.clone());
        loop {
            let formed = commit(&self.raft, Command::Form { cluster }).await;
            let started = match formed {
                Ok(()) => {
                    let start = Command::StartNode { node, name: name.clone(), boot };
                    self.raft.propose(start).await
                }
                Err(NodeError::Propose(error)) => Err(error),
                Err(error) => return Err(error),
            };
            match started {
                Ok(Outcome::Refused(refusal)) => return Err(NodeError::Refused(refusal)),
                Ok(_) => return Ok(()),
                Err(error) if error.is_retryable() => sleep(RETRY).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for what ends a member, whatever else it does.
    pub(super) async fn ended(&self) -> NodeError {
        tokio::select! {
            failure = self.raft.fatal() => NodeError::Failed(failure),
            () = self.raft.is_removed() => NodeError::Removed,
            reason = self.old_copy() => NodeError::OldCopy(reason),
        }
    }

    /// Waits for a leader's word that the data directory is an old copy.
    async fn old_copy(&self) -> String {
        let mut told = self.told.clone();
        if told.wait_for(Option::is_some).await.is_err() {
            // The transport is gone, and nobody will ever say it.
            return std::future::pending().await;
        }
        told.borrow().clone().unwrap_or_default()
    }

    /// Puts the data directory aside, and says so.
    pub(super) async fn set_aside(self, reason: String) -> NodeError {
        let (cluster, node, directory) = (self.cluster, self.me, self.data_dir.clone());
        self.leave().await;
        match store::set_aside(&directory, cluster, node, reason.clone()) {
            Ok(moved) => {
                warn!(moved = %moved.display(), "the data directory was put aside");
                NodeError::OldCopy(reason)
            }
            Err(error) => NodeError::SetAside(error),
        }
    }

    /// Stops Raft and gives the data directory free.
    pub(super) async fn leave(self) {
        let Self { raft, mut store, transport, stop, tasks, .. } = self;
        raft.shutdown().await;
        stop.cancel();
        transport.stop().await;
        for task in tasks {
            let _ = task.await;
        }
        drop((raft, transport));
        let released = async { while store.changed().await.is_ok() {} };
        if timeout(RELEASE_WITHIN, released).await.is_err() {
            warn!("the data directory stays locked until the process ends");
        }
    }

    /// Notes that this node has left its cluster, so that its directory is not used again.
    pub(super) fn say_farewell(&self) -> Result<(), NodeError> {
        store::say_farewell(&self.data_dir, &self.farewell(false)).map_err(NodeError::Farewell)
    }

    /// Notes that this node is about to leave its cluster, in case it is killed before it hears whether it has.
    pub(super) fn intend_farewell(&self) -> io::Result<()> {
        store::intend_farewell(&self.data_dir, &self.farewell(true))
    }

    /// This node is no member any more, as it wanted.
    pub(super) fn confirm_farewell(&self) -> Result<(), NodeError> {
        store::confirm_farewell(&self.data_dir).map_err(NodeError::Farewell)
    }

    /// This node stays a member.
    pub(super) fn withdraw_farewell(&self) {
        if let Err(error) = store::withdraw_farewell(&self.data_dir) {
            warn!(%error, "the data directory keeps a farewell that was never said");
        }
    }

    /// Whether this node, which was removed, wanted that when its process ended. The state may know it still.
    pub(super) async fn has_left(&self) -> bool {
        let meant = store::meant_to_leave(&self.data_dir, self.cluster, self.me);
        let meant = meant.unwrap_or_else(|error| {
            warn!(%error, "not known whether this node had left");
            false
        });
        if meant {
            let forget = self.raft.propose(Command::RemoveNode { node: self.me });
            let _ = timeout(FORGOTTEN_WITHIN, forget).await;
        }
        meant
    }

    fn farewell(&self, returns: bool) -> store::Farewell {
        let (cluster, node, at) = (Some(self.cluster), Some(self.me), UnixMillis::now());
        store::Farewell { cluster, node, at, returns }
    }

    /// Hands the leadership to a voter that has all, if this node has it.
    pub(super) async fn hand_leadership_over(&self) {
        let mut leadership = self.raft.leadership();
        for _ in 0..TRANSFERS_MAX {
            if !self.raft.is_leader() || !self.raft.reaches_quorum() {
                return;
            }
            let members = self.raft.members().borrow().clone();
            let matched = self.raft.matched().unwrap_or_default();
            let others = members.voters.iter().filter(|voter| **voter != self.me);
            let Some(to) = others.max_by_key(|voter| matched.get(voter)) else { return };
            if let Err(error) = self.raft.transfer_leadership(*to).await {
                warn!(%error, "the leadership was not handed over");
                return;
            }
            let gone = leadership.wait_for(|seen| !matches!(seen, Leadership::Leading { .. }));
            let _ = timeout(TRANSFER_WITHIN, gone).await;
        }
    }
}

/// A transfer that is not taken up by then is asked for again: the request may be lost.
const TRANSFER_WITHIN: Duration = Duration::from_millis(300);

/// So often. Then the others elect somebody by themselves.
const TRANSFERS_MAX: usize = 3;

/// So long may an election take before an operator is told that there is no quorum.
const ELECTION_MAX: Duration = Duration::from_secs(5);

/// Between two looks at whether this node may run shards.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Tells, while this node waits to begin, why nothing can be committed.
async fn say_no_quorum(waiting: &watch::Sender<Option<Waiting>>) {
    sleep(ELECTION_MAX).await;
    waiting.send_replace(Some(Waiting::NoQuorum));
    warn!(reason = %Waiting::NoQuorum, "not started yet");
    std::future::pending().await
}

/// Tells in the log that this node has no right to run shards and gets none, and that it has again. openraft names the
/// last leader for as long as there is no other, so that says nothing.
pub(super) async fn watch_quorum(right: Right, stop: CancellationToken) {
    let (mut since, mut told) = (None, false);
    while timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
        if right.holds() {
            if told {
                info!("the quorum is back");
            }
            (since, told) = (None, false);
        } else if !told && since.get_or_insert_with(Instant::now).elapsed() >= ELECTION_MAX {
            warn!(reason = %Waiting::NoQuorum, "no shard runs");
            told = true;
        }
    }
}

/// Tells the directory whom to keep connected: the members, once they are known. Until then what was promised holds.
pub(super) async fn name_members(
    raft: Handle,
    named: watch::Sender<BTreeSet<NodeId>>,
    stop: CancellationToken,
) {
    let mut members = raft.members();
    loop {
        let known: BTreeSet<_> = members.borrow_and_update().all().collect();
        named.send_if_modified(|before| {
            let changed = *before != known;
            *before = known;
            changed
        });
        tokio::select! {
            () = stop.cancelled() => return,
            changed = members.changed() => if changed.is_err() { return },
        }
    }
}
