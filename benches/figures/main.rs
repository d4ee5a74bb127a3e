//! The figures of the README, side by side in one run: `cargo bench --bench figures`.
//!
//! A table on stdout; `--json FILE` writes the same as JSON. `--only` takes groups of figures, `--rounds` repeats each
//! measurement. Node and simulator share the machine, so what the simulator costs is part of every figure but the
//! resident memory.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod child;
mod memory;
mod recording;
mod replay;
mod report;
mod scale;
mod starts;
mod throughput;
mod volume;

use std::{fs, path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};

use report::Report;

/// What a benchmark may fail with: it stops, and says why.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures apolo.
#[derive(Debug, Parser)]
#[command(name = "figures", after_help = MEANING)]
struct Options {
    /// Only these groups.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Group>,
    /// How often each measurement is repeated.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Writes the figures to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Only repeats this run of the throughput, for a profiler: bare-typed, bare-raw, apolo-typed or apolo-raw.
    #[arg(long, hide = true)]
    profile: Option<String>,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

const MEANING: &str = "\
What the figures of the cluster mean:
  scale        the time that the planner and the state take with 1,000 nodes and 16,384 shards, the bytes of a snapshot,
               and what the checkpoints of a tick put into the log if every shard has progressed.";

/// Groups of figures.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Group {
    /// Events a second from the socket to a handler, beside a bare twilight-gateway loop.
    Throughput,
    /// Resident memory of an idle shard.
    Memory,
    /// From start to READY, and from a kill to RESUMED, with 64 shards.
    Starts,
    /// 448 shards with 1,000,000 guilds.
    Volume,
    /// Planner, state and log of 1,000 nodes with 16,384 shards: pure functions on one core.
    Scale,
}

fn main() -> ExitCode {
    let options = Options::parse();
    told(measure(&options).map(|report| println!("{}", report.table())))
}

fn told(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("figures: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<Report, Failure> {
    let mut report = Report::default();
    let wanted = |group| options.only.is_empty() || options.only.contains(&group);
    let rounds = options.rounds;
    if let Some(name) = &options.profile {
        throughput::profile(&mut report, name, rounds)?;
        return Ok(report);
    }
    // The children's memory is measured first, before this process has any of its own to press upon them.
    if wanted(Group::Memory) {
        memory::measure(&mut report, rounds)?;
    }
    if wanted(Group::Throughput) {
        throughput::measure(&mut report, rounds)?;
    }
    if wanted(Group::Starts) {
        starts::measure(&mut report, rounds)?;
    }
    if wanted(Group::Volume) {
        volume::measure(&mut report)?;
    }
    if wanted(Group::Scale) {
        scale::measure(&mut report, rounds)?;
    }
    if let Some(file) = &options.json {
        fs::write(file, report.json()?)?;
    }
    Ok(report)
}
