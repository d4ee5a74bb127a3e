//! The loop over a shard's connections.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use twilight_gateway::{Session as TwilightSession, ShardId as TwilightShardId};

use super::{
    board::{Board, Received},
    connection::{Around, Connection, End, Outcome},
    control::{Commands, Control, Outbox},
    core::Core,
    feed::{Feed, feed},
    gate::Gate,
    hosts::RefusedUrl,
    ladder::{Attempt, Cause, Ended, Ladder, Rung, Step},
    link::Link,
    options::Options,
    port::{Exit, Permits, Phase, Status},
    stop::Stop,
};

/// How long, and how far apart, commands are sent after Discord closed with 4008 (rate limited): one a second is half
/// of what its limit allows.
const SLOWED: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(1));

/// Keeps one shard connected. See the [module](super).
#[derive(Debug)]
pub struct Supervisor {
    options: Options,
    main_url: String,
    permits: Arc<dyn Permits>,
    control: Control,
    outbox: Outbox,
    core: Core,
    ladder: Ladder,
    slowed_until: Option<Instant>,
}

/// What the rest of the node holds of a supervisor.
#[derive(Debug)]
pub struct Handles {
    /// What the connection yields.
    pub feed: Feed,
    /// Goes back in the session.
    pub control: Control,
    /// Sends gateway commands.
    pub commands: Commands,
    /// What it is doing.
    pub status: watch::Receiver<Status>,
    /// The last sequence received.
    pub received: Received,
}

impl Supervisor {
    /// A supervisor that does nothing until it is run.
    ///
    /// # Errors
    ///
    /// Where the gateway URL is not trusted with the token.
    pub fn new(options: Options, permits: Arc<dyn Permits>) -> Result<(Self, Handles), RefusedUrl> {
        let main_url = options.hosts.admit(&options.url)?;
        let (intake, feed) = feed(options.feed);
        let session = options.resume.as_ref().map(|point| point.session.number);
        let (board, status) = Board::new(session);
        let (commands, outbox) = Outbox::new();
        let control = Control::default();
        let received = board.received.clone();
        let core =
            Core::new(intake, board, options.payload, options.resume.clone(), options.previous);
        let ladder = Ladder::new(options.backoff);
        let handles = Handles { feed, control: control.clone(), commands, status, received };
        let supervisor =
            Self { options, main_url, permits, control, outbox, core, ladder, slowed_until: None };
        Ok((supervisor, handles))
    }

    /// Keeps the shard connected until it is told to stop, or Discord says that trying again is of no use.
    pub async fn run(mut self, stop: Stop) -> Exit {
        let mut attempt = self.ladder.first(self.core.session.is_some());
        loop {
            tokio::select! {
                biased;
                () = stop.fenced() => return Exit::Stopped,
                () = stop.drained() => return Exit::Stopped,
                () = self.room(attempt) => {}
            }
            if let Some(request) = self.control.taken() {
                self.core.rewind(request);
            }
            if stop.is_fenced() {
                return Exit::Stopped;
            }
            let Some(ended) = self.connect(&mut attempt, &stop).await else {
                return Exit::Stopped;
            };
            let next = self.ladder.after(
                &ended,
                self.core.session.is_some(),
                Instant::now(),
                rand::random(),
            );
            if let Some(reason) = next.lost {
                self.core.lose_session(reason);
                self.outbox.clear();
            }
            let until = match next.step {
                Step::Halt(fatal) => {
                    tracing::error!(
                        shard = self.options.shard.0,
                        code = fatal.0,
                        "{}",
                        fatal.advice()
                    );
                    self.core.board.phase(Phase::Halted(fatal));
                    return Exit::Halted(fatal);
                }
                Step::Try { at, attempt: tried } => {
                    attempt = tried;
                    self.core.board.phase(Phase::BackingOff { until: at });
                    at
                }
                Step::Park { until } => {
                    attempt = Attempt::Identify;
                    metrics::counter!("apolo_gateway_parked_total").increment(1);
                    tracing::warn!(
                        shard = self.options.shard.0,
                        "parked: its handlers stay behind"
                    );
                    self.core.board.phase(Phase::Parked { until });
                    until
                }
            };
            tokio::select! {
                biased;
                () = stop.fenced() => return Exit::Stopped,
                () = stop.drained() => return Exit::Stopped,
                () = sleep_until(until) => {}
            }
        }
    }

