//! The rounds: start, let it run, kill, start again.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use apolo::{
    ShardTotal,
    simulator::{self, Simulator, Truth},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tempfile::TempDir;
use thiserror::Error;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use super::{
    Records,
    audit::{Audit, Life, audit},
};

/// What is killed, how often, under what load.
#[derive(Clone, Debug)]
pub struct KillOptions {
    /// The `apolo-chaos` binary.
    pub program: PathBuf,
    /// Kills.
    pub rounds: u64,
    /// Shards.
    pub shards: u32,
    /// Guilds.
    pub guilds: u64,
    /// Events a second.
    pub event_rate: f64,
    /// Chooses the moments.
    pub seed: u64,
    /// Whether the simulator trims its buffer at heartbeats.
    pub trim_at_heartbeat: bool,
    /// The simulator's heartbeat interval: short, where trimming is to be seen.
    pub heartbeat: Duration,
}

/// What the rounds came to.
#[derive(Clone, Debug)]
pub struct KillReport {
    /// Kills.
    pub rounds: u64,
    /// What became of the events.
    pub audit: Audit,
    /// IDENTIFYs over all lives.
    pub identifies: u64,
    /// RESUMEs that Discord accepted, and refused.
    pub resumes: (u64, u64),
    /// Rules of Discord's that were broken.
    pub broken: Vec<String>,
    /// From each start after a kill to the last shard's RESUMED, sorted.
    pub resumed_in: Vec<Duration>,
    /// How the last life ended when it was asked to, and how long that took.
    pub end: (ExitStatus, Duration),
    shards: u32,
}

/// Why the rounds could not be run.
#[derive(Debug, Error)]
pub enum KillError {
    /// A file or a process.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The simulator.
    #[error(transparent)]
    Simulator(#[from] simulator::StartError),
    /// Something that must come about did not.
    #[error("round {round}: {what} within {within:?}; the last lines of its log:\n{log}")]
    Late {
        /// The round.
        round: u64,
        /// What was waited for.
        what: &'static str,
        /// For how long.
        within: Duration,
        /// The log's end.
        log: String,
    },
}

/// All shards have their session back, or their first one. The first start waits out the identify schedule and sends
/// every guild, on a machine that may be busy.
const UP_WITHIN: Duration = Duration::from_secs(120);

/// The last events have been handled.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// An orderly end: the bound is 10 s.
const ENDED_WITHIN: Duration = Duration::from_secs(10);

/// A life lasts this long under load before it is killed, from and to: a kill may come amid the first replay, or after
/// several checkpoints.
const LIFE_MS: (u64, u64) = (200, 1_800);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Lines of the log that an error shows.
const LOG_LINES: usize = 15;

/// Runs the rounds. `told` hears of each that is over.
///
/// # Errors
///
/// [`KillError`]. What was found is no error: see [`KillReport::holds`].
pub async fn kills(options: &KillOptions, told: impl Fn(u64)) -> Result<KillReport, KillError> {
    let directory = TempDir::new()?;
    let simulator = Simulator::start(simulated(options)).await?;
    let mut rng = StdRng::seed_from_u64(options.seed);
    let mut lives = Vec::new();
    let mut resumed_in = Vec::new();
    for round in 0..=options.rounds {
        let started = Instant::now();
        let began_ms = simulator.truth().at_ms;
        let mut child = spawn(options, &simulator, directory.path(), round)?;
        lives.push(Life { began_ms, ..Life::default() });
        wait(round, "the shards are up", UP_WITHIN, directory.path(), || {
            is_up(&simulator.truth(), options.shards, began_ms)
        })
        .await?;
        if round > 0 {
            resumed_in.push(started.elapsed());
        }
        if round == options.rounds {
            let end = finish(&simulator, &mut child, directory.path(), &mut lives, round).await?;
            let truth = simulator.truth();
            resumed_in.sort_unstable();
            simulator.stop().await;
            return Ok(report(options, &lives, &truth, resumed_in, end));
        }
        // The moment of the kill is what the rounds vary.
        sleep(Duration::from_millis(rng.random_range(LIFE_MS.0..LIFE_MS.1))).await;
        child.start_kill()?;
        child.wait().await?;
        told(round + 1);
    }
    unreachable!("the last round returns")
}

fn simulated(options: &KillOptions) -> simulator::Options {
    simulator::Options {
        seed: options.seed,
        guilds: options.guilds,
        recommended_shards: ShardTotal::new(options.shards).unwrap_or(ShardTotal::ONE),
        event_rate: options.event_rate,
        trim_at_heartbeat: options.trim_at_heartbeat,
        heartbeat_interval: options.heartbeat,
        ..simulator::Options::default()
    }
}

fn records(directory: &Path, round: u64) -> PathBuf {
    directory.join(format!("records-{round}"))
}

fn log(directory: &Path, round: u64) -> PathBuf {
    directory.join(format!("log-{round}"))
}

fn spawn(
    options: &KillOptions,
    simulator: &Simulator,
    directory: &Path,
    round: u64,
) -> io::Result<Child> {
    let log = std::fs::File::create(log(directory, round))?;
    Command::new(&options.program)
        .arg("victim")
        .arg("--records")
        .arg(records(directory, round))
        .env_clear()
        .env("DISCORD_TOKEN", "victim")
        .env("DISCORD_API", simulator.api_url())
        .env("APOLO_DATA_DIR", directory.join("data"))
        .env("APOLO_HTTP_ADDR", "127.0.0.1:0")
        .env("APOLO_QUIC_ADDR", "127.0.0.1:0")
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
}

/// Every shard has a session with a connection of this life.
fn is_up(truth: &Truth, shards: u32, began_ms: u64) -> bool {
    let up = truth.connections.iter().filter(|connection| {
        connection.closed_ms.is_none() && connection.established_ms.is_some_and(|at| at >= began_ms)
    });
    up.count() >= shards as usize
}

async fn wait(
    round: u64,
    what: &'static str,
    within: Duration,
    directory: &Path,
    mut done: impl FnMut() -> bool,
) -> Result<(), KillError> {
    let until = async {
        while !done() {
            sleep(LOOK_EVERY).await;
        }
    };
    timeout(within, until).await.map_err(|_| {
        let text = std::fs::read_to_string(log(directory, round)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let log = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        KillError::Late { round, what, within, log }
    })
}

/// Stops the events, waits for the last one, asks the process to end, and reads what all lives wrote.
async fn finish(
    simulator: &Simulator,
    child: &mut Child,
    directory: &Path,
    lives: &mut [Life],
    round: u64,
) -> Result<(ExitStatus, Duration), KillError> {
    simulator.set_event_rate(0.0);
    // A session that Discord dropped has lost events for good; the others must settle.
    let settled = wait(round, "everything is handled", SETTLED_WITHIN, directory, || {
        read(lives, directory);
        let audit = audit(lives, &simulator.truth());
        audit.lost == audit.told
    })
    .await;
    if let Err(late) = settled {
        // What is missing is the report's to tell.
        drop(late);
    }
    let asked = Instant::now();
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(id),
            nix::sys::signal::Signal::SIGTERM,
        );
    }
    let status = timeout(ENDED_WITHIN, child.wait()).await.map_err(|_| KillError::Late {
        round,
        what: "the process ends",
        within: ENDED_WITHIN,
        log: std::fs::read_to_string(log(directory, round)).unwrap_or_default(),
    })??;
    read(lives, directory);
    Ok((status, asked.elapsed()))
}

