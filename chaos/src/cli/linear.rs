//! Checks of histories that were kept.

use apolo_chaos::linear::{History, check};
use std::{path::PathBuf, process::ExitCode, time::Duration};

use super::ended;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Linear {
    /// Looks for an order of a history's operations, key by key.
    Check {
        /// The history, as `cluster linear` keeps those that do not hold.
        file: PathBuf,
        /// Seconds that the search may take.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

pub(super) fn run(what: &Linear) -> ExitCode {
    let Linear::Check { file, seconds } = what;
    let history = match History::load(file) {
        Ok(history) => history,
        Err(error) => return ended(Err(format!("{}: {error}", file.display()))),
    };
    let verdict = check(&history, Duration::from_secs(*seconds));
    println!("{} operations: {verdict}", history.0.len());
    if verdict.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
