//! `apolo dev`: a node and a simulated Discord in one process, or a cluster of processes around it, to look at.

mod bot;
mod cluster;
mod live;
mod picture;
mod recorder;
mod verdict;

use std::{fs::File, io, path::PathBuf, sync::Arc, time::Duration};

use console::Term;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Failure,
    configure::configure,
    output::{say, thousands},
    run::consumers,
};
use crate::config::{Config, NodeFlags};
use crate::consumer::PATH;
use crate::http::{self, Port};
use crate::model::{ShardTotal, Token};
use crate::node::{Node, NodeError, Options, shutdown_requested};
use crate::simulator::{self, Simulator, Truth};
use crate::telemetry;

use bot::DevBot;
use recorder::{Counts, Recorder};
use verdict::{Verdict, judge};

/// What the simulator takes for a token: any will do, and a real one is not sent to it. Consumers show it too.
const TOKEN: &str = "simulated";

/// How long the last events may take from the simulator to a handler, once it has stopped making new ones.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);

/// Between two looks at whether everything has arrived.
const SETTLE_EVERY: Duration = Duration::from_millis(50);

/// Where the log lines of a terminal session go, so that they do not tear the table apart.
const LOG_FILE: &str = "dev.log";

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Nodes, each in a process of its own where there are more than one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = nodes)]
    nodes: usize,
    /// Shards that the bot is split into
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    shards: u32,
    /// Guilds that the bot is in; at most 2,500 a shard
    #[arg(long, value_name = "N", default_value_t = 16_000)]
    guilds: u64,
    /// Events a second over the whole bot
    #[arg(long, value_name = "N", default_value_t = 500.0)]
    event_rate: f64,
    /// Identifies that Discord allows at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    max_concurrency: u32,
    /// What guilds, members and events follow from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// End by itself after this long, and say what happened; more than one node count from when every shard is connected
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    run_for: Option<Duration>,
    #[command(flatten)]
    flags: NodeFlags,
}

const EXAMPLES: &str = "\
Examples:
  apolo dev                                    16 shards, 500 events a second, until Ctrl-C
  apolo dev --for 30s                          the same for half a minute; exit status 0 if nothing was lost
  apolo dev --shards 64 --event-rate 5000      more of everything
  apolo dev --nodes 3                          a cluster: kill -9 one of its nodes, and watch its shards resume
  apolo dev --data-dir ./dev-data              keep what the node keeps, to look at

Needs no token and no Discord. Nothing leaves this machine.";

/// What a run works with.
struct Run {
    simulator: Simulator,
    node: Node,
    bot: Recorder,
    started: Instant,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let total = ShardTotal::new(arguments.shards).map_err(|e| Failure::usage(e.to_string()))?;
    check_guilds(&arguments)?;
    let simulator = Simulator::start(simulated(&arguments, total))
        .await
        .map_err(|error| Failure::failed(error.to_string()))?;
    if arguments.nodes > 1 {
        return cluster::run(&arguments, simulator).await;
    }
    let screen = Term::stderr();
    let temporary = TempDir::with_prefix("apolo-dev-")
        .map_err(|error| Failure::failed(format!("can't make a temporary directory: {error}")))?;
    let kept = arguments.flags.has("data-dir");
    let listens = arguments.flags.has("quic-addr");
    let waits = arguments.flags.has("wait-for");
    let mut config = configure(arguments.flags.or("log-level", "warn"))?;
    if !kept {
        config.data_dir = temporary.path().join("data");
    }
    if !listens {
        // Nobody joins it, and several may be looked at at once.
        config.quic_addr = ([127, 0, 0, 1], 0).into();
    }
    config.discord_api = simulator.api_url().parse().expect("the simulator's URL parses");
    config.token = Token::parse(TOKEN);
    config.bot_token = config.bot_token.or_else(|| Token::parse(TOKEN));
    if !waits {
        config.wait_for = Vec::new();
    }
    config.total_shards = Some(total);
    let log = logs(&config, &screen, &temporary)?;
    let metrics =
        telemetry::Metrics::start().map_err(|error| Failure::failed(error.to_string()))?;
    let listener = http::bind_free(Port::Http, config.http_addr).await.map_err(NodeError::Http)?;
    let bot_listener = match config.bot_addr {
        Some(address) => Some(http::bind_free(Port::Bot, address).await.map_err(NodeError::Http)?),
        None => None,
    };

    let stop = CancellationToken::new();
    tokio::spawn(shutdown_requested(stop.clone()));
    let (bot, consumers) = (Recorder::default(), consumers(&config));
    let both = DevBot { recorder: bot.clone(), consumers: Arc::new(consumers.clone()) };
    let options = Options {
        consumers: Some(consumers),
        bot_listener,
        metrics: Some(metrics),
        listener: Some(listener),
        ..Options::new(config.clone(), Arc::new(both))
    };
    let node = Node::start(options).await?;
    let run = Run { simulator, node, bot, started: Instant::now() };
    introduce(&run, &config, log)?;
    let limit = arguments.run_for.map(|span| run.started + span);
    live::watch(&run, &screen, arguments.max_concurrency, &stop, limit).await;
    finish(run).await
}

