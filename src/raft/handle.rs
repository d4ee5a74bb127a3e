//! What a running Raft says of itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use openraft::{Instant as _, Raft, async_runtime::watch::WatchReceiver as _};
use tokio::{sync::watch, time::Instant};

use crate::{
    model::{Format, NodeId},
    state::State,
    store::Pulse,
};

use super::{
    error::ProposeError,
    leadership::{Leadership, RaftFailure},
    logical::Logical,
    machine::Machine,
    members::Members,
    network::Network,
    propose::Places,
    types::Types,
};

/// A running Raft. Clones are handles of the same.
#[derive(Clone)]
pub struct Handle {
    pub(super) node: NodeId,
    pub(super) raft: Raft<Types, Machine>,
    pub(super) network: Network,
    pub(super) places: Places,
    pub(super) logical: Arc<Logical>,
    pub(super) states: watch::Receiver<Arc<State>>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) members: watch::Receiver<Members>,
    pub(super) failure: watch::Receiver<Option<RaftFailure>>,
    pub(super) pulse: Pulse,
    /// Nodes that a recovery has forgotten, whether that is applied yet or not.
    pub(super) forgotten: Arc<BTreeSet<NodeId>>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Handle {
    /// The newest format that this node lets the cluster write, and that each peer does which is connected.
    #[must_use]
    pub fn allowed_formats(&self) -> BTreeMap<NodeId, Format> {
        self.network.allowed_formats()
    }

    /// The newest format that a peer reads which is connected.
    pub(super) fn reads(&self, node: NodeId) -> Option<Format> {
        self.network.reads(node)
    }

    /// When this node's last round that a quorum acknowledged was sent, if it leads; and whether it is the only voter.
    #[must_use]
    pub fn quorum(&self) -> Acknowledged {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let alone = metrics.membership_config.membership().voter_ids().eq([self.node]);
        let now = Instant::now();
        // Never later than it was: the clock is read once more after `now`.
        let at = metrics.last_quorum_acked.map(|acked| now - acked.into_inner().elapsed());
        Acknowledged { term: metrics.current_term, alone, at }
    }

    /// Who belongs to the cluster, and who votes.
    #[must_use]
    pub fn members(&self) -> watch::Receiver<Members> {
        self.members.clone()
    }

    /// The index of a membership without this node, where a peer has told of one.
    #[must_use]
    pub fn removed(&self) -> watch::Receiver<Option<u64>> {
        self.network.removed()
    }

    /// Whether `node` was removed for good, and must not be listened to.
    pub(super) fn is_gone(&self, node: NodeId) -> bool {
        self.forgotten.contains(&node) || self.states.borrow().is_gone(node)
    }

    /// Waits until this node is known to have been removed. A peer that knows less than this node may not have heard of
    /// it yet, and counts for nothing.
    pub async fn is_removed(&self) {
        let mut removed = self.removed();
        let members = self.members();
        let gone = removed.wait_for(|at| {
            let members = members.borrow();
            at.is_some_and(|at| Some(at) > members.index() || !members.contains(self.node))
        });
        if gone.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) const fn network(&self) -> &Network {
        &self.network
    }

    pub(super) const fn raft(&self) -> &Raft<Types, Machine> {
        &self.raft
    }

    /// The state, after every batch of entries that was applied.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<Arc<State>> {
        self.states.clone()
    }

    /// Who leads.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Whether this node leads, and has applied an entry of its own term.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        matches!(*self.leadership.borrow(), Leadership::Leading { .. })
    }

    /// This member.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.node
    }

    /// Why Raft does not run any more, where it doesn't.
    #[must_use]
    pub fn failure(&self) -> Option<RaftFailure> {
        self.failure.borrow().clone()
    }

    /// How long the disk has taken over the write that is under way, where one is.
    #[must_use]
    pub fn write_under_way(&self) -> Option<Duration> {
        self.pulse.under_way()
    }

    /// True once Raft's loop has come round to answer; false where it has ended.
    pub async fn turns(&self) -> bool {
        self.raft.with_raft_state(|_| ()).await.is_ok()
    }

    /// Waits until Raft has failed or was shut down. The process must end then: nothing is durable any more.
    pub async fn fatal(&self) -> RaftFailure {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_else(|| RaftFailure::Core("unknown".to_owned())),
            Err(_) => RaftFailure::Core("its observer has ended".to_owned()),
        }
    }

    /// Writes a snapshot soon, whatever the policy says.
    ///
    /// # Errors
    ///
    /// [`ProposeError::Stopped`].
    pub async fn snapshot(&self) -> Result<(), ProposeError> {
        let triggered = self.raft.trigger().snapshot().await;
        triggered.map_err(|fatal| ProposeError::Stopped(fatal.to_string()))
    }

    /// Stops Raft. What was acknowledged is durable already.
    pub async fn shutdown(&self) {
        // It reports only that the core had panicked, and `fatal` has told that.
        let _joined = self.raft.shutdown().await;
    }
}

/// A leader's last round.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    /// In which term.
    pub term: u64,
    /// Whether this node is the only voter.
    pub alone: bool,
    /// When the last round that a quorum acknowledged was sent.
    pub at: Option<Instant>,
}
