//! Proposals of one term. What was decided in it is not proposed in another.

use tracing::warn;

use crate::raft::{Handle, ProposeError};
use crate::state::{Command, Outcome};

/// Proposes while its term lasts.
#[derive(Clone, Debug)]
pub(super) struct Proposer {
    pub(super) raft: Handle,
    pub(super) term: u64,
}

impl Proposer {
    /// Proposes, and says in the log where that led to nothing.
    pub(super) async fn propose(&self, command: Command) -> Result<Outcome, ()> {
        let kind = command.kind();
        match self.raft.propose_in(self.term, command).await {
            Ok(outcome) => {
                if matches!(outcome, Outcome::Refused(_)) {
                    warn!(command = kind, ?outcome, "a proposal was turned down");
                }
                Ok(outcome)
            }
            Err(error) => {
                warn!(command = kind, %error, "a proposal failed");
                Err(())
            }
        }
    }

    /// Proposes until it is known what became of it. The command must be one that counts once however often it is
    /// applied. False where the term is over.
    pub(super) async fn insist(&self, command: Command) -> bool {
        loop {
            match self.raft.propose_in(self.term, command.clone()).await {
                Ok(_) => return true,
                Err(ProposeError::Unknown { .. } | ProposeError::Overloaded) => {}
                Err(error) => {
                    warn!(command = command.kind(), %error, "a proposal failed");
                    return false;
                }
            }
        }
    }
}
