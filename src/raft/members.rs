//! Who belongs to the cluster, and the changes of that. One change at a time: whoever asks for one awaits it.

use std::{collections::BTreeSet, time::Duration};

use openraft::{
    ChangeMembers, EmptyNode, RaftMetrics,
    errors::{ClientWriteError, RaftError},
    raft::Precondition,
};
use thiserror::Error;
use tokio::time::timeout;

use crate::model::NodeId;

use super::{
    handle::Handle,
    types::{LogId, Types},
};

/// How long a change may take: two entries, and the elections that may come between.
const CHANGE_WITHIN: Duration = Duration::from_secs(5);

/// Who belongs to the cluster.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Members {
    /// Who votes; in a change from one set to another, the members of both.
    pub voters: BTreeSet<NodeId>,
    /// Who is sent the log and does not vote.
    pub learners: BTreeSet<NodeId>,
    /// While the voters change: those who voted before, and those who vote once that is done.
    pub changing: Option<[BTreeSet<NodeId>; 2]>,
    at: Option<LogId>,
}

/// Why the members were not changed.
#[derive(Clone, Debug, Error)]
pub enum ChangeError {
    /// This node does not lead, or somebody else has changed them meanwhile.
    #[error("the members were not changed: {0}")]
    Refused(String),
    /// It may come to pass.
    #[error("the change of the members takes too long")]
    Unknown,
}

impl Members {
    pub(super) fn of(metrics: &RaftMetrics<Types>) -> Self {
        let stored = &metrics.membership_config;
        let membership = stored.membership();
        let configs = membership.get_joint_config();
        Self {
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
            changing: match &configs[..] {
                [before, .., after] => Some([before.clone(), after.clone()]),
                _ => None,
            },
            at: *stored.log_id(),
        }
    }

    #[cfg(test)]
    pub(crate) fn of_ids(
        voters: impl IntoIterator<Item = u64>,
        learners: impl IntoIterator<Item = u64>,
    ) -> Self {
        let voters = voters.into_iter().map(NodeId).collect();
        Self { voters, learners: learners.into_iter().map(NodeId).collect(), ..Self::default() }
    }

    /// Everybody.
    pub fn all(&self) -> impl Iterator<Item = NodeId> {
        self.voters.iter().chain(&self.learners).copied()
    }

    /// Whether `node` belongs to it.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.learners.contains(&node)
    }

    /// The log index of the entry that made it so.
    #[must_use]
    pub fn index(&self) -> Option<u64> {
        self.at.map(|at| at.index)
    }
}

impl Handle {
    /// Asks one of `peers`, and whom that one names, to make this node a member. True once one of them has.
    pub async fn ask_admission(&self, peers: impl IntoIterator<Item = NodeId>) -> bool {
        for peer in peers {
            match self.network().ask_admission(self.id(), peer).await {
                Ok(()) => return true,
                Err(Some(leader)) if leader != peer => {
                    if self.network().ask_admission(self.id(), leader).await.is_ok() {
                        return true;
                    }
                }
                Err(_) => {}
            }
        }
        false
    }

    /// Adds a member that is sent the log and does not vote.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn add_learner(&self, node: NodeId) -> Result<(), ChangeError> {
        settled(
            timeout(CHANGE_WITHIN, self.raft().add_learner(node, EmptyNode::default(), false))
                .await,
        )
    }

    /// Makes exactly these members voters, if the members are still as `seen`. Who is none any more stays a learner, or
    /// is removed where `retain` is false.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn set_voters(
        &self,
        seen: &Members,
        voters: BTreeSet<NodeId>,
        retain: bool,
    ) -> Result<(), ChangeError> {
        let change = self.raft().change_membership_if(voters, retain, unchanged(seen));
        settled(timeout(CHANGE_WITHIN, change).await)
    }

    /// Removes a learner.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn remove_learner(&self, seen: &Members, node: NodeId) -> Result<(), ChangeError> {
        let gone = ChangeMembers::RemoveNodes(BTreeSet::from([node]));
        let change = self.raft().change_membership_if(gone, false, unchanged(seen));
        settled(timeout(CHANGE_WITHIN, change).await)
    }

    /// Asks `to` to take the leadership over at once. From here on this leader proposes nothing more in its term; if the
    /// request is lost it has to be asked again.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Refused`].
    pub async fn transfer_leadership(&self, to: NodeId) -> Result<(), ChangeError> {
        let asked = self.raft().trigger().transfer_leader(to).await;
        asked.map_err(|fatal| ChangeError::Refused(fatal.to_string()))
    }

    /// How far each member's log agrees with this leader's; nothing where this node does not lead.
    #[must_use]
    pub fn matched(&self) -> Option<std::collections::BTreeMap<NodeId, u64>> {
        use openraft::async_runtime::watch::WatchReceiver as _;
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let replication = metrics.replication.as_ref()?;
        let index = |id: &Option<LogId>| id.as_ref().map_or(0, |id| id.index);
        Some(replication.iter().map(|(node, matched)| (*node, index(matched))).collect())
    }
}

fn unchanged(seen: &Members) -> [Precondition<Types>; 1] {
    [Precondition::LastMembershipLogId { last_membership_log_id: seen.at }]
}

type Changed<T> =
    Result<Result<T, RaftError<Types, ClientWriteError<Types>>>, tokio::time::error::Elapsed>;

fn settled<T>(changed: Changed<T>) -> Result<(), ChangeError> {
    match changed {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(ChangeError::Refused(error.to_string())),
        Err(_) => Err(ChangeError::Unknown),
    }
}
