//! The deliverer's promises, with a queue that the test fills and a bot that the test holds.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinHandle, time::timeout};

use super::*;
use crate::bot::{ClosureBot, LostRange};
use crate::gateway::{FeedLimits, Intake, LostReason, feed, test_commands};
use crate::ipc::{self, Handlers, Ipc, Residents};
use crate::kv::Kv;
use crate::lease::Fence;
use crate::model::{
    ApplicationId, BootEpoch, ClusterId, Epoch, LogIndex, NodeId, SessionId, ShardId, ShardTotal,
};
use crate::state::{Command, Facts, Move, Outcome, ShardReport};

/// The way to other shards, of which there are none.
fn nobody(states: &watch::Receiver<Arc<State>>) -> Ipc {
    struct Nowhere;

    impl Residents for Nowhere {
        fn runs(&self, _: ShardId) -> Option<Epoch> {
            None
        }

        fn has_quorum(&self) -> bool {
            false
        }
    }

    let (me, boot, states) = (NodeId(1), BootEpoch(1), states.clone());
    let (handlers, residents) = (Handlers::default(), Arc::new(Nowhere));
    Ipc::new(ipc::Options { me, boot, handlers, residents, states, transport: None })
}

const DEADLINE: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_secs(2);

/// A deliverer under test, with all its ends.
struct Rig {
    intake: Intake,
    control: Control,
    progress: Arc<Mutex<Progress>>,
    log: Arc<FakeLog>,
    fence: Fence,
    stop: CancellationToken,
    notices: mpsc::UnboundedReceiver<Notice>,
    committed: watch::Sender<Arc<State>>,
    reports: Arc<Notify>,
    task: JoinHandle<Result<(), Fenced>>,
}

/// Commits at once, unless it is held.
#[derive(Default)]
struct FakeLog {
    held: AtomicBool,
    released: Notify,
    sessions: Mutex<Vec<String>>,
}

impl SessionLog for FakeLog {
    fn start_session(&self, session: Session) -> BoxFuture<'_, bool> {
        async move {
            while self.held.load(Ordering::SeqCst) {
                self.released.notified().await;
            }
            self.sessions.lock().unwrap().push(format!("start {}", session.number));
            true
        }
        .boxed()
    }

    fn lose_session(&self, session: SessionNumber) -> BoxFuture<'_, bool> {
        self.sessions.lock().unwrap().push(format!("lose {session}"));
        futures_util::future::ready(true).boxed()
    }
}

impl Rig {
    /// A deliverer that goes on behind sequence 10 of session 1 with a handler made by `bot`.
    fn new(bot: impl FnOnce(ClosureBot) -> ClosureBot) -> Self {
        Self::with(bot, 1, 10, Arc::default())
    }

    fn with(
        bot: impl FnOnce(ClosureBot) -> ClosureBot,
        session: u64,
        handled: u64,
        log: Arc<FakeLog>,
    ) -> Self {
        let (told, notices) = mpsc::unbounded_channel();
        let bot = bot(ClosureBot::default()).on_notice(move |_, notice| {
            let told = told.clone();
            async move { drop(told.send(notice)) }
        });
        let (intake, feed) = feed(FeedLimits::default());
        let progress = Arc::default();
        let control = Control::default();
        let (fence, stop) = (Fence::default(), CancellationToken::new());
        let (committed, states) = watch::channel(Arc::default());
        let reports = Arc::new(Notify::new());
        let shared = Arc::new(Shared {
            shard: ShardId(0),
            total: ShardTotal::ONE,
            epoch: Epoch::default(),
            commands: test_commands(),
            ipc: nobody(&states),
            kv: Kv::stopped(states.clone()),
            states,
            fence: fence.clone(),
            stopping: stop.clone(),
            cancelled: CancellationToken::new(),
            totals: Mutex::new(None),
        });
        let start = Start {
            bot: Arc::new(bot),
            shared,
            log: Arc::clone(&log) as Arc<dyn SessionLog>,
            control: control.clone(),
            progress: Arc::clone(&progress),
            reports: Arc::clone(&reports),
            session: SessionNumber(session),
            handled: Sequence(handled),
            tally: Tally::default(),
            draft: Arc::default(),
        };
        let task = tokio::spawn(Deliverer::new(start).run(feed, stop.clone(), GRACE));
        Self { intake, control, progress, log, fence, stop, notices, committed, reports, task }
    }

