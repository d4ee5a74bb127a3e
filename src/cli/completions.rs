//! `apolo completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Failure, output::say_bytes};

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  apolo completions bash > /usr/share/bash-completion/completions/apolo"
)]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "apolo", &mut script);
    say_bytes(&script)
}
