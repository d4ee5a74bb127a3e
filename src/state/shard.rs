//! One shard's part of the state: who owns it, which session it is in, how far that has been handled.

use serde::{Deserialize, Serialize};

use crate::model::{Checkpoint, Epoch, NodeId, Session, SessionNumber, ShardHealth, ShardStatus};

use super::ShardReport;

/// The committed fact that a shard belongs to a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The owner.
    pub node: NodeId,
    /// The fencing number under which it owns the shard.
    pub epoch: Epoch,
}

/// A shard as all replicas know it.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    assignment: Option<Assignment>,
    /// Who owns it next, once its owner has released it.
    handoff: Option<NodeId>,
    session: Option<Session>,
    checkpoint: Checkpoint,
    health: ShardHealth,
}

/// A command named an epoch under which nobody owns the shard any more, or a step backwards.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stale;

impl Shard {
    /// Who owns the shard.
    #[must_use]
    pub const fn assignment(&self) -> Option<Assignment> {
        self.assignment
    }

    /// The epoch under which it is owned.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.assignment.map(|assignment| assignment.epoch)
    }

    /// Whether `node` owns it.
    #[must_use]
    pub fn is_owned_by(&self, node: NodeId) -> bool {
        self.assignment.is_some_and(|held| held.node == node)
    }

    /// To whom its owner is to release it.
    #[must_use]
    pub const fn handoff(&self) -> Option<NodeId> {
        self.handoff
    }

    /// The session that can be resumed.
    #[must_use]
    pub const fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// How far the shard has come. Its session's number outlives the session, so that the next one's is higher.
    #[must_use]
    pub const fn checkpoint(&self) -> Checkpoint {
        self.checkpoint
    }

    /// What its owner reported last.
    #[must_use]
    pub const fn health(&self) -> ShardHealth {
        self.health
    }

    pub(super) fn assign(&mut self, assignment: Assignment) {
        assert!(self.epoch() < Some(assignment.epoch), "an epoch never falls");
        self.assignment = Some(assignment);
        self.handoff = None;
    }

    pub(super) const fn hand_off(&mut self, to: Option<NodeId>) {
        self.handoff = to;
    }

    /// It has no owner any more, and so not the connection that the health told of.
    pub(super) const fn lose_owner(&mut self) {
        self.assignment = None;
        self.handoff = None;
        self.health.status = ShardStatus::Disconnected;
    }

    /// The owner's process is a new one, so the connection that the health told of is gone.
    pub(super) const fn owner_started(&mut self) {
        self.health.status = ShardStatus::Spawning;
    }

    /// Takes in a report. A checkpoint that is no progress is stale; health has no order and is taken as it comes.
    pub(super) fn report(&mut self, report: &ShardReport) -> Result<(), Stale> {
        self.fence(report.epoch)?;
        if let Some(health) = report.health {
            self.health = health;
        }
        match report.checkpoint {
            Some(checkpoint) => self.advance(checkpoint),
            None => Ok(()),
        }
    }

    pub(super) fn release(&mut self, report: &ShardReport) -> Result<(), Stale> {
        self.fence(report.epoch)?;
        // The last word may repeat what was reported before: that makes the release no less valid.
        let _ = self.report(report);
        self.lose_owner();
        Ok(())
    }

    pub(super) fn start_session(&mut self, epoch: Epoch, session: Session) -> Result<(), Stale> {
        self.fence(epoch)?;
        if session.number <= self.checkpoint.session {
            return Err(Stale);
        }
        self.checkpoint = Checkpoint { session: session.number, ..Checkpoint::default() };
        self.session = Some(session);
        Ok(())
    }

    pub(super) fn lose_session(
        &mut self,
        epoch: Epoch,
        session: SessionNumber,
    ) -> Result<(), Stale> {
        self.fence(epoch)?;
        if self.session.as_ref().is_none_or(|current| current.number != session) {
            return Err(Stale);
        }
        self.session = None;
        Ok(())
    }

    /// Forgets the session, as a change of the shard total or the intents demands. The numbers go on.
    pub(super) fn drop_session(&mut self) {
        self.session = None;
    }

    fn advance(&mut self, to: Checkpoint) -> Result<(), Stale> {
        let current = self.session.as_ref().is_some_and(|session| session.number == to.session);
        if !current || to <= self.checkpoint {
            return Err(Stale);
        }
        self.checkpoint = to;
        Ok(())
    }

    fn fence(&self, epoch: Epoch) -> Result<(), Stale> {
        if self.epoch() == Some(epoch) { Ok(()) } else { Err(Stale) }
    }
}
