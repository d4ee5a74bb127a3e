//! The runner of apolo's chaos tests.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
