//! The one door in: commands, which the leader writes into the log.

use std::{sync::Arc, time::Duration};

use openraft::{
    errors::{ClientWriteError, RaftError},
    impls::ProgressResponder,
    vote::leader_id_std::CommittedLeaderId,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

use super::{
    error::{COMMAND_BYTES_MAX, IN_FLIGHT_MAX, ProposeError},
    handle::Handle,
    leadership::Leadership,
    types::{Proposal, Types},
};
use crate::model::{LogIndex, UnixMillis};
use crate::state::{Command, Outcome, encode_command};

/// How long a proposal may take: several elections.
pub(super) const PROPOSE_WITHIN: Duration = Duration::from_secs(5);

/// Between two attempts to find the leader for a command.
pub(super) const FIND_LEADER_EVERY: Duration = Duration::from_millis(20);

/// Commands on their way to the leader at once: a quarter of the streams that Raft's own requests share with them.
const FORWARDS_MAX: usize = 8;

/// Batches of what the bot keeps that are proposed at once, of all nodes: what else is proposed waits behind less than a
/// megabyte of them. A batch that finds no place is proposed again.
const USERS_MAX: usize = 8;

/// Places for what may be on its way at once. Whoever finds none is told so.
#[derive(Clone)]
pub(super) struct Places {
    in_flight: Arc<Semaphore>,
    pub(super) forwards: Arc<Semaphore>,
    users: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        let places = |max| Arc::new(Semaphore::new(max));
        Self {
            in_flight: places(IN_FLIGHT_MAX),
            forwards: places(FORWARDS_MAX),
            users: places(USERS_MAX),
        }
    }
}

impl Handle {
    /// Proposes a command, here or through the leader, and returns what applying it did. By then it is durable, and
    /// part of [`states`](Self::states). Dropping the future does not take the command back.
    ///
    /// # Errors
    ///
    /// [`ProposeError`].
    pub async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        let began = Instant::now();
        let proposed = self.propose_somewhere(command).await;
        metrics::histogram!("apolo_raft_propose_seconds").record(began.elapsed());
        if proposed.is_err() {
            metrics::counter!("apolo_raft_propose_failures_total").increment(1);
        }
        proposed
    }

    async fn propose_somewhere(&self, command: Command) -> Result<Outcome, ProposeError> {
        let deadline = Instant::now() + PROPOSE_WITHIN;
        loop {
            let leadership = self.leadership_from_now();
            let refused = match self.propose_here(command.clone(), None).await {
                Ok((_, outcome)) => return Ok(outcome),
                Err(ProposeError::NotLeader { leader }) => leader,
                Err(error) => return Err(error),
            };
            if !self.network.has_peers() {
                return Err(ProposeError::NotLeader { leader: refused });
            }
            if let Some(leader) = refused
                && let Some(outcome) = self.forward(leader, &command, deadline, leadership).await?
            {
                return Ok(outcome);
            }
            if Instant::now() >= deadline {
                return Err(ProposeError::NotLeader { leader: None });
            }
            sleep(FIND_LEADER_EVERY).await;
        }
    }

    /// Proposes a command only if this node leads `term`: what it was decided on was seen in that term.
    ///
    /// # Errors
    ///
    /// [`ProposeError`].
    pub async fn propose_in(&self, term: u64, command: Command) -> Result<Outcome, ProposeError> {
        self.propose_here(command, Some(term)).await.map(|(_, outcome)| outcome)
    }

    /// Proposes a command if this node leads.
    pub(super) async fn propose_here(
        &self,
        command: Command,
        term: Option<u64>,
    ) -> Result<(LogIndex, Outcome), ProposeError> {
        let (command, term) = self.timed(command, term)?;
        let user = command.is_user().then(|| self.places.users.try_acquire());
        let _place = user.transpose().map_err(|_| ProposeError::Overloaded)?;
        let bytes = encode_command(&command).len();
        if bytes > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLong { bytes });
        }
        let _slot = self.places.in_flight.try_acquire().map_err(|_| ProposeError::Overloaded)?;
        let written = async {
            match term {
                None => match self.raft.client_write(Proposal(command)).await {
                    Ok(response) => Ok((LogIndex(response.log_id.index), response.data)),
                    Err(RaftError::APIError(error)) => Err(refused(&error)),
                    Err(RaftError::Fatal(fatal)) => Err(ProposeError::Stopped(fatal.to_string())),
                },
                Some(term) => self.write_in(term, command).await,
            }
        };
        match timeout(PROPOSE_WITHIN, written).await {
            Ok(done) => done,
            Err(_elapsed) => Err(ProposeError::Unknown { why: "it took too long" }),
        }
    }

    /// The command with the leader's time, where it carries one. What a follower or its clock says of it counts for
    /// nothing. Logical time is one term's, and so is what carries it.
    fn timed(
        &self,
        command: Command,
        term: Option<u64>,
    ) -> Result<(Command, Option<u64>), ProposeError> {
        if !command.is_user() {
            return Ok((command.dated(UnixMillis::now()), term));
        }
        let leader = match *self.leadership.borrow() {
            Leadership::Leading { .. } => None,
            Leadership::Following { leader } => leader,
        };
        match self.logical_now() {
            Some((leads, now_ms)) if term.is_none_or(|term| term == leads) => {
                Ok((command.timed(now_ms), Some(leads)))
            }
            _ => Err(ProposeError::NotLeader { leader }),
        }
    }

    /// If this node leads: its term, and the state's logical time in milliseconds as the next batch will carry it.
    #[must_use]
    pub fn logical_now(&self) -> Option<(u64, u64)> {
        let Leadership::Leading { term } = *self.leadership.borrow() else { return None };
        let known = || self.states.borrow().user().now_ms();
        Some((term, self.logical.now_ms(term, Instant::now(), known)))
    }

    async fn write_in(
        &self,
        term: u64,
        command: Command,
    ) -> Result<(LogIndex, Outcome), ProposeError> {
        let (responder, applied) = ProgressResponder::complete_only();
        let leader = CommittedLeaderId::new(term);
        let write = self.raft.write(Proposal(command)).responder(responder).with_leader(leader);
        write.await.map_err(|fatal| ProposeError::Stopped(fatal.to_string()))?;
        match applied.await {
            Ok(Ok(response)) => Ok((LogIndex(response.log_id.index), response.data)),
            Ok(Err(error)) => Err(refused(&error)),
            Err(_) => Err(ProposeError::Unknown { why: "raft has dropped it" }),
        }
    }
}

fn refused(error: &ClientWriteError<Types>) -> ProposeError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => {
            ProposeError::NotLeader { leader: forward.leader_id }
        }
        ClientWriteError::LogEntryDiscarded(_) => {
            ProposeError::Unknown { why: "another leader took over" }
        }
        ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_) => {
            ProposeError::Unknown { why: "raft took it for a change of membership" }
        }
    }
}
