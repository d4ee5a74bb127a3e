//! What a node has the leader propose.

use std::{future::pending, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

use super::{Handle, Leadership, ProposeError, network::ForwardError};
use crate::model::NodeId;
use crate::state::{Command, Outcome};

impl Handle {
    /// Has the leader propose it; nothing if that one does not lead or can't be reached.
    pub(super) async fn forward(
        &self,
        leader: NodeId,
        command: &Command,
        deadline: Instant,
        mut leadership: watch::Receiver<Leadership>,
    ) -> Result<Option<Outcome>, ProposeError> {
        let Ok(Ok(_slot)) = timeout_at(deadline, self.places.forwards.acquire()).await else {
            return Err(ProposeError::Overloaded);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = tokio::select! {
            biased;
            answer = self.network().forward(leader, command, left) => answer,
            () = self.superseded(leader, &mut leadership) => Err(ForwardError::Unknown),
        };
        match answer {
            Ok((index, outcome)) => {
                let mut states = self.states();
                let seen = states.wait_for(|state| state.applied() >= index);
                match timeout_at(deadline, seen).await {
                    Ok(Ok(_)) => Ok(Some(outcome)),
                    _ => Err(ProposeError::Unknown { why: "it is committed, but this node lags" }),
                }
            }
            Err(ForwardError::NotLeader | ForwardError::Unreachable) => Ok(None),
            Err(ForwardError::Overloaded) => Err(ProposeError::Overloaded),
            Err(ForwardError::Unknown) => {
                Err(ProposeError::Unknown { why: "the leader did not answer" })
            }
        }
    }

    /// Waits until another than `leader` leads, which `leadership` had not seen by the time at which `leader` was named,
    /// and for what the one before may still answer: one that yields does.
    pub(super) async fn superseded(
        &self,
        leader: NodeId,
        leadership: &mut watch::Receiver<Leadership>,
    ) {
        let yields_within = Duration::from_millis(self.raft().config().election_timeout_min);
        loop {
            if leadership.changed().await.is_err() {
                // The node stops: its callers have their own ends.
                pending::<()>().await;
            }
            if is_another(&leadership.borrow_and_update(), leader) {
                sleep(yields_within).await;
                if is_another(&leadership.borrow_and_update(), leader) {
                    return;
                }
            }
        }
    }

    /// Who leads, to hear of what changes from now on.
    pub(super) fn leadership_from_now(&self) -> watch::Receiver<Leadership> {
        let mut leadership = self.leadership();
        leadership.mark_unchanged();
        leadership
    }
}

fn is_another(now: &Leadership, leader: NodeId) -> bool {
    match now {
        Leadership::Leading { .. } => true,
        Leadership::Following { leader: known } => known.is_some_and(|known| known != leader),
    }
}
