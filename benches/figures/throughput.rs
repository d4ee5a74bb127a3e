//! Events a second from the socket to a handler, on one core, beside a bare twilight-gateway loop on the same stream.
//!
//! Each round runs all four, one after the other, on a runtime of one thread. apolo is the whole node: supervisor,
//! queue, deliverer, checkpoints through Raft and sled, HTTP. The bare loop is what a bot without it would write.

use std::{
    hint::black_box,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use apolo::{
    EventTypeFlags, Node, Sequence, ShardTotal, Token,
    bot::ClosureBot,
    config::Config,
    node::Options as NodeOptions,
    simulator::{Fault, GatewayBot, Options, Simulator},
};
use futures_util::StreamExt as _;
use tempfile::TempDir;
use tokio::{
    runtime::Builder,
    sync::oneshot,
    task::JoinSet,
    time::{sleep, timeout},
};
use twilight_gateway::{ConfigBuilder, Intents, ShardId, StreamExt as _, queue::Queue};

use crate::{
    Failure,
    recording::{INTENTS, Recording, SHARDS, Shard, WARM_UP},
    replay::Replay,
    report::{Goal, Report},
};

/// A run that takes longer has got stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// What runs.
#[derive(Clone, Copy, Debug)]
enum Subject {
    Bare,
    Apolo,
}

/// What a handler gets.
#[derive(Clone, Copy, Debug)]
enum Form {
    Typed,
    Raw,
}

/// Repeats one run.
pub(crate) fn profile(report: &mut Report, name: &str, rounds: u32) -> Result<(), Failure> {
    let (subject, form) = match name {
        "bare-typed" => (Subject::Bare, Form::Typed),
        "bare-raw" => (Subject::Bare, Form::Raw),
        "apolo-typed" => (Subject::Apolo, Form::Typed),
        "apolo-raw" => (Subject::Apolo, Form::Raw),
        other => return Err(format!("no run is called {other}").into()),
    };
    let recording = Arc::new(record()?);
    let rates = (0..rounds).map(|_| rate(&recording, subject, form)).collect::<Result<_, _>>()?;
    report.add(name, "1/s", None, rates);
    Ok(())
}

fn record() -> Result<Recording, Failure> {
    eprintln!("recording {SHARDS} shards");
    Builder::new_multi_thread().enable_all().build()?.block_on(Recording::take())
}

pub(crate) fn measure(report: &mut Report, rounds: u32) -> Result<(), Failure> {
    let recording = Arc::new(record()?);
    let (events, mb) = (recording.events(), recording.bytes() as f64 / 1e6);
    eprintln!("throughput over {SHARDS} shards, {events} events, {mb:.1} MB, {rounds} rounds");
    for form in [Form::Typed, Form::Raw] {
        let (mut bare, mut apolo, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            // Whoever goes second may find warmer caches: they take turns.
            let (bare_rate, apolo_rate) = if round % 2 == 0 {
                let bare = rate(&recording, Subject::Bare, form)?;
                (bare, rate(&recording, Subject::Apolo, form)?)
            } else {
                let apolo = rate(&recording, Subject::Apolo, form)?;
                (rate(&recording, Subject::Bare, form)?, apolo)
            };
            ratios.push(apolo_rate / bare_rate);
            bare.push(bare_rate);
            apolo.push(apolo_rate);
        }
        let name = match form {
            Form::Typed => "typed events",
            Form::Raw => "raw events",
        };
        report.add(format!("{name}, bare twilight-gateway"), "1/s", None, bare);
        report.add(format!("{name}, apolo"), "1/s", None, apolo);
        report.add(format!("{name}, apolo to bare"), "ratio", Some(Goal::AtLeast(0.95)), ratios);
    }
    Ok(())
}

/// One run: events a second, from the opening of the gate to the last event in a handler.
fn rate(recording: &Arc<Recording>, subject: Subject, form: Form) -> Result<f64, Failure> {
    let replay = Replay::start(Arc::clone(recording))?;
    let progress = Arc::new(Progress::of(recording));
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let took = runtime.block_on(async {
        match subject {
            Subject::Bare => bare(&replay, &progress, form).await,
            Subject::Apolo => apolo(&replay, &progress, form).await,
        }
    })?;
    Ok(recording.events() as f64 / took.as_secs_f64())
}

/// How far the handlers have come.
#[derive(Debug)]
struct Progress {
    /// The last sequence of each shard.
    last: Vec<u64>,
    warm: AtomicUsize,
    finished: AtomicUsize,
    done: Mutex<Option<oneshot::Sender<Instant>>>,
}

impl Progress {
    fn of(recording: &Recording) -> Self {
        Self {
            last: recording.shards.iter().map(Shard::last).collect(),
            warm: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
            done: Mutex::default(),
        }
    }

    /// A shard has handled its warm-up.
    fn warm(&self) {
        self.warm.fetch_add(1, Ordering::Relaxed);
    }

    /// A handler has come to this sequence of its shard.
    fn handled(&self, shard: u32, sequence: u64) {
        if sequence == self.last[shard as usize]
            && self.finished.fetch_add(1, Ordering::Relaxed) + 1 == self.last.len()
            && let Some(done) = self.done.lock().expect("not poisoned").take()
        {
            let _ = done.send(Instant::now());
        }
    }

    /// Opens the gate once all shards are warm, and waits for the last event.
    async fn run(&self, replay: &Replay) -> Result<Duration, Failure> {
        let warm = async {
            while self.warm.load(Ordering::Relaxed) < self.last.len() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, warm).await.map_err(|_| "not all shards handled their warm-up")?;
        let (done, end) = oneshot::channel();
        *self.done.lock().expect("not poisoned") = Some(done);
        // What a start leaves to be done is no part of the figure.
        sleep(Duration::from_millis(500)).await;
        let began = Instant::now();
        replay.open();
        let end = timeout(PATIENCE, end).await;
        let finished = self.finished.load(Ordering::Relaxed);
        let end = end.map_err(|_| format!("{finished} of {SHARDS} shards came to their end"))??;
        Ok(end - began)
    }
}

/// Leave for everyone at once: the gateway is no Discord.
#[derive(Debug)]
struct Free;

impl Queue for Free {
    fn enqueue(&self, _shard: u32) -> oneshot::Receiver<()> {
        let (leave, granted) = oneshot::channel();
        let _ = leave.send(());
        granted
    }
}

async fn bare(replay: &Replay, progress: &Arc<Progress>, form: Form) -> Result<Duration, Failure> {
    let intents = Intents::from_bits_truncate(INTENTS);
    let mut loops = JoinSet::new();
    for id in 0..SHARDS {
        let config = ConfigBuilder::new("a.benchmark.token".to_owned(), intents)
            .proxy_url(replay.url())
            .queue(Free)
            .build();
        let shard = twilight_gateway::Shard::with_config(ShardId::new(id, SHARDS), config);
        loops.spawn(bare_loop(shard, Arc::clone(progress), form));
    }
    progress.run(replay).await
}

async fn bare_loop(mut shard: twilight_gateway::Shard<Free>, progress: Arc<Progress>, form: Form) {
    let id = shard.id().number();
    let mut is_warm = false;
    loop {
        // A type that twilight can't decode comes as an error, and is an event all the same.
        match form {
            Form::Typed => drop(black_box(shard.next_event(EventTypeFlags::all()).await)),
            Form::Raw => drop(black_box(shard.next().await)),
        }
        if let Some(session) = shard.session() {
            progress.handled(id, session.sequence());
            if !is_warm && session.sequence() >= WARM_UP as u64 {
                is_warm = true;
                progress.warm();
            }
        }
    }
}

async fn apolo(replay: &Replay, progress: &Arc<Progress>, form: Form) -> Result<Duration, Failure> {
    let directory = TempDir::new()?;
    let recommended_shards = ShardTotal::new(SHARDS)?;
    let options = Options { recommended_shards, event_rate: 0.0, ..Options::default() };
    // It answers the REST calls; the gateway is the replay.
    let rest = Simulator::start(options).await?;
    rest.inject(Fault::GatewayBot { answer: GatewayBot::Url(replay.url()) })?;
    let handled = Arc::clone(progress);
    let mut bot = ClosureBot::default().on_event(move |context, event| {
        black_box(&event);
        if context.sequence() == Sequence(WARM_UP as u64) {
            handled.warm();
        }
        handled.handled(context.shard().0, context.sequence().0);
        async {}
    });
    if matches!(form, Form::Raw) {
        bot = bot.raw();
    }
    let mut config = Config::default();
    config.data_dir = directory.path().to_owned();
    config.http_addr = ([127, 0, 0, 1], 0).into();
    config.quic_addr = ([127, 0, 0, 1], 0).into();
    config.discord_api = rest.api_url().parse()?;
    config.token = Token::parse("a.benchmark.token");
    let node = Node::start(NodeOptions::new(config, Arc::new(bot))).await?;
    let took = progress.run(replay).await;
    node.shutdown().await;
    took
}
