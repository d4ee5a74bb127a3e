//! What a node has the leader propose.

use std::{future::pending, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use super::{Handle, Leadership, ProposeError, network::ForwardError};
use crate::model::NodeId;
use crate::state::{Command, Outcome};

/// A leader that yields answers what it was sent before. One that is dead is not waited for when another leads.
const YIELDS_WITHIN: Duration = Duration::from_millis(100);

impl Handle {
    /// Has the leader propose it; nothing if that one does not lead or can't be reached.
    pub(super) async fn forward(
        &self,
        leader: NodeId,
        command: &Command,
        deadline: Instant,
    ) -> Result<Option<Outcome>, ProposeError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(Ok(_slot)) = timeout_at(deadline, self.forwards().acquire()).await else {
            return Err(ProposeError::Overloaded);
        };
        let answer = tokio::select! {
            biased;
            answer = self.network().forward(leader, command, left) => answer,
            () = self.superseded(leader) => Err(ForwardError::Unknown),
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

    /// Waits until another leads, and for what the one before may still answer.
    pub(super) async fn superseded(&self, leader: NodeId) {
        let mut leadership = self.leadership();
        let another = leadership.wait_for(|now| match now {
            Leadership::Leading { .. } => true,
            Leadership::Following { leader: known } => known.is_some_and(|known| known != leader),
        });
        if another.await.is_err() {
            // The node stops: its callers have their own ends.
            pending::<()>().await;
        }
        sleep(YIELDS_WITHIN).await;
    }
}
