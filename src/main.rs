//! The apolo binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    apolo::cli::run()
}
