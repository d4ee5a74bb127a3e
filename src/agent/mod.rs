//! What every node does: run exactly the shards that it owns.
//!
//! One loop: look at the state, decide (`decide.rs`), start or stop shards; and four times a second tell
//! the cluster how far they have come. It promises that a shard runs under one epoch at a time, that a session is
//! durable before its first event is delivered, and that nothing is delivered once the fence is down. Who owns what is
//! not decided here.

mod board;
mod decide;
mod deliver;
mod flapping;
mod keeper;
mod lanes;
mod outcome;
mod permits;
mod progress;
mod proposing;
mod releases;
mod report;
mod reporting;
mod roster;
mod rosters;
mod session_log;
mod shard;
mod silence;
mod suspects;
mod tally;
mod tracker;

pub use board::{Board, ShardNow};
pub use keeper::LocalReports;
pub use outcome::OutcomeTotals;
pub use permits::ClusterPermits;
pub use progress::Progress;
pub use tally::Totals;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    runtime,
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::bot::{Context, DynBot, Notice, Position, Shared};
use crate::gateway::{self, Commands, FatalClose, Permits, ResumePoint, Supervisor};
use crate::ipc::Ipc;
use crate::kv::Kv;
use crate::lease::{Fence, Right};
use crate::model::{
    BootEpoch, Epoch, NodeId, Sequence, SessionNumber, ShardId, ShardTotal, UnixMillis,
};
use crate::raft::Handle;
use crate::state::{Command, Shard, ShardReport, State};
use crate::transport::Transport;

use decide::{Action, Doing, decide};
use deliver::Start;
use flapping::Flapping;
use keeper::Keeper;
use releases::{LastWord, Releases};
use roster::Draft;
use rosters::Rosters;
use session_log::RaftSessionLog;
use shard::{End, HANDLER_GRACE, RunningShard};
use silence::Silence;
use tally::Tally;

/// How long a halt may take to be committed. So long its shard rests, committed or not.
const HALT_WITHIN: Duration = Duration::from_secs(30);

/// Between two proposals of a halt.
const HALT_RETRY: Duration = Duration::from_millis(500);

/// Between two reports of the shards' progress: what a crash may make Discord send a second time, at most.
const REPORT_EVERY: Duration = Duration::from_millis(250);

/// Reports that a shard asks for before their time are made this far apart: next to nothing of what it may be ahead, and
/// one log entry for all shards that ask meanwhile.
const EARLY_REPORT_EVERY: Duration = Duration::from_millis(10);

/// Fatal close codes on their way to the agent, which takes each at once: one after another is enough to know.
const FATAL_MAX: usize = 16;

/// What the close of the connections and the last commit may take after the handlers have finished.
const STOP_MARGIN: Duration = Duration::from_secs(1);

/// What an agent works with.
#[derive(Debug)]
pub struct Options {
    /// This node.
    pub me: NodeId,
    /// What handles the events.
    pub bot: Arc<dyn DynBot>,
    /// How to connect; shard, session and URL are filled in.
    pub gateway: gateway::Options,
    /// Where leave to identify comes from.
    pub permits: Arc<dyn Permits>,
    /// Which start of this node it is.
    pub boot: BootEpoch,
    /// The right to run shards, which the agent keeps.
    pub right: Right,
    /// The way to a leader elsewhere.
    pub transport: Option<Transport>,
    /// The way to the leader's loop in this process.
    pub local: LocalReports,
    /// Where the shards that run are shown.
    pub board: Board,
    /// The way from shard to shard.
    pub ipc: Ipc,
    /// Where shards and the bot's code run: what they take of it, this node's loops and its lease do not miss.
    pub bots: runtime::Handle,
    /// What the bot keeps.
    pub kv: Kv,
    /// Between two looks at a shard that says nothing new.
    pub health_check_interval: Duration,
    /// A shard without a connection for this long is dead.
    pub shard_timeout: Duration,
}

/// A fatal close code, and the shard that met it.
type Fatal = (ShardId, FatalClose);

/// A node's loop.
#[derive(Debug)]
pub struct Agent {
    raft: Handle,
    options: Options,
    running: BTreeMap<ShardId, RunningShard>,
    tasks: JoinSet<(ShardId, End)>,
    /// Where shards tell of a fatal close code, and where the agent hears of it.
    fatal: (mpsc::Sender<Fatal>, mpsc::Receiver<Fatal>),
    /// Shards that met a fatal close code and wait for the operator.
    resting: BTreeSet<ShardId>,
    /// Identifies are halted, as far as this node has seen.
    halted: bool,
    /// When a halt was asked for that may not be committed yet.
    halt_asked: Option<Instant>,
    releases: Releases,
    rosters: Rosters,
    reports: watch::Sender<Arc<Vec<ShardReport>>>,
    /// Asks the keeper to send reports before their time.
    early: Arc<Notify>,
    /// A shard that runs far ahead of its checkpoint asks for a report.
    asked: Arc<Notify>,
    silence: Silence,
}

