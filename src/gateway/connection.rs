//! One connection's life, from the first SYN to its end.

use std::{
    future::{pending, poll_fn},
    ops::ControlFlow,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::{
    control::{Control, Outbox, ResumeFrom},
    core::Core,
    gate::{Gate, Waiting},
    held::Held,
    ladder::{Attempt, Cause},
    link::{Link, Read},
    options::Timers,
    port::{Permit, PermitError, Permits, Phase},
    stop::Stop,
};
use crate::model::ShardId;

/// Payloads handled in one go before other tasks get their turn: some tens of microseconds. Enough to spread the cost of
/// the two tasks' wake-ups; few enough that what is read is still in the processor's caches where it is delivered, and
/// that a commit, which needs a dozen turns of the tasks behind it, does not wait for every shard's burst in each.
const BURST: usize = 16;

/// This part of a heartbeat interval, as a divisor, reading may rest between two acknowledged heartbeats, for a queue
/// that is full: TCP then holds Discord back, and a burst costs no RESUME. Heartbeats are read and written where
/// dispatches are, so they rest too, far less than it takes for either side to give the other up.
const PAUSE_DIVISOR: u32 = 8;

/// What a connection is surrounded by.
pub(super) struct Around<'a> {
    pub(super) shard: ShardId,
    pub(super) permits: &'a Arc<dyn Permits>,
    pub(super) control: &'a Control,
    pub(super) outbox: &'a mut Outbox,
    pub(super) stop: &'a Stop,
    /// The least time between two commands.
    pub(super) command_spacing: Duration,
}

/// How it ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// By itself.
    Ended(End),
    /// The bot asked to go back.
    Asked(ResumeFrom),
    /// The node asked to stop, or nobody reads the queue any more.
    Stopped,
}

/// Why it ended by itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct End {
    pub(super) cause: Cause,
    /// In words.
    pub(super) reason: String,
}

impl End {
    pub(super) fn new(cause: Cause, reason: impl Into<String>) -> Self {
        Self { cause, reason: reason.into() }
    }
}

/// The steps of its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    Opening,
    WaitingForPermit,
    Identifying { since: Instant },
    Resuming,
    Ready { since: Instant },
}

/// A connection that is open, or being opened.
pub(super) struct Connection<'a> {
    pub(super) core: &'a mut Core,
    pub(super) link: Link,
    gate: Gate,
    timers: Timers,
    pub(super) attempt: Attempt,
    pub(super) stage: Stage,
    pub(super) behind: bool,
    pub(super) held: Held,
    pub(super) heartbeat: Duration,
    /// How long reading has rested since the last heartbeat was acknowledged.
    pub(super) paused: Duration,
    pub(super) now: Instant,
    opened_at: Instant,
    received_at: Instant,
    pub(super) dispatched_at: Instant,
    /// The leave that this connection's IDENTIFY was sent with.
    pub(super) permit: Option<Permit>,
}

/// Something that the connection's loop acts on.
enum Happening {
    Fenced,
    Drain,
    Asked(ResumeFrom),
    Leave(Result<Permit, PermitError>),
    CaughtUp,
    Room,
    Command(String),
    Tick,
    Pumped(Pumped),
}

/// Why the pump paused.
pub(super) enum Pumped {
    /// The stage, or something else that is published, has changed.
    Changed,
    Ended(End),
    Fenced,
    /// Nobody reads the queue any more.
    Unread,
}

/// What became of one payload.
pub(super) type Flow = ControlFlow<Pumped>;

impl<'a> Connection<'a> {
    pub(super) fn new(
        core: &'a mut Core,
        link: Link,
        gate: Gate,
        timers: Timers,
        attempt: Attempt,
    ) -> Self {
        let now = Instant::now();
        Self {
            core,
            link,
            gate,
            timers,
            attempt,
            stage: Stage::Opening,
            behind: false,
            held: Held::default(),
            heartbeat: Duration::ZERO,
            paused: Duration::ZERO,
            now,
            opened_at: now,
            received_at: now,
            dispatched_at: now,
            permit: None,
        }
    }

    /// Runs the connection to its end, and closes it. Returns also for how long it was ready.
    pub(super) async fn run(mut self, around: &mut Around<'_>) -> (Outcome, Option<Duration>) {
        let (outcome, close) = self.live(around).await;
        if !matches!(outcome, Outcome::Stopped) {
            self.count_failure();
        }
        let ready_for = match self.stage {
            Stage::Ready { since } => Some(since.elapsed()),
            Stage::Opening
            | Stage::WaitingForPermit
            | Stage::Identifying { .. }
            | Stage::Resuming => None,
        };
        around.outbox.set_connected(false);
        self.core.catching_up |= self.behind;
        if let Some(wait) = close
            && !around.stop.is_fenced()
        {
            self.link.close(wait).await;
        }
        (outcome, ready_for)
    }

