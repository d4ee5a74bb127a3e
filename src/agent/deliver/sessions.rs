//! Where one session ends and the next begins, and what the bot is told of it.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::future::FutureExt as _;
use tokio::{sync::mpsc, time::timeout};
use tracing::{error, info, warn};

use super::{Deliverer, Fenced};
use crate::agent::{outcome::Failure, tracker::Tracker};
use crate::bot::{Context, DynBot, LostRange, Notice, Position};
use crate::gateway::LostReason;
use crate::model::{Sequence, Session, SessionNumber};

/// How long handlers of a session that Discord dropped may go on before the next session begins without them.
const OLD_SESSION_DRAIN: Duration = Duration::from_secs(30);

impl Deliverer {
    /// Lets what was delivered of the old session finish, so that its events are not forgotten unhandled.
    pub(super) async fn drain(&mut self) -> Result<(), Fenced> {
        while let Some(done) = self.running.join_next().await {
            self.finished(done)?;
        }
        Ok(())
    }

    pub(super) async fn begin_session(&mut self, session: Session) -> Result<(), Fenced> {
        self.leave_session().await?;
        let number = session.number;
        if !self.log.start_session(session).await {
            return Err(Fenced);
        }
        info!(shard = self.shared.shard.0, session = %number, "a session began");
        self.session = number;
        self.tracker = Tracker::new(Sequence::default());
        self.delivered = Sequence::default();
        self.inherited = Sequence::default();
        self.taken = Sequence::default();
        self.committed = Sequence::default();
        self.tally.begin_session();
        Ok(())
    }

    pub(super) async fn end_session(
        &mut self,
        session: SessionNumber,
        after: Sequence,
        received: Sequence,
        reason: LostReason,
    ) -> Result<(), Fenced> {
        // A rewind that was not answered any more: what it voided is lost too.
        let after = if self.voided { after.min(self.tracker.handled()) } else { after };
        self.leave_session().await?;
        warn!(shard = self.shared.shard.0, %session, %after, %received, %reason, "Discord dropped the session");
        self.outcomes.session_lost();
        self.tell(Notice::SessionLost(LostRange { session, after, received, reason })).await;
        if self.log.lose_session(session).await { Ok(()) } else { Err(Fenced) }
    }

    async fn leave_session(&mut self) -> Result<(), Fenced> {
        self.voided = false;
        // A lost session is left when its end is told, and again when the next begins.
        if self.drained {
            return Ok(());
        }
        match timeout(OLD_SESSION_DRAIN, self.drain()).await {
            Ok(drained) => drained?,
            Err(_) => warn!(shard = self.shared.shard.0, "handlers of the old session still run"),
        }
        self.generation += 1;
        self.drained = true;
        Ok(())
    }

    pub(super) async fn tell(&self, notice: Notice) {
        let position = Position { session: self.session, ..Position::default() };
        let context = Context::new(Arc::clone(&self.shared), position);
        // The receiver ends with this deliverer, or with the runtime.
        let _ = self.notices.send((context, notice)).await;
    }
}

/// Tells the bot its notices, one after the other.
pub(super) async fn tell(bot: Arc<dyn DynBot>, mut inbox: mpsc::Receiver<(Context, Notice)>) {
    while let Some((context, notice)) = inbox.recv().await {
        let shard = context.shard();
        let bot = Arc::clone(&bot);
        let told = AssertUnwindSafe(async move { bot.notice(context, notice).await });
        if let Err(panic) = told.catch_unwind().await {
            error!(shard = shard.0, failure = ?Failure::panic(panic.as_ref()).to_string(), "a notice handler failed");
        }
    }
}
