//! Reads that see all that was committed before they were asked for.

use openraft::{
    errors::{LinearizableReadError, RaftError},
    raft::ReadPolicy,
};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::model::{LogIndex, NodeId};

use super::{
    Handle, Leadership, ProposeError, network::READ_INDEX_WITHIN, propose::FIND_LEADER_EVERY,
};

impl Handle {
    /// Waits until this node's [`states`](Self::states) hold everything that was committed when this was called: the
    /// leader makes sure with a quorum that it leads, and this node applies as far as that one had committed. Nothing
    /// is written.
    ///
    /// # Errors
    ///
    /// [`ProposeError::NotLeader`] where no leader has answered before the deadline, or this node lags behind it.
    pub async fn catch_up(&self, deadline: Instant) -> Result<(), ProposeError> {
        loop {
            let mut leadership = self.leadership_from_now();
            let leader = match self.read_index_here().await {
                Ok(index) => return self.applied(index, deadline).await,
                Err(leader) => leader.filter(|leader| *leader != self.id()),
            };
            if let Some(leader) = leader {
                let index = tokio::select! {
                    biased;
                    index = self.network().ask_read_index(self.id(), leader) => index,
                    () = self.superseded(leader, &mut leadership) => None,
                };
                if let Some(index) = index {
                    return self.applied(index, deadline).await;
                }
            }
            if Instant::now() >= deadline {
                return Err(ProposeError::NotLeader { leader });
            }
            sleep(FIND_LEADER_EVERY).await;
        }
    }

    /// How far one must have applied, if this node leads; or who may lead.
    pub(super) async fn read_index_here(&self) -> Result<LogIndex, Option<NodeId>> {
        if let Leadership::Following { leader: Some(leader) } = *self.leadership().borrow() {
            return Err(Some(leader));
        }
        let read = self.raft().get_read_linearizer(ReadPolicy::ReadIndex);
        match timeout(READ_INDEX_WITHIN, read).await {
            Ok(Ok(linearizer)) => Ok(LogIndex(linearizer.read_log_id().index())),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to)))) => {
                Err(to.leader_id)
            }
            _ => Err(None),
        }
    }

    async fn applied(&self, index: LogIndex, deadline: Instant) -> Result<(), ProposeError> {
        let mut states = self.states();
        let seen = states.wait_for(|state| state.applied() >= index);
        match timeout_at(deadline, seen).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ProposeError::NotLeader { leader: None }),
        }
    }
}
