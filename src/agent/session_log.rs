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
                Ok(Outcome::Applied | Outcome::User(_) | Outcome::Restored(_)) => return true,
                // An attempt whose answer was lost may have been applied.
                Ok(Outcome::Stale) => return done(self),
                Ok(Outcome::Refused(_)) => return false,
                Err(error) if error.is_retryable() => {
                    warn!(shard = self.shard.0, %error, "a session waits for its commit");
                    sleep(RETRY).await;
                }
                Err(_) => return false,
            }
        }
    }

    /// The committed session, as long as the shard is owned under this epoch.
    fn current(&self) -> Option<Option<Session>> {
        let states = self.raft.states();
        let state = states.borrow();
        let shard = state.shards().get(&self.shard)?;
        (shard.epoch() == Some(self.epoch)).then(|| shard.session().cloned())
    }
}

impl SessionLog for RaftSessionLog {
    fn start_session(&self, session: Session) -> BoxFuture<'_, bool> {
        let begun = session.clone();
        let command = Command::StartSession { shard: self.shard, epoch: self.epoch, session };
        // Not the number alone: a shard that was fenced and started again under the same epoch may have left another
        // session of that number on its way, and the sequences of one mean nothing in the other.
        self.commit(command, move |log| log.current().flatten().as_ref() == Some(&begun)).boxed()
    }

    fn lose_session(&self, session: SessionNumber) -> BoxFuture<'_, bool> {
        let command = Command::LoseSession { shard: self.shard, epoch: self.epoch, session };
        let gone = move |current: Option<Session>| current.is_none_or(|it| it.number != session);
        self.commit(command, move |log| log.current().is_some_and(gone)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ApplicationId, BootEpoch, ClusterId, NodeId, SessionId, ShardTotal};
    use crate::placement;
    use crate::state::Facts;

    const ME: NodeId = NodeId(1);

    /// The log of the one shard of a sole voter.
    async fn log() -> RaftSessionLog {
        let raft = Handle::sole_voter_in_memory(ME).await;
        let (name, boot, total) = ("one".to_owned(), BootEpoch(1), ShardTotal::ONE);
        let facts = Facts { application: ApplicationId(1), total, intents: 0 };
        for command in [
            Command::Form { cluster: ClusterId::mint() },
            Command::StartNode { node: ME, name, boot },
            Command::FixFacts(facts),
        ] {
            assert_eq!(raft.propose(command).await, Ok(Outcome::Applied));
        }
        let moves = placement::assign(&raft.states().borrow());
        raft.propose(Command::Assign(moves)).await.unwrap();
        let epoch = raft.states().borrow().shards()[&ShardId(0)].epoch().unwrap();
        RaftSessionLog { raft, shard: ShardId(0), epoch }
    }

    fn session(id: &str) -> Session {
        let id = SessionId(id.to_owned());
        Session { number: SessionNumber(1), id, resume_url: String::new() }
    }

    #[tokio::test]
    async fn a_session_that_was_committed_twice_counts_as_committed() {
        let log = log().await;

        assert!(log.start_session(session("a")).await);
        assert!(log.start_session(session("a")).await);
    }

    #[tokio::test]
    async fn another_session_of_the_same_number_is_not_taken_for_this_one() {
        let log = log().await;
        assert!(log.start_session(session("a")).await);

        assert!(!log.start_session(session("b")).await);
    }
}
