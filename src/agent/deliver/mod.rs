//! From a shard's queue to the bot's handlers.
//!
//! A handler is polled once where it starts, and only moves to a task of its own when it has to wait. Most never do,
//! and then an event costs neither a task nor a look for its guild.

mod sessions;
#[cfg(test)]
mod tests;

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt as _};
use metrics::histogram;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::{JoinError, JoinSet},
    time::Instant,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::{
    lanes::{Lane, Lanes},
    outcome::{Failure, Outcomes},
    progress::Progress,
    roster::Draft,
    tally::Tally,
    tracker::Tracker,
};
use crate::bot::{
    Context, DynBot, Event, HandlerResult, Notice, Position, Shared, Unhandled, guild_of,
};
use crate::gateway::{Control, Dispatch, EventName, EventTypeFlags, Feed, Item, Oddity};
use crate::model::{Sequence, Session, SessionNumber};
use crate::state::State;

/// Items taken from the queue at once: enough to spread the cost of a wake-up, few enough that a finished handler is
/// looked after soon.
const BATCH: usize = 64;

/// Handlers that run at once for a shard. A shard has at most 2,500 guilds, most of them idle; more handlers than this
/// wait for the same database anyway.
const RUNNING_MAX: usize = 256;

/// Events that wait behind a running handler of their guild. When they are this many, nothing more is taken from the
/// queue, which fills, and then the connection falls behind: that is where the bound on memory lies.
const WAITING_MAX: usize = 1_024;

/// Nothing is taken whose sequence lies further than this beyond the committed checkpoint. It bounds what a crash can
/// make Discord send a second time, and tells a restarted process which events its predecessor cannot have delivered.
/// A shard of a large bot has some hundred events a second, so a handler may take seconds before others wait for it.
const AHEAD_MAX: u64 = 2_048;

/// When this much of [`AHEAD_MAX`] is used up, a report is asked for before its time: early enough for a commit on a
/// busy node to come before the rest is used up too.
const AHEAD_REPORT: u64 = AHEAD_MAX / 4;

/// Notices that wait for a bot's slow notice handler; then the events wait too.
const NOTICES_MAX: usize = 256;

/// Remembers sessions for the next process, or the next owner.
pub(crate) trait SessionLog: Send + Sync {
    /// Returns once the session is durable, or `false` where this node no longer owns the shard.
    fn start_session(&self, session: Session) -> BoxFuture<'_, bool>;
    /// Returns once it is durable that the session is gone.
    fn lose_session(&self, session: SessionNumber) -> BoxFuture<'_, bool>;
}

/// Delivers one shard's events.
pub(crate) struct Deliverer {
    bot: Arc<dyn DynBot>,
    shared: Arc<Shared>,
    log: Arc<dyn SessionLog>,
    control: Control,
    progress: Arc<Mutex<Progress>>,
    notices: mpsc::Sender<(Context, Notice)>,
    session: SessionNumber,
    /// Counts rewinds and sessions: a handler that began under another generation says nothing of this one's progress.
    generation: u64,
    tracker: Tracker,
    /// The highest sequence of the session that was handed to the bot.
    delivered: Sequence,
    /// Up to here another process may have delivered: what it had committed, and as far ahead as it may have been.
    inherited: Sequence,
    /// The last sequence that was taken from the queue.
    taken: Sequence,
    /// The checkpoint as the cluster knows it.
    committed: Sequence,
    states: watch::Receiver<Arc<State>>,
    reports: Arc<Notify>,
    /// Handlers had their time to finish, and none has begun since.
    drained: bool,
    /// What comes is void until the rewind that was asked for.
    voided: bool,
    lanes: Lanes<Pending>,
    running: JoinSet<Done>,
    tally: Tally,
    draft: Arc<Mutex<Draft>>,
    outcomes: Outcomes,
    wanted: EventTypeFlags,
}

/// An event on its way to a handler.
struct Pending {
    dispatch: Dispatch,
    position: Position,
    generation: u64,
}

/// A handler that has finished.
struct Done {
    lane: Lane,
    sequence: Sequence,
    generation: u64,
    failure: Option<Failure>,
}

/// The end of delivery before the stop was asked for.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Fenced;

/// What a deliverer starts from.
pub(crate) struct Start {
    pub(crate) bot: Arc<dyn DynBot>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: Arc<dyn SessionLog>,
    pub(crate) control: Control,
    pub(crate) progress: Arc<Mutex<Progress>>,
    /// Asks for a report before its time.
    pub(crate) reports: Arc<Notify>,
    /// The checkpoint that the shard is resumed from.
    pub(crate) session: SessionNumber,
    pub(crate) handled: Sequence,
    /// What was counted of the shard's guilds.
    pub(crate) tally: Tally,
    /// What is counted from here on.
    pub(crate) draft: Arc<Mutex<Draft>>,
}