    /// Counts a RESUME or an IDENTIFY that came to nothing.
    fn count_failure(&self) {
        match self.stage {
            Stage::Resuming => {
                metrics::counter!("apolo_gateway_resumes_total", "outcome" => "failed")
                    .increment(1);
            }
            Stage::Identifying { .. } => {
                metrics::counter!("apolo_gateway_identifies_total", "outcome" => "failed")
                    .increment(1);
            }
            Stage::Opening | Stage::WaitingForPermit | Stage::Ready { .. } => {}
        }
    }

    /// The loop. Returns also how long to wait for the answer to a close frame, if one is to be sent.
    async fn live(&mut self, around: &mut Around<'_>) -> (Outcome, Option<Duration>) {
        let mut waiting: Option<Waiting> = None;
        let mut command_at = self.opened_at;
        loop {
            if let Some(sender) = self.gate.asked() {
                waiting = Some(Waiting::new(around.permits.as_ref(), around.shard, sender));
            }
            self.publish(around.outbox);
            match self.happening(around, &mut waiting, command_at).await {
                Happening::Fenced | Happening::Pumped(Pumped::Fenced) => {
                    return (Outcome::Stopped, None);
                }
                Happening::Drain | Happening::Pumped(Pumped::Unread) => {
                    return (Outcome::Stopped, Some(self.timers.close));
                }
                Happening::Asked(request) => {
                    return (Outcome::Asked(request), Some(Duration::ZERO));
                }
                Happening::CaughtUp => {
                    let end = End::new(Cause::Own, "the handlers have caught up");
                    return (Outcome::Ended(end), Some(Duration::ZERO));
                }
                Happening::Pumped(Pumped::Ended(end)) => {
                    return (Outcome::Ended(end), Some(Duration::ZERO));
                }
                Happening::Tick => {
                    if let Some(reason) = self.overdue(Instant::now()) {
                        let end = End::new(Cause::Silent, reason);
                        return (Outcome::Ended(end), Some(Duration::ZERO));
                    }
                }
                Happening::Leave(leave) => self.granted(around, &mut waiting, leave),
                Happening::Command(json) => {
                    command_at = Instant::now() + around.command_spacing;
                    self.link.send(json);
                }
                Happening::Room | Happening::Pumped(Pumped::Changed) => {}
            }
        }
    }

    async fn happening(
        &mut self,
        around: &mut Around<'_>,
        waiting: &mut Option<Waiting>,
        command_at: Instant,
    ) -> Happening {
        let now = Instant::now();
        let feed = self.core.feed.intake().clone();
        let behind = self.behind;
        let command_at = command_at.max(self.link.command_at(now));
        let ready = matches!(self.stage, Stage::Ready { .. });
        let may_send = ready && command_at <= now;
        let mut deadline =
            if ready && !may_send { self.deadline().0.min(command_at) } else { self.deadline().0 };
        let pause = self.pause_left();
        if let Some(left) = pause {
            deadline = deadline.min(now + left);
        }
        let happening = tokio::select! {
            biased;
            () = around.stop.fenced() => Happening::Fenced,
            () = around.stop.drained() => Happening::Drain,
            request = around.control.asked() => Happening::Asked(request),
            leave = granted(waiting) => Happening::Leave(leave),
            () = feed.low(), if behind => Happening::CaughtUp,
            () = feed.low(), if pause.is_some() => Happening::Room,
            () = sleep_until(deadline) => Happening::Tick,
            pumped = poll_fn(|cx| self.pump(cx, around.stop)), if pause.is_none() => Happening::Pumped(pumped),
            // Behind the pump, which sends the command before this one and counts it against the limit.
            command = around.outbox.next(), if may_send && pause.is_none() => {
                Happening::Command(command)
            }
        };
        if pause.is_some() {
            self.paused += now.elapsed();
        }
        happening
    }

    /// How long reading may rest, if it is to rest at all: while the queue is full, before the shard counts as behind.
    fn pause_left(&self) -> Option<Duration> {
        let reads = matches!(self.stage, Stage::Resuming | Stage::Ready { .. }) && !self.behind;
        let left = (self.heartbeat / PAUSE_DIVISOR).saturating_sub(self.paused);
        (reads && !left.is_zero() && self.core.feed.is_full()).then_some(left)
    }

