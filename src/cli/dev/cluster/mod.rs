//! `apolo dev --nodes N`: a cluster of real processes and a simulated Discord, to kill nodes of.
//!
//! It promises that no process outlives it, though it be killed, that every wait ends, and exit status 0 only
//! where the simulator and the cluster's last checkpoints agree that nothing was lost.

mod child;
mod deaths;
mod finish;
mod poll;
mod table;
mod verdict;

use std::{path::Path, time::Duration};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tempfile::TempDir;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{Arguments, TOKEN, logs, picture::Picture};
use crate::cli::{Failure, ca, client::Client, configure::configure, output::say};
use crate::model::Sequence;
use crate::node::identify_time;
use crate::simulator::Simulator;

use child::{Child, free_addresses};
use deaths::Deaths;
use poll::{Seen, poll};
use verdict::{connected, judge};

/// Between two looks at the processes and the simulator. A time to resume is at most this wrong.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Between two drawings on a terminal.
const DRAW_EVERY: Duration = Duration::from_millis(500);

/// Between two lines where there is no terminal.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How long the nodes may take to find each other and to connect every shard, beside the time that identifies take.
const START_WITHIN: Duration = Duration::from_secs(90);

/// Settings that each node gets from `dev` and not from its flags.
const OWN_SETTINGS: &[&str] = &[
    "data-dir",
    "name",
    "http-addr",
    "quic-addr",
    "bot-addr",
    "wait-for",
    "peers",
    "discover",
    "expect",
    "ca-dir",
    "join-token-file",
    "discord-api",
    "total-shards",
    "log-level",
];

/// What a run works with.
struct Run {
    simulator: Simulator,
    children: Vec<Child>,
    seen: watch::Receiver<Seen>,
    deaths: Deaths,
    total: usize,
    picture: Picture,
    started: Instant,
}

pub(super) async fn run(arguments: &Arguments, simulator: Simulator) -> Result<(), Failure> {
    let temporary = TempDir::with_prefix("apolo-dev-")
        .map_err(|error| Failure::failed(format!("can't make a temporary directory: {error}")))?;
    let screen = Term::stderr();
    let config = configure(arguments.flags.clone().or("log-level", "warn"))?;
    let log = logs(&config, &screen, &temporary)?;
    let kept = arguments.flags.has("data-dir");
    let root = if kept { config.data_dir.as_path() } else { temporary.path() };
    let (stop, at_once) = (CancellationToken::new(), CancellationToken::new());
    tokio::spawn(interrupted(stop.clone(), at_once.clone()));

    let mut children = plan(arguments, &simulator, root)?;
    let mut clients = Vec::with_capacity(children.len());
    for child in &children {
        let mut config = config.clone();
        config.endpoint = format!("http://{}", child.addr).parse().ok();
        clients.push(Client::new(&config)?);
    }
    say(format_args!("simulator  {}", simulator.api_url()))?;
    say(format_args!("data       {}", root.display()))?;
    if let Some(log) = log {
        say(format_args!("log        {}", log.display()))?;
    }
    for child in &mut children {
        let pid = child.start(TOKEN)?;
        say(format_args!("{:<10} http://{}  pid {pid}  kill -9 {pid}", child.name, child.addr))?;
    }
    let again = deaths::START_AGAIN_AFTER.as_secs();
    say(format_args!(
        "Kill a node and watch its shards resume; it is started again after {again} s."
    ))?;
    let (sender, seen) = watch::channel(Seen::default());
    tokio::spawn(poll(clients, sender));
    let run = Run {
        simulator,
        children,
        seen,
        deaths: Deaths::default(),
        total: arguments.shards as usize,
        picture: Picture::new(screen),
        started: Instant::now(),
    };
    // Whichever way this ends, the children are dropped with it, and so they end.
    tokio::select! {
        result = live(run, arguments, &stop) => result,
        () = at_once.cancelled() => Err(Failure::failed("asked a second time: ended at once")),
    }
}

async fn live(
    mut run: Run,
    arguments: &Arguments,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    run.come_up(arguments, stop).await?;
    let limit = arguments.run_for.map(|span| Instant::now() + span);
    run.watch(stop, limit).await?;
    finish::finish(run).await
}

/// The nodes, their addresses and their authority.
fn plan(arguments: &Arguments, simulator: &Simulator, root: &Path) -> Result<Vec<Child>, Failure> {
    let failed = |what: &str, error: std::io::Error| Failure::failed(format!("{what}: {error}"));
    let authority = root.join("ca");
    if !authority.is_dir() {
        std::fs::create_dir_all(root)
            .map_err(|error| failed(&format!("can't make {}", root.display()), error))?;
        ca::create(&authority)?;
    }
    let addresses = free_addresses(arguments.nodes)
        .map_err(|error| failed("can't find free ports on 127.0.0.1", error))?;
    let mut words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    words.extend(arguments.flags.words(OWN_SETTINGS));
    words.extend([
        format!("--expect={}", arguments.nodes),
        format!("--ca-dir={}", authority.display()),
        format!("--discord-api={}", simulator.api_url()),
        format!("--total-shards={}", arguments.shards),
        "--log-level=info".to_owned(),
    ]);
    let child = |(nth, addr)| {
        let name = format!("node-{}", nth + 1);
        let dir = root.join(&name);
        Child::new(name, addr, dir, &words)
    };
    Ok(addresses.into_iter().enumerate().map(child).collect())
}

