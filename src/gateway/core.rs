//! What outlives a connection: the session, how far it has come in the queue, and the queue itself.

use super::{
    batch::Batch,
    board::Board,
    control::ResumeFrom,
    feed::Intake,
    options::ResumePoint,
    payload::PayloadLimits,
    port::{Item, LostReason},
    sequencer::Sequencer,
};
use crate::model::{Sequence, Session, SessionId, SessionNumber};

/// The state of a shard between its connections.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) feed: Batch,
    pub(super) board: Board,
    pub(super) sequencer: Sequencer,
    pub(super) limits: PayloadLimits,
    pub(super) session: Option<Session>,
    number: SessionNumber,
    /// Whether the session is to replay what was dropped while the handlers were behind.
    pub(super) catching_up: bool,
    /// Whether [`Item::Connected`] was queued and [`Item::Disconnected`] was not.
    connected: bool,
}

impl Core {
    pub(super) fn new(
        intake: Intake,
        board: Board,
        limits: PayloadLimits,
        resume: Option<ResumePoint>,
        previous: SessionNumber,
    ) -> Self {
        let after = resume.as_ref().map_or(Sequence(0), |point| point.after);
        let session = resume.map(|point| point.session);
        let number = session.as_ref().map_or(previous, |session| previous.max(session.number));
        board.received.set(after);
        Self {
            feed: Batch::new(intake),
            board,
            sequencer: Sequencer::resuming(after),
            limits,
            session,
            number,
            catching_up: false,
            connected: false,
        }
    }

    /// READY came.
    pub(super) fn start_session(&mut self, id: &str, resume_url: &str, ready: Sequence) {
        if self.session.is_some() {
            self.lose_session(LostReason::InvalidSession);
        }
        self.number = self.number.next();
        let session = Session {
            number: self.number,
            id: SessionId(id.to_owned()),
            resume_url: resume_url.to_owned(),
        };
        self.sequencer = Sequencer::started_by(ready);
        self.board.session(Some(self.number));
        self.session = Some(session.clone());
        self.feed.mark(Item::SessionStarted(session));
    }

    /// Whether the session is the one of this id.
    pub(super) fn is_session(&self, id: &str) -> bool {
        self.session.as_ref().is_some_and(|session| session.id.0 == id)
    }

    /// Discord no longer has the session.
    pub(super) fn lose_session(&mut self, reason: LostReason) {
        let Some(session) = self.session.take() else { return };
        let after = self.sequencer.last();
        self.sequencer = Sequencer::default();
        self.board.session(None);
        tracing::warn!(session = %session.number, %after, %reason, "session lost");
        let received = after.max(self.board.received.sequence());
        self.feed.mark(Item::SessionLost { session: session.number, after, received, reason });
    }

    /// Goes back in the session, unless it is another by this time.
    pub(super) fn rewind(&mut self, request: ResumeFrom) {
        let ResumeFrom { session, after, undecodable } = request;
        if self.session.as_ref().is_none_or(|current| current.number != session) {
            return;
        }
        self.catching_up |= undecodable.is_none();
        let after = self.sequencer.rewind(after, undecodable);
        metrics::counter!("apolo_gateway_rewinds_total").increment(1);
        self.feed.mark(Item::Rewound { session, after });
    }

    /// READY or RESUMED came.
    pub(super) fn connect(&mut self, resumed: bool) {
        self.connected = true;
        self.feed.mark(Item::Connected { resumed });
    }

    /// The connection ended.
    pub(super) fn disconnect(&mut self, reason: &str) {
        self.board.ended(reason);
        if std::mem::take(&mut self.connected) {
            self.feed.mark(Item::Disconnected { reason: reason.to_owned() });
        }
    }
}