/// As many processes as a small machine can bear.
const NODES_MAX: usize = 5;

fn nodes(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=NODES_MAX).contains(number));
    number.ok_or_else(|| format!("expected a number from 1 to {NODES_MAX}"))
}

fn check_guilds(arguments: &Arguments) -> Result<(), Failure> {
    let most = u64::from(arguments.shards) * crate::model::DISCORD_GUILDS_PER_SHARD_MAX;
    if arguments.guilds <= most {
        return Ok(());
    }
    let needed = arguments.guilds.div_ceil(crate::model::DISCORD_GUILDS_PER_SHARD_MAX);
    Err(Failure::usage(format!(
        "{} guilds don't fit on {} shards: Discord allows 2,500 on each",
        thousands(arguments.guilds),
        arguments.shards
    ))
    .help(format!("Use --shards {needed} or more, or --guilds {most} or fewer.")))
}

fn simulated(arguments: &Arguments, total: ShardTotal) -> simulator::Options {
    // A large bot's day has more identifies than the thousand of a small one (Gateway docs, "Session Start Limit").
    let identifies = (2 * arguments.shards).max(1_000);
    simulator::Options {
        seed: arguments.seed,
        guilds: arguments.guilds,
        recommended_shards: total,
        event_rate: arguments.event_rate,
        max_concurrency: arguments.max_concurrency,
        session_start_total: identifies,
        session_start_remaining: identifies,
        ..simulator::Options::default()
    }
}

/// Log lines go to stderr, or to a file where a table is drawn.
fn logs(config: &Config, screen: &Term, temporary: &TempDir) -> Result<Option<PathBuf>, Failure> {
    let failed = |error: telemetry::AlreadyStarted| Failure::failed(error.to_string());
    if !screen.is_term() {
        telemetry::start_logs(config, io::stderr).map_err(failed)?;
        return Ok(None);
    }
    let path = temporary.path().join(LOG_FILE);
    let file = File::create(&path)
        .map_err(|error| Failure::failed(format!("can't write {}: {error}", path.display())))?;
    telemetry::start_logs(config, Arc::new(file)).map_err(failed)?;
    Ok(Some(path))
}

fn introduce(run: &Run, config: &Config, log: Option<PathBuf>) -> Result<(), Failure> {
    say(format_args!(
        "node       http://{} (/health /ready /metrics /api/v1/shards)",
        run.node.http_addr()
    ))?;
    say(format_args!("simulator  {}", run.simulator.api_url()))?;
    if let Some(address) = run.node.bot_addr() {
        say(format_args!("bots       ws://{address}{PATH} (with APOLO_BOT_TOKEN={TOKEN})"))?;
    }
    say(format_args!("data       {}", config.data_dir.display()))?;
    match log {
        Some(path) => say(format_args!("log        {}", path.display())),
        None => Ok(()),
    }
}

/// Stops the events, waits for the last ones, stops the node, and says what happened.
async fn finish(run: Run) -> Result<(), Failure> {
    let ran = run.started.elapsed();
    run.simulator.set_event_rate(0.0);
    let settled = Instant::now() + SETTLE_WITHIN;
    while Instant::now() < settled && judge(&run.simulator.truth(), &run.bot.counts()).missing > 0 {
        sleep(SETTLE_EVERY).await;
    }
    let draining = Instant::now();
    run.node.shutdown().await;
    let drained = draining.elapsed();
    let truth = run.simulator.truth();
    let counts = run.bot.counts();
    let verdict = judge(&truth, &counts);
    run.simulator.stop().await;
    summarise(&truth, &counts, &verdict, ran, drained)?;
    if verdict.is_good() {
        return say("nothing was lost");
    }
    Err(Failure::failed(complaint(&verdict)))
}

fn summarise(
    truth: &Truth,
    counts: &Counts,
    verdict: &Verdict,
    ran: Duration,
    drained: Duration,
) -> Result<(), Failure> {
    say("")?;
    say(format_args!(
        "ran {:.1} s, drained in {:.0} ms",
        ran.as_secs_f64(),
        drained.as_secs_f64() * 1_000.0
    ))?;
    say(format_args!(
        "events     {} sent, {} handled, {} redelivered, {} lost",
        thousands(verdict.sent),
        thousands(counts.events()),
        thousands(counts.redelivered),
        thousands(verdict.missing)
    ))?;
    say(format_args!(
        "sessions   {} identifies, {} resumes, {} dropped by Discord",
        thousands(truth.identifies_accepted + truth.identifies_refused),
        thousands(truth.resumes_accepted),
        counts.lost.len()
    ))
}

fn complaint(verdict: &Verdict) -> String {
    let mut what = Vec::new();
    if verdict.missing > 0 {
        what.push(format!("{} events were lost", thousands(verdict.missing)));
    }
    for (rule, count) in &verdict.broken {
        what.push(format!("Discord's rule {rule} was broken {count} times"));
    }
    if verdict.token_reset {
        what.push("the identify budget was overspent".to_owned());
    }
    what.join("; ")
}
