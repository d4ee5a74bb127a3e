//! `apolo simulate`: the simulated Discord alone, for any bot in any library.

use std::{
    fmt::Write as _,
    fs::File,
    io::Read as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::model::ShardTotal;
use crate::node::shutdown_requested;
use crate::simulator::{Options, Scenario, Simulator, StartError, Truth};

use super::{
    Failure,
    output::{say, say_json, thousands},
};

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The port to serve HTTP and WebSocket on; 0 takes a free one
    #[arg(long, default_value_t = 9_900)]
    port: u16,
    /// The address to listen on, by which bots reach this machine: they are told to connect there
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Guilds over the whole bot
    #[arg(long, value_name = "COUNT", default_value_t = 16_000,
          value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    guilds: u64,
    /// The number of shards that `GET /gateway/bot` recommends [default: one for 1,000 guilds]
    #[arg(long, value_name = "COUNT")]
    shards: Option<u32>,
    /// Events a second over all shards
    #[arg(long, value_name = "NUMBER", default_value_t = 500.0, value_parser = rate)]
    event_rate: f64,
    /// Shards that may identify at a time
    #[arg(long, value_name = "COUNT", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    max_concurrency: u32,
    /// Identifies in 24 hours, before every session and the token are lost
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    identifies: u32,
    /// How long a session without a connection can be resumed
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = humantime::parse_duration)]
    session_timeout: Duration,
    /// Let a heartbeat's sequence free what lies up to it in the replay buffer
    #[arg(long)]
    trim_at_heartbeat: bool,
    /// What guilds, members and events follow from
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Let go wrong what this file says, each at its time
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    /// Print what really happened as JSON at the end
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  apolo simulate --port 9900
  DISCORD_TOKEN=any DISCORD_API=http://127.0.0.1:9900/api/v10 apolo run --total-shards 16
  curl http://127.0.0.1:9900/simulator/        how to see the truth and make things go wrong

A scenario is TOML, or JSON with the same names. A step has its time since the start, and a fault, settings, or an end
to all faults, as the simulator's own page (see curl) names them:

  [[steps]]
  at_ms = 5000
  kind = \"close\"
  code = 4009
  shards = [3]

  [[steps]]
  at_ms = 20000
  event_rate = 5000.0

  [[steps]]
  at_ms = 30000
  clear = true";

/// A larger file is no scenario: one of the most steps that are read has less.
const SCENARIO_BYTES_MAX: u64 = 4 << 20;

/// How often the counters are looked at: the truth is a copy of many records.
const LOOK: Duration = Duration::from_secs(1);

/// Guilds for each recommended shard, where nobody says otherwise: what Discord seems to aim at.
const GUILDS_PER_SHARD: u64 = 1_000;

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let scenario = arguments.scenario.as_deref().map(scenario).transpose()?;
    let simulator = Simulator::start(options(&arguments)?).await.map_err(not_started)?;
    if let Some(scenario) = scenario {
        simulator.play(scenario);
    }
    say(format_args!("DISCORD_API={}", simulator.api_url()))?;
    let counters = ProgressBar::new_spinner();
    counters.set_style(
        ProgressStyle::with_template("{spinner} {elapsed} {msg}").expect("a constant template"),
    );
    let end = arguments.time.and_then(|time| Instant::now().checked_add(time));
    let stop = CancellationToken::new();
    let asked = tokio::spawn(shutdown_requested(stop.clone()));
    while !stop.is_cancelled() && end.is_none_or(|end| Instant::now() < end) {
        counters.set_message(counts(&simulator.truth()));
        counters.tick();
        let look = Instant::now() + LOOK;
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep_until(end.map_or(look, |end| look.min(end))) => {}
        }
    }
    asked.abort();
    counters.finish_and_clear();
    let truth = simulator.truth();
    simulator.stop().await;
    if arguments.json { say_json(&truth) } else { say(summary(&truth).trim_end()) }
}