impl Agent {
    /// A loop that is not running yet.
    #[must_use]
    pub fn new(raft: Handle, options: Options) -> Self {
        Self {
            releases: Releases::new(raft.clone()),
            rosters: Rosters::new(raft.clone()),
            raft,
            options,
            running: BTreeMap::new(),
            tasks: JoinSet::new(),
            fatal: mpsc::channel(FATAL_MAX),
            resting: BTreeSet::new(),
            halted: false,
            halt_asked: None,
            reports: watch::Sender::default(),
            early: Arc::default(),
            asked: Arc::default(),
            silence: Silence::default(),
        }
    }

    /// Runs until `stop`; then lets handlers finish, commits what they did, and closes every connection so that its
    /// session lives on.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut states = self.raft.states();
        let mut reports = interval(REPORT_EVERY);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let asked = Arc::clone(&self.asked);
        // Ticks before each early report, so that the next one has to wait for the tick after it.
        let mut early = interval(EARLY_REPORT_EVERY);
        early.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut begun = self.options.right.begun();
        let kept = CancellationToken::new();
        let keeper = tokio::spawn(self.keeper().run(kept.clone()));
        loop {
            let state = Arc::clone(&states.borrow_and_update());
            self.act(&state);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // Before the end of the shard that told of it, so that it is not started anew.
                Some((shard, fatal)) = self.fatal.1.recv() => self.halt(shard, fatal),
                Some(ended) = self.tasks.join_next() => self.ended(ended, &state),
                () = self.releases.settled() => {}
                // Checkpoints that waited for what was counted may be reported now.
                () = self.rosters.settled() => self.report(&Arc::clone(&states.borrow())),
                changed = states.changed() => if changed.is_err() { break },
                _ = begun.changed() => {}
                _ = reports.tick() => {
                    self.count_and_report(&state);
                    self.look_for_suspects(Instant::now());
                }
                () = async { early.tick().await; asked.notified().await } => {
                    self.count_and_report(&state);
                }
            }
        }
        self.stop().await;
        // To the end: without the right nothing may be delivered, and handlers were still to finish.
        kept.cancel();
        let _ = keeper.await;
    }

    fn keeper(&self) -> Keeper {
        Keeper {
            me: self.options.me,
            boot: self.options.boot,
            raft: self.raft.clone(),
            right: self.options.right.clone(),
            transport: self.options.transport.clone(),
            reports: self.reports.subscribe(),
            local: self.options.local.clone(),
            early: Arc::clone(&self.early),
        }
    }

    fn act(&mut self, state: &State) {
        match state.ledger().halted() {
            Some(halted) => {
                self.halted = true;
                self.resting.insert(halted.shard);
            }
            // Lifted, and not one that is on its way to be committed.
            None if self.halt_asked.is_none_or(|at| self.halted || at.elapsed() > HALT_WITHIN) => {
                (self.halted, self.halt_asked) = (false, None);
                self.resting.clear();
            }
            None => {}
        }
        self.releases.forget_the_settled(state);
        let doing = Doing {
            running: self.running.iter().map(|(shard, held)| (*shard, held.epoch)).collect(),
            releasing: self.releases.epochs(),
            resting: self.resting.clone(),
            may_run: self.options.right.holds(),
        };
        for action in decide(state, self.options.me, &doing) {
            match action {
                Action::Start(shard, epoch) => self.start(state, shard, epoch),
                Action::Stop(shard) => {
                    if let Some(held) = self.running.get(&shard) {
                        held.stop.cancel();
                    }
                }
                Action::Release(shard, epoch) => {
                    let report = ShardReport::new(shard, epoch);
                    self.releases.add(LastWord { report, draft: Draft::default() });
                }
            }
        }
        self.releases.propose(state);
    }

    /// What all events of a shard have in common.
    fn shared(
        &self,
        (shard, total, epoch): (ShardId, ShardTotal, Epoch),
        commands: Commands,
        fence: Fence,
        stopping: CancellationToken,
    ) -> Arc<Shared> {
        Arc::new(Shared {
            shard,
            total,
            epoch,
            commands,
            states: self.raft.states(),
            fence,
            stopping,
            cancelled: CancellationToken::new(),
            totals: Mutex::new(None),
            ipc: self.options.ipc.of_shard(shard),
            kv: self.options.kv.clone(),
        })
    }

    fn start(&mut self, state: &State, shard: ShardId, epoch: Epoch) {
        let (Some(facts), Some(held)) = (state.facts(), state.shards().get(&shard)) else {
            return;
        };
        let checkpoint = held.checkpoint();
        let options = self.connection(shard, facts.total, held);
        let (supervisor, handles) = Supervisor::new(options, Arc::clone(&self.options.permits))
            .expect("the gateway's URL was admitted when the node started");
        let stop = CancellationToken::new();
        let fence = self.options.right.fence();
        let owned = (shard, facts.total, epoch);
        let shared = self.shared(owned, handles.commands.clone(), fence.clone(), stop.clone());
        let resumes = held.session().is_some();
        let resumed = resumes.then_some(checkpoint.session);
        let tally = Tally::inherit(state.rosters().get(&shard), resumed);
        let draft: Arc<Mutex<Draft>> = Arc::default();
        let progress = Progress {
            session: checkpoint.session,
            handled: checkpoint.sequence,
            totals: tally.totals(),
            ..Progress::default()
        };
        let progress = Arc::new(Mutex::new(progress));
        let start = Start {
            bot: Arc::clone(&self.options.bot),
            shared: Arc::clone(&shared),
            log: Arc::new(RaftSessionLog { raft: self.raft.clone(), shard, epoch }),
            control: handles.control,
            progress: Arc::clone(&progress),
            reports: Arc::clone(&self.asked),
            session: if resumes { checkpoint.session } else { SessionNumber::default() },
            handled: if resumes { checkpoint.sequence } else { Sequence::default() },
            tally,
            draft: Arc::clone(&draft),
        };
        let entry = board::Entry {
            epoch,
            progress: Arc::clone(&progress),
            status: handles.status.clone(),
            received: handles.received.clone(),
            commands: handles.commands,
            stop: stop.clone(),
            connects_of_late: None,
        };
        self.options.board.put(shard, entry);
        self.running.insert(
            shard,
            RunningShard {
                epoch,
                stop: stop.clone(),
                shared,
                progress,
                draft,
                status: handles.status,
                received: handles.received,
                flapping: Flapping::default(),
                unready_since: None,
                told_dead: false,
            },
        );
        let feed = handles.feed;
        let fatal = self.fatal.0.clone();
        let run =
            async move { (shard, shard::run(supervisor, feed, start, stop, fence, fatal).await) };
        self.tasks.spawn_on(run, &self.options.bots);
    }

    fn connection(&self, shard: ShardId, total: ShardTotal, held: &Shard) -> gateway::Options {
        let checkpoint = held.checkpoint();
        let template = self.options.gateway.clone();
        gateway::Options {
            shard,
            total,
            resume: held.session().map(|session| ResumePoint {
                session: session.clone(),
                after: checkpoint.sequence,
            }),
            previous: checkpoint.session,
            ..template
        }
    }

    /// Has all identifies halted.
    fn halt(&mut self, shard: ShardId, fatal: FatalClose) {
        error!(shard = shard.0, code = fatal.0, "{}", fatal.advice());
        metrics::counter!("apolo_halts_total", "code" => fatal.0.to_string()).increment(1);
        self.resting.insert(shard);
        self.halt_asked = Some(Instant::now());
        let (raft, halt) = (self.raft.clone(), Command::Halt { code: fatal.0, shard });
        tokio::spawn(async move {
            let until = Instant::now() + HALT_WITHIN;
            while let Err(error) = raft.propose(halt.clone()).await {
                warn!(shard = shard.0, %error, "the halt is not known to be committed");
                if !error.is_retryable() || Instant::now() > until {
                    return;
                }
                sleep(HALT_RETRY).await;
            }
        });
    }

    fn ended(&mut self, ended: Result<(ShardId, End), tokio::task::JoinError>, state: &State) {
        // A panic in apolo's own loops ends the process: half an owner is worse than none.
        let (shard, end) = ended.expect("a shard's task does not panic");
        let Some(mut held) = self.running.remove(&shard) else { return };
        self.options.board.remove(shard);
        match end {
            End::Halted(fatal) => self.tell_dead(held.shared, fatal.advice()),
            End::Stopped => {
                let known = state.shards().get(&shard);
                let Some(known) = known.filter(|known| known.epoch() == Some(held.epoch)) else {
                    return;
                };
                if known.handoff().is_some() {
                    let seen = held.seen(shard, Instant::now(), self.options.shard_timeout);
                    let report = report::last_word(&seen, known, UnixMillis::now());
                    let draft = std::mem::take(&mut *held.draft());
                    self.releases.add(LastWord { report, draft });
                }
            }
            End::Fenced => {}
        }
    }

    /// The bot's handler runs by itself: a bot that dawdles over bad news holds up no shard.
    fn tell_dead(&self, shared: Arc<Shared>, reason: &str) {
        let context = Context::new(shared, Position::default());
        let notice = Notice::ShardDead { reason: reason.to_owned() };
        self.options.bots.spawn(Arc::clone(&self.options.bot).notice(context, notice));
    }

    async fn stop(mut self) {
        info!(shards = self.running.len(), "stopping: no new deliveries, handlers finish");
        for held in self.running.values() {
            held.stop.cancel();
        }
        let ended = timeout(HANDLER_GRACE + STOP_MARGIN, async {
            while self.tasks.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            warn!(
                "some shards did not end in time; their sessions are resumed from the last checkpoint"
            );
        }
        self.last_report().await;
    }
}
