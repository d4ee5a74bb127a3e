//! The command line of `apolo-chaos`: which break to make, how often, and the report. It prints; nothing below does.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the command line prints")]

mod clusters;
mod kills;
mod kubelet;
mod linear;
mod outage;
mod powerloss;

use apolo_chaos::durability::{self, Subject, WriterOptions};
use apolo_chaos::kills::{VictimOptions, victim};
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::{fmt::Display, io, path::PathBuf, process::ExitCode};

/// Breaks apolo on purpose, and says what survived.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Kills of a running node.
    Kills(kills::Arguments),
    /// Breaks of a cluster of real processes under load.
    #[command(subcommand)]
    Cluster(clusters::Break),
    /// Histories of the key-value store.
    #[command(subcommand)]
    Linear(linear::Linear),
    /// A bot that writes down what it handled: a child of what kills and stops nodes.
    #[command(hide = true)]
    Victim(VictimOptions),
    /// Power losses under a writing process.
    Powerloss(powerloss::Arguments),
    /// Appends and acknowledges until it is killed: a child of `powerloss`.
    #[command(hide = true)]
    StoreWriter(WriterOptions),
    /// Opens what is left and says what it holds: a child of `powerloss`.
    #[command(hide = true)]
    StoreCheck {
        #[arg(long)]
        subject: Subject,
        #[arg(long)]
        dir: PathBuf,
    },
}

/// Runs what the command line asks for: 0 if everything held, 1 if not, 2 for a command line that makes no sense.
pub(crate) fn run() -> ExitCode {
    match Arguments::parse().command {
        Command::Kills(arguments) => wait_for(kills::run(&arguments)),
        Command::Cluster(what) => wait_for(clusters::run(&what)),
        Command::Linear(what) => linear::run(&what),
        Command::Victim(options) => wait_for(async { ended(Box::pin(victim(&options)).await) }),
        Command::Powerloss(arguments) => powerloss::run(&arguments),
        Command::StoreWriter(options) => ended(durability::write(&options, &mut io::stdout())),
        Command::StoreCheck { subject, dir } => {
            ended(durability::check(subject, &dir, &mut io::stdout()))
        }
    }
}

/// Runs an asynchronous command to its end.
fn wait_for(command: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => ended(Err(error)),
    }
}

/// A bar for so many breaks.
fn progress(count: u64, breaks: &'static str) -> ProgressBar {
    let template = "{bar:40} {pos}/{len} {msg}, {eta} left";
    let style = ProgressStyle::with_template(template).expect("it is valid");
    ProgressBar::new(count).with_style(style).with_message(breaks)
}

/// Says on standard error what failed.
fn ended(result: Result<(), impl Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("apolo-chaos: {error}");
            ExitCode::FAILURE
        }
    }
}