    /// Waits until the queue has room for what a connection must be able to say; and before an identify, until it is
    /// half empty, since a new session whose events can't be taken would be lost as well.
    async fn room(&self, attempt: Attempt) {
        if attempt == Attempt::Identify || !self.core.feed.has_room_for_markers() {
            self.core.feed.intake().low().await;
        }
    }

    /// One connection, from the attempt to its end; `None` if it was told to stop.
    async fn connect(&mut self, attempt: &mut Attempt, stop: &Stop) -> Option<Ended> {
        let gate = Gate::default();
        let link = self.link(attempt, gate.clone());
        self.core.board.connecting();
        metrics::counter!("apolo_gateway_connects_total").increment(1);
        let mut around = Around {
            shard: self.options.shard,
            permits: &self.permits,
            control: &self.control,
            outbox: &mut self.outbox,
            stop,
            command_spacing: match self.slowed_until {
                Some(until) if until > Instant::now() => SLOWED.1,
                Some(_) | None => Duration::ZERO,
            },
        };
        let catching_up = self.core.catching_up;
        let connection = Connection::new(&mut self.core, link, gate, self.options.timers, *attempt);
        let (outcome, ready_for) = connection.run(&mut around).await;
        let end = match outcome {
            Outcome::Ended(end) => end,
            Outcome::Asked(request) => {
                self.core.disconnect("the bot asked to go back");
                self.core.rewind(request);
                End::new(Cause::Own, "the bot asked to go back")
            }
            Outcome::Stopped => {
                self.core.disconnect("stopped");
                return None;
            }
        };
        self.core.disconnect(&end.reason);
        self.note(&end);
        Some(Ended {
            cause: end.cause,
            attempt: *attempt,
            ready_for,
            catching_up: catching_up || self.core.catching_up,
        })
    }

    fn link(&self, attempt: &mut Attempt, gate: Gate) -> Link {
        let shard = TwilightShardId::new(self.options.shard.0, self.options.total.get());
        let mut config = self.options.profile.connection(&self.main_url, gate);
        if let (Attempt::Resume(rung), Some(session)) = (&mut *attempt, &self.core.session) {
            let after = self.core.sequencer.last().0;
            config = config.session(TwilightSession::new(after, session.id.0.clone()));
            if *rung == Rung::Session {
                match self.options.hosts.admit(&session.resume_url) {
                    Ok(url) => config = config.resume_url(url),
                    Err(error) => {
                        metrics::counter!("apolo_gateway_refused_urls_total").increment(1);
                        tracing::warn!(shard = self.options.shard.0, %error, "resume URL refused");
                        *rung = Rung::Main;
                    }
                }
            }
        }
        Link::new(shard, config.build())
    }

    fn note(&mut self, end: &End) {
        let code = match end.cause {
            Cause::Closed(Some(code)) => code.to_string(),
            Cause::Closed(None) => "none".to_owned(),
            Cause::NotConnected => "not_connected".to_owned(),
            Cause::Reconnect => "reconnect".to_owned(),
            Cause::InvalidSession { .. } => "invalid_session".to_owned(),
            Cause::Silent => "silent".to_owned(),
            Cause::Garbage => "garbage".to_owned(),
            Cause::Own => "own".to_owned(),
        };
        metrics::counter!("apolo_gateway_disconnects_total", "cause" => code).increment(1);
        tracing::info!(shard = self.options.shard.0, reason = end.reason, "connection ended");
        if end.cause == Cause::Closed(Some(4008)) {
            self.slowed_until = Some(Instant::now() + SLOWED.0);
        }
    }
}