fn options(arguments: &Arguments) -> Result<Options, Failure> {
    if arguments.host.is_unspecified() {
        let text = format!("--host {}: no bot can connect to that address", arguments.host);
        let advice =
            "Give the address by which bots reach this machine: they are told to connect there.";
        return Err(Failure::usage(text).help(advice));
    }
    let recommended = match arguments.shards {
        Some(shards) => {
            ShardTotal::new(shards).map_err(|error| Failure::usage(format!("--shards: {error}")))?
        }
        None => crate::model::shard_count(arguments.guilds, GUILDS_PER_SHARD),
    };
    Ok(Options {
        addr: SocketAddr::new(arguments.host, arguments.port),
        seed: arguments.seed,
        guilds: arguments.guilds,
        recommended_shards: recommended,
        event_rate: arguments.event_rate,
        max_concurrency: arguments.max_concurrency,
        session_start_total: arguments.identifies,
        session_start_remaining: arguments.identifies,
        session_timeout: arguments.session_timeout,
        trim_at_heartbeat: arguments.trim_at_heartbeat,
        ..Options::default()
    })
}

fn scenario(path: &Path) -> Result<Scenario, Failure> {
    let wrong = |reason: String| {
        Failure::usage(format!("--scenario {}: {reason}", path.display()))
            .help("`apolo simulate --help` shows how a scenario is written.")
    };
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    let mut text = String::new();
    let read = file.take(SCENARIO_BYTES_MAX + 1).read_to_string(&mut text);
    if read.map_err(|error| wrong(error.to_string()))? as u64 > SCENARIO_BYTES_MAX {
        return Err(wrong(format!("it is larger than {} MiB", SCENARIO_BYTES_MAX >> 20)));
    }
    Scenario::parse(&text).map_err(|error| wrong(error.to_string()))
}

fn not_started(error: StartError) -> Failure {
    Failure::failed(error.to_string()).help("Choose another port with --port; 0 takes a free one.")
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=1_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("expected a number from 0 to 1000000".to_owned()),
    }
}

fn counts(truth: &Truth) -> String {
    let connected = truth.sessions.iter().filter(|session| session.connected).count();
    let sent: u64 = truth.sessions.iter().map(|session| session.sent).sum();
    format!(
        "{connected} sessions connected, {} events sent, {} identifies, {} resumes, {} rules broken",
        thousands(sent),
        thousands(truth.identifies_accepted),
        thousands(truth.resumes_accepted),
        thousands(truth.broken.values().map(|broken| broken.count).sum()),
    )
}

fn summary(truth: &Truth) -> String {
    let mut text = String::new();
    let sent: u64 = truth.sessions.iter().map(|session| session.sent).sum();
    let replayed: u64 = truth.sessions.iter().map(|session| session.replayed).sum();
    let lines = [
        ("sessions", truth.sessions.len() as u64),
        ("events sent", sent),
        ("replayed", replayed),
        ("identifies accepted", truth.identifies_accepted),
        ("identifies refused", truth.identifies_refused),
        ("resumes accepted", truth.resumes_accepted),
        ("resumes refused", truth.resumes_refused),
        ("connections", truth.connections_opened),
    ];
    for (name, count) in lines {
        let _ = writeln!(text, "{name:<20} {:>12}", thousands(count));
    }
    if truth.token_reset {
        text.push_str("the day's identifies were overspent: Discord would have reset the token\n");
    }
    for (rule, broken) in &truth.broken {
        let name = serde_json::to_value(rule).ok();
        let name = name.as_ref().and_then(serde_json::Value::as_str).unwrap_or("?");
        let _ = writeln!(text, "broke {name} {} times; the last: {}", broken.count, broken.last);
    }
    if truth.broken.is_empty() {
        text.push_str("no rule was broken\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_shows_a_scenario_that_can_be_played() {
        let begin = EXAMPLES.find("[[steps]]").unwrap();

        let scenario = Scenario::parse(&EXAMPLES[begin..]).unwrap();

        assert_eq!(scenario.len(), 3);
    }
}