    /// A deliverer as [`Rig::new`]'s, whose handler tells what it got.
    fn telling() -> (Self, Inbox) {
        Self::telling_with(|bot| bot, 1, 10, Arc::default())
    }

    /// The same, but what comes was never anybody else's to deliver.
    fn telling_fresh() -> (Self, Inbox) {
        Self::telling_with(|bot| bot, 0, 10, Arc::default())
    }

    fn telling_with(
        adjust: impl FnOnce(ClosureBot) -> ClosureBot,
        session: u64,
        handled: u64,
        log: Arc<FakeLog>,
    ) -> (Self, Inbox) {
        let (told, inbox) = mpsc::unbounded_channel();
        let telling = |bot| {
            adjust(bot).on_event(move |context, _| {
                let _ = told.send((context.sequence().0, context.redelivered()));
                async {}
            })
        };
        (Self::with(telling, session, handled, log), Inbox(inbox))
    }

    fn event(&self, sequence: u64, guild: u64) {
        let json = format!(
            r#"{{"op":0,"s":{sequence},"t":"TYPING_START","d":{{"guild_id":"{guild}","channel_id":"1","user_id":"2","timestamp":3}}}}"#
        );
        self.raw(sequence, "TYPING_START", json);
    }

    fn raw(&self, sequence: u64, name: &str, json: String) {
        let sequence = Sequence(sequence);
        let name = EventName::new(name);
        let dispatch = Dispatch { sequence, name, json, oddity: None };
        self.intake.dispatch(dispatch).unwrap();
    }

    /// Lets the cluster know session 1 up to `sequence`.
    fn commit(&self, sequence: u64) {
        let mut state = State::default();
        let node = NodeId(1);
        let total = ShardTotal::ONE;
        let facts = Facts { application: ApplicationId(1), total, intents: 0 };
        let boot = BootEpoch(1);
        let step = Move { shard: ShardId(0), from: None, to: node };
        let epoch = Epoch { generation: 1, index: LogIndex(4) };
        let id = SessionId("s".into());
        let session = Session { number: SessionNumber(1), id, resume_url: String::new() };
        let report = ShardReport::new(ShardId(0), epoch).at(SessionNumber(1), Sequence(sequence));
        let commands = [
            Command::Form { cluster: ClusterId::mint() },
            Command::StartNode { node, name: String::new(), boot },
            Command::FixFacts(facts),
            Command::Assign(vec![step]),
            Command::StartSession { shard: ShardId(0), epoch, session },
            Command::Report(vec![report]),
        ];
        for (index, command) in (1..).zip(commands) {
            assert_eq!(state.apply(LogIndex(index), command), Outcome::Applied);
        }
        self.committed.send_replace(Arc::new(state));
    }

    fn handled(&self) -> u64 {
        self.progress.lock().unwrap().handled.0
    }

