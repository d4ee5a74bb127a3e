use super::{ended, progress};
use apolo_chaos::{
    durability::{self, ChildError, Report, RoundOptions, Subject, SweepOptions},
    powerloss::available,
};
use indicatif::ProgressBar;
use std::{env, process::ExitCode};

/// Power losses under a writing process.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Power losses at random moments.
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// Chooses moments and losses; the report names it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What is put to the test.
    #[arg(long, default_value = "store")]
    subject: Subject,
    /// Takes every storage operation of a scripted workload of this many entries instead of random moments.
    #[arg(long, value_name = "ENTRIES")]
    sweep: Option<u64>,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    if let Err(reason) = available() {
        return ended(Err(reason));
    }
    let bar = progress(arguments.rounds, "power cuts");
    let report = measure(arguments, &bar);
    bar.finish_and_clear();
    match report {
        Ok(report) => {
            println!("{:?}, seed {}\n{report}", arguments.subject, arguments.seed);
            if report.is_safe() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => ended(Err(error)),
    }
}

fn measure(arguments: &Arguments, bar: &ProgressBar) -> Result<Report, ChildError> {
    let program = env::current_exe()?;
    let Arguments { rounds, seed, subject, sweep } = *arguments;
    match sweep {
        None => durability::rounds(&RoundOptions { program, subject, rounds, seed }, |round| {
            bar.set_position(round)
        }),
        Some(entries) => {
            let options = SweepOptions { program, subject, entries, points_max: u64::MAX, seed };
            durability::sweep(&options, |done, points| {
                bar.set_length(points);
                bar.set_position(done);
            })
        }
    }
}