fn read(lives: &mut [Life], directory: &Path) {
    for (round, life) in (0..).zip(lives) {
        if let Ok(records) = Records::open(&records(directory, round)) {
            life.records = records.collect();
        }
    }
}

fn report(
    options: &KillOptions,
    lives: &[Life],
    truth: &Truth,
    resumed_in: Vec<Duration>,
    end: (ExitStatus, Duration),
) -> KillReport {
    KillReport {
        rounds: options.rounds,
        audit: audit(lives, truth),
        identifies: truth.identifies_accepted + truth.identifies_refused,
        resumes: (truth.resumes_accepted, truth.resumes_refused),
        broken: truth
            .broken
            .iter()
            .map(|(rule, broken)| format!("{rule:?} × {}: {}", broken.count, broken.last))
            .collect(),
        resumed_in,
        end,
        shards: options.shards,
    }
}

impl KillReport {
    /// Whether everything held that must: nothing lost, nothing identified anew, every second delivery marked and
    /// behind the checkpoint, no rule broken, an orderly end.
    #[must_use]
    pub fn holds(&self) -> bool {
        let Audit { lost, unmarked, below_checkpoint, unknown_sessions, .. } = self.audit;
        [lost, unmarked, below_checkpoint, unknown_sessions].iter().all(|count| *count == 0)
            && self.identifies == u64::from(self.shards)
            && self.resumes == (u64::from(self.shards) * self.rounds, 0)
            && self.broken.is_empty()
            && self.end.0.success()
    }

    fn percentile(&self, percent: usize) -> Duration {
        let last = self.resumed_in.len().saturating_sub(1);
        self.resumed_in.get(last * percent / 100).copied().unwrap_or_default()
    }
}

impl fmt::Display for KillReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Audit { sent, handled, lost, told, twice, unmarked, below_checkpoint, .. } = self.audit;
        writeln!(f, "kills              {}", self.rounds)?;
        writeln!(f, "events sent        {sent}")?;
        writeln!(f, "handled            {handled}, {twice} of them twice")?;
        writeln!(f, "lost               {lost}, of {told} the bot was told")?;
        writeln!(f, "twice, not marked  {unmarked}")?;
        writeln!(f, "twice, too early   {below_checkpoint}")?;
        writeln!(f, "identifies         {} for {} shards", self.identifies, self.shards)?;
        writeln!(f, "resumes            {} accepted, {} refused", self.resumes.0, self.resumes.1)?;
        let (p50, p99) = (self.percentile(50), self.percentile(99));
        let max = self.resumed_in.last().copied().unwrap_or_default();
        writeln!(
            f,
            "start to RESUMED   p50 {p50:.0?}, p99 {p99:.0?}, max {max:.0?} (n = {}, all shards)",
            self.resumed_in.len()
        )?;
        writeln!(f, "orderly end        {} in {:.0?}", self.end.0, self.end.1)?;
        for rule in &self.broken {
            writeln!(f, "rule broken        {rule}")?;
        }
        Ok(())
    }
}