    /// Handles what the socket has, and hands over what that yields.
    fn pump(&mut self, cx: &mut Context<'_>, stop: &Stop) -> Poll<Pumped> {
        let pumped = self.burst(cx, stop);
        self.core.feed.flush();
        pumped
    }

    /// Handles what the socket has, until it has nothing more or something needs the loop.
    fn burst(&mut self, cx: &mut Context<'_>, stop: &Stop) -> Poll<Pumped> {
        self.now = Instant::now();
        for _ in 0..BURST {
            if stop.is_fenced() {
                return Poll::Ready(Pumped::Fenced);
            }
            if self.pause_left().is_some() {
                return Poll::Ready(Pumped::Changed);
            }
            let read = self.link.poll_read(cx);
            if let Some(sent) = self.permit.as_mut().and_then(|permit| permit.sent.take()) {
                // Whoever keeps the ledger may be gone; the permit is spent all the same.
                let _ = sent.send(());
            }
            let Poll::Ready(read) = read else { return Poll::Pending };
            self.received_at = self.now;
            if let ControlFlow::Break(pumped) = self.take(read) {
                return Poll::Ready(pumped);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take(&mut self, read: Read) -> Flow {
        match read {
            Read::Text(json) => self.payload(json),
            Read::Undecodable(json) => self.undecodable(json),
            Read::Uninflatable => self.uninflatable(),
            Read::Closed(code) => ended(Cause::Closed(code), closed_reason(code)),
            Read::NotConnected(error) => ended(Cause::NotConnected, error),
            Read::Panicked => ended(Cause::Garbage, "a frame that can't be handled"),
        }
    }

    /// Leave to identify came, or can't come any more.
    fn granted(
        &mut self,
        around: &Around<'_>,
        waiting: &mut Option<Waiting>,
        leave: Result<Permit, PermitError>,
    ) {
        let Some(request) = waiting.take() else { return };
        let now = Instant::now();
        match leave {
            Ok(permit) if permit.expires > now => {
                request.open();
                self.permit = Some(permit);
                self.stage = Stage::Identifying { since: now };
            }
            Ok(_) => {
                *waiting = Some(request.again(around.permits.as_ref(), around.shard));
            }
            // The node is stopping. The sender is held on to, and the stop will end this.
            Err(PermitError) => *waiting = Some(request.never()),
        }
    }

    fn publish(&self, outbox: &Outbox) {
        let phase = match self.stage {
            Stage::Opening => Phase::Connecting,
            Stage::WaitingForPermit => Phase::WaitingForPermit,
            Stage::Identifying { .. } => Phase::Identifying,
            Stage::Resuming => Phase::Resuming,
            Stage::Ready { .. } if self.behind => Phase::Behind,
            Stage::Ready { .. } => Phase::Connected,
        };
        self.core.board.phase(phase);
        outbox.set_connected(matches!(self.stage, Stage::Ready { .. }));
    }

    /// When the connection is given up unless something comes, and why.
    fn deadline(&self) -> (Instant, &'static str) {
        let silence = self.heartbeat.saturating_mul(self.timers.silent_beats);
        let silent = (self.received_at + silence, "nothing was received for two heartbeats");
        match self.stage {
            Stage::Opening => (self.opened_at + self.timers.hello, "no HELLO"),
            Stage::WaitingForPermit | Stage::Ready { .. } => silent,
            Stage::Identifying { since } => silent.min((since + self.timers.ready, "no READY")),
            Stage::Resuming => silent.min((self.dispatched_at + self.timers.resumed, "no RESUMED")),
        }
    }

    fn overdue(&self, now: Instant) -> Option<&'static str> {
        let (deadline, reason) = self.deadline();
        (now >= deadline).then_some(reason)
    }
}

pub(super) fn ended(cause: Cause, reason: impl Into<String>) -> Flow {
    ControlFlow::Break(Pumped::Ended(End::new(cause, reason)))
}

fn closed_reason(code: Option<u16>) -> String {
    match code {
        Some(1006) => "the connection broke, or no heartbeat was acknowledged".to_owned(),
        Some(code) => format!("closed with {code}"),
        None => "closed without a code".to_owned(),
    }
}

async fn granted(waiting: &mut Option<Waiting>) -> Result<Permit, PermitError> {
    match waiting {
        Some(waiting) => waiting.granted().await,
        None => pending().await,
    }
}
