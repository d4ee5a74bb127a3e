//! A shard's sessions, made durable through Raft.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::time::sleep;
use tracing::warn;

use super::deliver::SessionLog;
use crate::model::{Epoch, Session, SessionNumber, ShardId};
use crate::raft::Handle;
use crate::state::{Command, Outcome};

/// Between attempts to commit while the cluster has no leader. Events wait meanwhile, heartbeats do not.
const RETRY: Duration = Duration::from_millis(100);

/// Commits the sessions of one shard under one epoch.
#[derive(Debug)]
pub(super) struct RaftSessionLog {
    pub(super) raft: Handle,
    pub(super) shard: ShardId,
    pub(super) epoch: Epoch,
}

impl RaftSessionLog {
    /// Proposes until it is known what became of it. `false` where the shard has moved.
    async fn commit(&self, command: Command, done: impl Fn(&Self) -> bool) -> bool {
        loop {
            match self.raft.propose(command.clone()).await {
                Ok(Outcome::Applied) => return true,
                // An attempt whose answer was lost may have been applied.
                Ok(Outcome::Stale) => return done(self),
                Ok(Outcome::Refused(_)) => return false,
                Err(error) if error.is_retryable() => {
                    warn!(shard = %self.shard, %error, "a session waits for its commit");
                    sleep(RETRY).await;
                }
                Err(_) => return false,
            }
        }
    }

    fn current(&self) -> Option<SessionNumber> {
        let states = self.raft.states();
        let state = states.borrow();
        let shard = state.shards().get(&self.shard)?;
        let owned = shard.epoch() == Some(self.epoch);
        owned.then(|| shard.session().map_or(SessionNumber(0), |session| session.number))
    }
}

impl SessionLog for RaftSessionLog {
    fn start_session(&self, session: Session) -> BoxFuture<'_, bool> {
        let number = session.number;
        let command = Command::StartSession { shard: self.shard, epoch: self.epoch, session };
        self.commit(command, move |log| log.current() == Some(number)).boxed()
    }

    fn lose_session(&self, session: SessionNumber) -> BoxFuture<'_, bool> {
        let command = Command::LoseSession { shard: self.shard, epoch: self.epoch, session };
        self.commit(command, move |log| log.current().is_some_and(|number| number != session))
            .boxed()
    }
}