    async fn handled_reaches(&self, sequence: u64) {
        let reached = async {
            while self.handled() < sequence {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, reached).await.expect("the checkpoint moves");
    }

    async fn next(&mut self) -> Notice {
        timeout(DEADLINE, self.notices.recv()).await.expect("something comes").expect("open")
    }

    async fn stop(self) -> Result<(), Fenced> {
        self.stop.cancel();
        timeout(DEADLINE, self.task).await.expect("it stops").expect("it does not panic")
    }
}

/// What a telling handler got: sequences, and whether they were marked as redelivered.
struct Inbox(mpsc::UnboundedReceiver<(u64, bool)>);

impl Inbox {
    async fn next(&mut self) -> (u64, bool) {
        timeout(DEADLINE, self.0.recv()).await.expect("an event comes").expect("open")
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[tokio::test]
async fn a_guilds_events_are_handled_in_order_and_others_meanwhile() {
    let (told, mut got) = mpsc::unbounded_channel();
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let rig = Rig::new(|bot| {
        bot.on_event(move |context, _| {
            let (told, gate) = (told.clone(), Arc::clone(&gate));
            async move {
                if context.sequence().0 == 11 {
                    gate.notified().await;
                }
                let _ = told.send(context.sequence().0);
            }
        })
    });

    for (sequence, guild) in [(11, 1), (12, 1), (13, 2), (14, 1)] {
        rig.event(sequence, guild);
    }
    assert_eq!(got.recv().await, Some(13), "another guild does not wait");
    assert_eq!(rig.handled(), 10, "the checkpoint waits for the slowest");
    opened.notify_one();

    assert_eq!([got.recv().await, got.recv().await, got.recv().await], [11, 12, 14].map(Some));
    rig.handled_reaches(14).await;
}

#[tokio::test]
async fn a_panic_or_an_error_costs_its_event_and_nothing_else() {
    let rig = Rig::new(|bot| {
        bot.on_event(|context, _| async move {
            match context.sequence().0 {
                11 => panic!("at once"),
                12 => {
                    tokio::task::yield_now().await;
                    panic!("later");
                }
                13 => Err("an error"),
                _ => Ok(()),
            }
        })
    });

    (11..=14).for_each(|sequence| rig.event(sequence, sequence));

    rig.handled_reaches(14).await;
    assert_eq!(rig.progress.lock().unwrap().outcomes.failed, 3);
}

#[tokio::test]
async fn a_session_is_durable_before_its_first_event_is_delivered() {
    let log = Arc::new(FakeLog::default());
    log.held.store(true, Ordering::SeqCst);
    let (rig, mut inbox) = Rig::telling_with(|bot| bot, 0, 0, Arc::clone(&log));
    let id = SessionId("s".into());
    let session = Session { number: SessionNumber(1), id, resume_url: String::new() };

    rig.intake.mark(Item::SessionStarted(session));
    rig.event(1, 1);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(inbox.is_empty(), "delivered before the commit");
    log.held.store(false, Ordering::SeqCst);
    log.released.notify_one();

    assert_eq!(inbox.next().await, (1, false));
    assert_eq!(*rig.log.sessions.lock().unwrap(), ["start 1"]);
}

#[tokio::test]
async fn an_event_that_cannot_be_decoded_is_asked_for_again_behind_the_checkpoint() {
    let (rig, mut inbox) = Rig::telling_fresh();
    let broken = r#"{"op":0,"s":12,"t":"TYPING_START","d":{"guild_id":[]}}"#;

    rig.event(11, 1);
    rig.raw(12, "TYPING_START", broken.to_owned());
    rig.event(13, 1);
    assert_eq!(inbox.next().await, (11, false));
    let asked = timeout(DEADLINE, rig.control.asked()).await.expect("a rewind is asked for");
    assert_eq!((asked.after, asked.undecodable), (Sequence(11), Some(Sequence(12))));

    rig.intake.mark(Item::Rewound { session: SessionNumber(0), after: Sequence(11) });
    let dispatch = Dispatch {
        sequence: Sequence(12),
        name: EventName::new("TYPING_START"),
        json: broken.to_owned(),
        oddity: Some(Oddity::Undecodable),
    };
    rig.intake.dispatch(dispatch).unwrap();
    rig.event(13, 1);

    assert_eq!(inbox.next().await.0, 12, "handed over raw the second time");
    assert_eq!(inbox.next().await, (13, false), "never delivered before");
    rig.handled_reaches(13).await;
}

#[tokio::test]
async fn what_was_delivered_before_a_rewind_says_so_when_it_comes_again() {
    let (rig, mut inbox) = Rig::telling_fresh();
    rig.event(11, 1);
    assert_eq!(inbox.next().await, (11, false));

    rig.intake.mark(Item::Rewound { session: SessionNumber(0), after: Sequence(10) });
    rig.event(11, 1);
    rig.event(12, 1);

    assert_eq!(inbox.next().await, (11, true));
    assert_eq!(inbox.next().await, (12, false));
}

#[tokio::test]
async fn a_restarted_process_marks_what_its_predecessor_may_have_delivered() {
    let (rig, mut inbox) = Rig::telling();
    let last = 10 + AHEAD_MAX + BATCH as u64;

    rig.event(11, 1);
    rig.intake.mark(Item::Rewound { session: SessionNumber(1), after: Sequence(last - 1) });
    rig.event(last, 1);
    rig.event(last + 1, 1);

    assert_eq!(inbox.next().await, (11, true));
    assert_eq!(inbox.next().await, (last, true));
    assert_eq!(inbox.next().await, (last + 1, false), "no predecessor was that far ahead");
}

#[tokio::test]
async fn delivery_waits_when_it_is_too_far_ahead_of_the_committed_checkpoint() {
    let (rig, mut inbox) = Rig::telling();
    let most = AHEAD_MAX + BATCH as u64;

    (11..3_511).for_each(|sequence| rig.event(sequence, 1));
    for _ in 0..5_000 {
        tokio::task::yield_now().await;
    }
    let ahead = inbox.0.len() as u64;
    assert!((AHEAD_MAX..=most).contains(&ahead), "{ahead}");
    timeout(DEADLINE, rig.reports.notified()).await.expect("a report is asked for");
    rig.commit(2_000);

    for sequence in 11..=3_000 {
        assert_eq!(inbox.next().await.0, sequence);
    }
}

#[tokio::test]
async fn nothing_is_delivered_once_the_fence_is_down() {
    let (rig, inbox) = Rig::telling();

    rig.fence.take_down();
    rig.event(11, 1);

    let ended = timeout(DEADLINE, rig.task).await.expect("it ends").expect("no panic");
    assert_eq!(ended, Err(Fenced));
    assert!(inbox.is_empty());
}

#[tokio::test]
async fn a_fence_that_falls_between_two_events_keeps_the_second_back() {
    let (told, mut got) = mpsc::unbounded_channel();
    let fence = Arc::new(OnceLock::<Fence>::new());
    let falls = Arc::clone(&fence);
    let rig = Rig::new(|bot| {
        bot.on_event(move |context, _| {
            falls.get().expect("it is set before the first event").take_down();
            let _ = told.send(context.sequence().0);
            async {}
        })
    });
    fence.set(rig.fence.clone()).expect("it is set once");

    rig.event(11, 1);
    rig.event(12, 1);

    let ended = timeout(DEADLINE, rig.task).await.expect("it ends").expect("no panic");
    assert_eq!(ended, Err(Fenced));
    assert_eq!((got.try_recv().ok(), got.try_recv().ok()), (Some(11), None));
}

#[tokio::test]
async fn a_stop_lets_a_running_handler_finish_and_counts_it() {
    let started = Arc::new(Notify::new());
    let gate = Arc::new(Notify::new());
    let (has_started, open) = (Arc::clone(&started), Arc::clone(&gate));
    let rig = Rig::new(|bot| {
        bot.on_event(move |_, _| {
            let (started, gate) = (Arc::clone(&started), Arc::clone(&gate));
            async move {
                started.notify_one();
                gate.notified().await;
            }
        })
    });
    let progress = Arc::clone(&rig.progress);
    rig.event(11, 1);
    rig.event(12, 1);
    timeout(DEADLINE, has_started.notified()).await.expect("the handler starts");

    rig.stop.cancel();
    open.notify_one();

    rig.stop().await.expect("not fenced");
    assert_eq!(progress.lock().unwrap().handled, Sequence(11), "12 waited and is left to Discord");
}

#[tokio::test]
async fn what_a_handler_leaves_to_the_next_owner_holds_the_checkpoint() {
    let leave = CancellationToken::new();
    let left = leave.clone();
    let rig = Rig::new(|bot| {
        bot.on_event(move |context, _| {
            let leave = left.clone();
            async move {
                if context.sequence() == Sequence(12) {
                    leave.cancelled().await;
                    return Err::<(), crate::bot::HandlerError>(Unhandled.into());
                }
                Ok(())
            }
        })
    });
    let progress = Arc::clone(&rig.progress);
    rig.event(11, 1);
    rig.event(12, 2);
    rig.event(13, 3);
    rig.handled_reaches(11).await;

    rig.stop.cancel();
    leave.cancel();

    rig.stop().await.expect("not fenced");
    let progress = *progress.lock().unwrap();
    assert_eq!((progress.handled, progress.outcomes.failed), (Sequence(11), 0));
}

#[tokio::test]
async fn a_lost_session_is_told_with_its_range() {
    let mut rig = Rig::new(|bot| bot);
    let reason = LostReason::InvalidSession;
    let (session, after, received) = (SessionNumber(1), Sequence(10), Sequence(40));

    rig.intake.mark(Item::SessionLost { session, after, received, reason });

    let lost = LostRange { session, after, received, reason };
    assert_eq!(rig.next().await, Notice::SessionLost(lost));
    assert_eq!(lost.known(), 30);
    assert_eq!(*rig.log.sessions.lock().unwrap(), ["lose 1"]);
}

#[tokio::test]
async fn an_unwanted_event_counts_as_handled() {
    let wanted = EventTypeFlags::MESSAGE_CREATE;
    let (rig, inbox) = Rig::telling_with(|bot| bot.events(wanted), 1, 10, Arc::default());

    rig.event(11, 1);

    rig.handled_reaches(11).await;
    assert!(inbox.is_empty());
}