/// Cancels `stop` at the first signal that asks for the end, and `at_once` at the second.
async fn interrupted(stop: CancellationToken, at_once: CancellationToken) {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else {
        tracing::warn!("signals can't be caught");
        return;
    };
    for ask in [stop, at_once] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        ask.cancel();
    }
}

impl Run {
    /// Until every shard is connected.
    async fn come_up(
        &mut self,
        arguments: &Arguments,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let identifies = identify_time(arguments.shards, arguments.max_concurrency);
        let deadline = self.started + START_WITHIN + 2 * identifies;
        let bar = self.bar();
        bar.set_message("the nodes look for each other");
        let mut ticks = looks();
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            let (up, message) = (connected(&self.simulator.truth()), self.waits_for());
            if up > 0 {
                bar.set_message(format!("{} identifies at a time", arguments.max_concurrency));
            } else if let Some(message) = message {
                bar.set_message(message);
            }
            bar.set_position(up as u64);
            if let Some((child, status)) = deaths::first_ended(&mut self.children) {
                bar.finish_and_clear();
                return Err(Failure::failed(format!("{} ended: {status}", child.name))
                    .help(child.log_tail()));
            }
            if up == self.total && self.all_kept() {
                bar.finish_and_clear();
                let took = self.started.elapsed().as_secs_f64();
                return say(format_args!("ready      {up} shards in {took:.1} s"));
            }
            if Instant::now() >= deadline {
                bar.finish_and_clear();
                let span = (deadline - self.started).as_secs();
                let tails: Vec<_> = self.children.iter().map(Child::log_tail).collect();
                return Err(Failure::failed(format!(
                    "{up} of {} shards are connected after {span} s",
                    self.total
                ))
                .help(tails.join("\n")));
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Whether every shard's session is committed: one that its node alone knows would die with it.
    fn all_kept(&self) -> bool {
        let seen = self.seen.borrow();
        let shards = seen.view.as_ref().map_or(&[][..], |view| &view.shards);
        shards.len() == self.total && shards.iter().all(|row| row.checkpoint > Sequence(0))
    }

    fn bar(&self) -> ProgressBar {
        let target = if self.picture.is_term() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(self.total as u64), target);
        let style = ProgressStyle::with_template("shards     {bar:30} {pos}/{len}  {msg}");
        bar.set_style(style.expect("a constant template"));
        bar
    }

    fn waits_for(&self) -> Option<String> {
        self.seen.borrow().waiting.clone()
    }

    /// The table, until `stop` or the end of the run.
    async fn watch(
        &mut self,
        stop: &CancellationToken,
        limit: Option<Instant>,
    ) -> Result<(), Failure> {
        let every = if self.picture.is_term() { DRAW_EVERY } else { TELL_EVERY };
        let (mut next_draw, mut last) = (Instant::now(), None);
        let mut ticks = looks();
        while !stop.is_cancelled() && limit.is_none_or(|limit| Instant::now() < limit) {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            self.tend()?;
            let now = Instant::now();
            if now >= next_draw {
                next_draw = now + every;
                last = Some(self.draw(last, now)?);
            }
        }
        self.picture.clear();
        Ok(())
    }

    /// Starts what has died again, and tells what has happened.
    fn tend(&mut self) -> Result<(), Failure> {
        let truth = self.simulator.truth();
        let view = self.seen.borrow().view.clone();
        let lines = self.deaths.tend(&mut self.children, view.as_ref(), &truth, self.total)?;
        if !lines.is_empty() {
            self.picture.clear();
        }
        lines.into_iter().try_for_each(say)
    }

    fn draw(
        &mut self,
        last: Option<(Instant, u64)>,
        now: Instant,
    ) -> Result<(Instant, u64), Failure> {
        let truth = self.simulator.truth();
        let seen = self.seen.borrow().clone();
        let verdict = judge(&truth, &seen.checkpoints);
        let rate = last.map_or(0.0, |(at, sent)| {
            verdict.sent.saturating_sub(sent) as f64 / now.duration_since(at).as_secs_f64()
        });
        let sum = table::sum(&truth, &verdict, self.total, rate);
        if self.picture.is_term() {
            let rows = self.picture.rows(table::other_lines(self.children.len()));
            let tables = table::tables(&self.children, seen.view.as_ref(), rows);
            self.picture.show(&format!("\n{tables}\n\n{sum}\nCtrl-C drains and ends"));
        } else {
            say(sum)?;
        }
        Ok((now, verdict.sent))
    }
}

fn looks() -> tokio::time::Interval {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}
