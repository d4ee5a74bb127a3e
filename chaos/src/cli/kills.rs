use super::{ended, progress};
use apolo_chaos::kills::{KillOptions, kills};
use std::{env, process::ExitCode, time::Duration};

/// `kill -9` under load, and what survived.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Kills.
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// Chooses the moments; the report names it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Shards.
    #[arg(long, default_value_t = 16)]
    shards: u32,
    /// Guilds.
    #[arg(long, default_value_t = 40_000)]
    guilds: u64,
    /// Events a second.
    #[arg(long, default_value_t = 5_000.0)]
    event_rate: f64,
    /// Let the simulator forget what a heartbeat acknowledged: losses are then counted, since Discord does not document
    /// whether it does so.
    #[arg(long)]
    trim_at_heartbeat: bool,
    /// The simulator's heartbeat interval.
    #[arg(long, value_name = "MS", default_value_t = 41_250)]
    heartbeat_ms: u64,
}

pub(super) async fn run(arguments: &Arguments) -> ExitCode {
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return ended(Err(error)),
    };
    let bar = progress(arguments.rounds, "kills");
    let options = KillOptions {
        program,
        rounds: arguments.rounds,
        shards: arguments.shards,
        guilds: arguments.guilds,
        event_rate: arguments.event_rate,
        seed: arguments.seed,
        trim_at_heartbeat: arguments.trim_at_heartbeat,
        heartbeat: Duration::from_millis(arguments.heartbeat_ms),
    };
    let report = kills(&options, |round| bar.set_position(round)).await;
    bar.finish_and_clear();
    match report {
        Ok(report) => {
            println!("seed {}\n{report}", arguments.seed);
            if report.holds() || arguments.trim_at_heartbeat {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => ended(Err(error)),
    }
}
