use super::{ended, progress};
use apolo_chaos::clusters::{ClusterOptions, cluster_kills};
use std::{env, process::ExitCode};

/// `kill -9` of nodes of a cluster under load, the leader and the owner of most shards in turn.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Nodes.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Kills.
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// Shards.
    #[arg(long, default_value_t = 48)]
    shards: u32,
    /// Guilds.
    #[arg(long, default_value_t = 4_800)]
    guilds: u64,
    /// Events a second.
    #[arg(long, default_value_t = 5_000.0)]
    event_rate: f64,
}

pub(super) async fn run(arguments: &Arguments) -> ExitCode {
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return ended(Err(error)),
    };
    let bar = progress(arguments.rounds as u64, "kills");
    let options = ClusterOptions {
        program,
        nodes: arguments.nodes,
        kills: arguments.rounds,
        shards: arguments.shards,
        guilds: arguments.guilds,
        event_rate: arguments.event_rate,
    };
    let report = cluster_kills(&options, |round| bar.set_position(round as u64)).await;
    bar.finish_and_clear();
    match report {
        Ok(report) => {
            println!("{report}");
            if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => ended(Err(error)),
    }
}