impl Deliverer {
    /// A deliverer, and the task that tells the bot its notices.
    pub(crate) fn new(start: Start) -> Self {
        let Start { bot, shared, log, control, progress, reports, .. } = start;
        let Start { session, handled, tally, draft, .. } = start;
        let wanted = bot.events();
        let (notices, inbox) = mpsc::channel(NOTICES_MAX);
        tokio::spawn(sessions::tell(Arc::clone(&bot), inbox));
        Self {
            bot,
            log,
            control,
            progress,
            notices,
            session,
            generation: 0,
            tracker: Tracker::new(handled),
            delivered: handled,
            inherited: if session > SessionNumber::default() {
                Sequence(handled.0 + AHEAD_MAX + BATCH as u64)
            } else {
                Sequence::default()
            },
            taken: handled,
            committed: handled,
            states: shared.states.clone(),
            reports,
            drained: false,
            voided: false,
            lanes: Lanes::default(),
            running: JoinSet::new(),
            tally,
            draft,
            outcomes: Outcomes::default(),
            wanted,
            shared,
        }
    }

    /// Delivers until `stop`, then lets handlers finish for at most `grace`.
    ///
    /// # Errors
    ///
    /// [`Fenced`] where this node lost the shard, or the right to run any.
    pub(crate) async fn run(
        mut self,
        mut feed: Feed,
        stop: CancellationToken,
        grace: Duration,
    ) -> Result<(), Fenced> {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let taken = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(done) = self.running.join_next() => {
                    self.finished(done)?;
                    0
                }
                changed = self.states.changed(), if self.is_ahead() => {
                    if changed.is_err() {
                        break;
                    }
                    self.look();
                    0
                }
                taken = feed.recv_many(&mut batch, BATCH), if self.has_room() => {
                    if taken == 0 {
                        break;
                    }
                    taken
                }
            };
            for item in batch.drain(..taken) {
                match item {
                    Item::Dispatch(dispatch) => self.dispatch(dispatch)?,
                    marker => self.mark(marker).await?,
                }
            }
            self.publish();
        }
        self.lanes.clear_waiting();
        let _ = timeout(grace, self.drain()).await;
        self.publish();
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.lanes.waiting() < WAITING_MAX && self.running.len() < RUNNING_MAX && !self.is_ahead()
    }

    const fn ahead(&self) -> u64 {
        self.taken.0.saturating_sub(self.committed.0)
    }

    const fn is_ahead(&self) -> bool {
        self.ahead() >= AHEAD_MAX
    }

    /// Learns how far the cluster knows the shard to be.
    fn look(&mut self) {
        let state = self.states.borrow_and_update();
        if let Some(shard) = state.shards().get(&self.shared.shard)
            && shard.checkpoint().session == self.session
        {
            self.committed = self.committed.max(shard.checkpoint().sequence);
        }
    }

    async fn mark(&mut self, marker: Item) -> Result<(), Fenced> {
        match marker {
            Item::Dispatch(dispatch) => self.dispatch(dispatch)?,
            Item::SessionStarted(session) => self.begin_session(session).await?,
            Item::SessionLost { session, after, received, reason } => {
                self.end_session(session, after, received, reason).await?;
            }
            Item::Rewound { session, after } if session == self.session => {
                self.voided = false;
                self.generation += 1;
                self.tracker = Tracker::new(after);
                self.taken = after;
                self.lanes.clear_waiting();
            }
            Item::Rewound { .. } => {}
            Item::Connected { resumed } => {
                // Behind a replay: it has been handed to the handlers by then.
                debug!(shard = self.shared.shard.0, resumed, "connected");
                self.tell(Notice::ShardReady { resumed }).await;
            }
            Item::Disconnected { reason } => self.tell(Notice::ShardDisconnected { reason }).await,
        }
        Ok(())
    }

    fn dispatch(&mut self, dispatch: Dispatch) -> Result<(), Fenced> {
        if self.voided {
            return Ok(());
        }
        let sequence = dispatch.sequence;
        self.taken = sequence;
        self.tracker.begin(sequence);
        if Tally::counts(&dispatch.name) {
            self.count(&dispatch);
        }
        if let Some(Oddity::Gap { after }) = dispatch.oddity {
            warn!(shard = self.shared.shard.0, %after, before = %sequence, "Discord left sequences out, twice");
        }
        let redelivered = sequence <= self.delivered.max(self.inherited);
        let position = Position { session: self.session, sequence, redelivered };
        let pending = Pending { dispatch, position, generation: self.generation };
        if self.lanes.is_idle() {
            self.start(pending, None)?;
            return Ok(());
        }
        let lane = guild_of(pending.dispatch.name.as_str(), &pending.dispatch.json);
        if let Some(pending) = self.lanes.wait(lane, pending) {
            self.start(pending, Some(lane))?;
        }
        Ok(())
    }

    fn count(&mut self, dispatch: &Dispatch) {
        let Dispatch { name, json, sequence, .. } = dispatch;
        if let Some(counted) = self.tally.observe(name.as_str(), json, *sequence) {
            let mut draft = self.draft.lock().unwrap_or_else(PoisonError::into_inner);
            draft.note(self.session, *sequence, counted);
        }
    }

    /// Takes note of a finished handler, and starts what waited behind it.
    fn finished(&mut self, done: Result<Done, JoinError>) -> Result<(), Fenced> {
        let done = done.expect("handlers catch their panics and are aborted only with this task");
        self.settle(done.sequence, done.generation, done.failure);
        while let Some(pending) = self.lanes.next(done.lane) {
            if self.start(pending, Some(done.lane))? == Started::Runs {
                break;
            }
        }
        Ok(())
    }

    /// Polls an event's handler for the first time.
    fn start(&mut self, pending: Pending, lane: Option<Lane>) -> Result<Started, Fenced> {
        if self.shared.fence.is_down() {
            return Err(Fenced);
        }
        self.drained = false;
        let Pending { dispatch, position, generation } = pending;
        let Dispatch { name, json, oddity, .. } = dispatch;
        let sequence = position.sequence;
        self.outcomes.count(&name, position.redelivered);
        if !self.wants(&name) {
            self.settle(sequence, generation, None);
            return Ok(Started::Finished);
        }
        let raw = Arc::new(json);
        let Some(event) = self.decode(&name, &raw, oddity, sequence) else {
            self.void(sequence);
            return Ok(Started::Finished);
        };
        if position.session == self.session {
            self.delivered = self.delivered.max(sequence);
        }
        let context = Context::new(Arc::clone(&self.shared), position);
        let bot = Arc::clone(&self.bot);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let mut handler = bot.event(context, event);
            // Without a waker: the task that it may move to polls it again at once.
            (&mut handler).now_or_never().ok_or(handler)
        }));
        let result = match polled {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(handler)) => {
                let lane = lane.unwrap_or_else(|| guild_of(name.as_str(), &raw));
                self.lanes.start(lane);
                let handler = AssertUnwindSafe(handler).catch_unwind();
                let began = Instant::now();
                self.running.spawn(async move {
                    let failure = failure(handler.await);
                    histogram!("apolo_handler_seconds").record(began.elapsed());
                    Done { lane, sequence, generation, failure }
                });
                return Ok(Started::Runs);
            }
            Err(panic) => Err(panic),
        };
        self.settle(sequence, generation, failure(result));
        Ok(Started::Finished)
    }

    fn wants(&self, name: &EventName) -> bool {
        self.wanted.is_all()
            || name.kind().is_none_or(|kind| self.wanted.contains(EventTypeFlags::from(kind)))
    }

    /// The event, or `None` where it can't be decoded and Discord should send it once more.
    fn decode(
        &self,
        name: &EventName,
        raw: &Arc<String>,
        oddity: Option<Oddity>,
        sequence: Sequence,
    ) -> Option<Event> {
        if !self.bot.typed() {
            return Some(Event::undecoded(name.clone(), Arc::clone(raw)));
        }
        match Event::decode(name.clone(), Arc::clone(raw)) {
            Ok(event) => Some(event),
            Err((event, error)) if oddity == Some(Oddity::Undecodable) => {
                self.outcomes.undecodable(name);
                warn!(shard = self.shared.shard.0, %sequence, %name, %error, "an event is handed over raw");
                Some(event)
            }
            Err((_, error)) => {
                debug!(shard = self.shared.shard.0, %sequence, %name, %error, "resuming to an event that can't be decoded");
                None
            }
        }
    }

    /// Asks Discord for everything behind the checkpoint once more.
    fn void(&mut self, undecodable: Sequence) {
        self.voided = true;
        self.lanes.clear_waiting();
        self.control.resume_from(self.session, self.tracker.handled(), Some(undecodable));
    }

    fn settle(&mut self, sequence: Sequence, generation: u64, failure: Option<Failure>) {
        // Where its session has ended, nobody brings it again: then it is a failure like any other.
        if matches!(failure, Some(Failure::Unhandled)) && generation == self.generation {
            return;
        }
        if let Some(failure) = failure {
            self.outcomes.failed(&failure);
            // In quotes, since it may hold what a user wrote: a line's end in it must not end the log's line.
            let failure = failure.to_string();
            error!(shard = self.shared.shard.0, %sequence, ?failure, "a handler failed");
        }
        if generation == self.generation {
            self.tracker.finish(sequence);
        }
    }

    fn publish(&mut self) {
        if self.ahead() >= AHEAD_REPORT {
            self.look();
        }
        let handled = self.tracker.handled();
        let totals = self.tally.totals();
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        *progress = Progress {
            session: self.session,
            handled,
            totals,
            open: self.tracker.open(),
            outcomes: self.outcomes.totals(),
        };
        drop(progress);
        if self.ahead() >= AHEAD_REPORT && handled > self.committed {
            self.reports.notify_one();
        }
    }
}

/// Whether a handler is done with its event already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Started {
    Finished,
    Runs,
}

fn failure(result: Result<HandlerResult, Box<dyn Any + Send>>) -> Option<Failure> {
    match result {
        Ok(Ok(())) => None,
        Ok(Err(error)) if error.is::<Unhandled>() => Some(Failure::Unhandled),
        Ok(Err(error)) => Some(Failure::error(error.as_ref())),
        Err(panic) => Some(Failure::panic(panic.as_ref())),
    }
}
