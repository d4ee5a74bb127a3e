//! What was typed, what was meant, and one command for it.
//!
//! It promises exit status 0 where the command did what it says, 1 where it failed, and 64 where it could not have
//! been meant (usage or configuration), and that every error says what would be right. Tables and JSON go to stdout,
//! errors and log lines to stderr. It is the only folder that prints.

mod backup;
mod bench;
mod ca;
mod changes;
mod client;
mod completions;
mod configure;
mod dev;
mod distribution;
mod doctor;
mod events;
mod failure;
mod health;
mod join;
mod kv;
mod leave;
mod man;
mod output;
mod recover;
mod run;
mod shards;
mod simulate;
mod status;
mod tether;
mod token;
mod unhalt;
mod version;

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand};

use failure::{Failure, USAGE};

/// Runs a Discord bot's gateway shards as one highly available service, with no external state store.
#[derive(Debug, Parser)]
#[command(
    name = "apolo",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = EXAMPLES
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node: hold the bot's shards, and resume them after a restart
    Run(run::Arguments),
    /// Run a node of a cluster: find the others, form a cluster or join theirs, take a share of the shards
    Join(join::Arguments),
    /// Run a node against a simulated Discord, to look at; needs no token
    Dev(dev::Arguments),
    /// Run the Discord simulator alone, for any bot in any library
    Simulate(simulate::Arguments),
    /// Show how the node and its cluster are
    Status(status::Arguments),
    /// Show every shard: where it runs, what it is doing, how far it is
    Shards(shards::Arguments),
    /// Show what happened: nodes that came and went, shards that moved, failovers and how long they took
    Events(events::Arguments),
    /// Hand a node's shards to the others, one RESUME each, and give it none until `undrain`
    #[command(after_help = changes::DRAIN)]
    Drain(changes::NodeArguments),
    /// Let a node take its part again
    #[command(after_help = changes::UNDRAIN)]
    Undrain(changes::NodeArguments),
    /// Hand a shard to a node
    Move(changes::MoveArguments),
    /// Have a shard, or all, drop the connection and the handlers, and resume
    Respawn(changes::RespawnArguments),
    /// Hand the leadership to another node; no shard moves
    TransferLeader(changes::TransferArguments),
    /// Have a node leave the cluster for good, and end
    Leave(leave::Arguments),
    /// Forget a node that is dead for good
    Remove(changes::RemoveArguments),
    /// Go on with one node after the quorum is lost for good; offline, on its data directory
    Recover(recover::Arguments),
    /// Let identifies go on after a fatal close code, once its cause is mended
    Unhalt(unhalt::Arguments),
    /// Make a token by which a node joins that holds no authority's key; list and revoke them
    Token(token::Arguments),
    /// Make the authority that the nodes of a cluster prove themselves by
    Ca(ca::Arguments),
    /// Read and change what the bot keeps: values, counters, leaderboards, locks
    Kv(kv::Arguments),
    /// Write what the bot keeps to a file; the cluster goes on meanwhile
    Backup(backup::Arguments),
    /// Put what a backup holds in place of what the bot keeps, all or nothing
    Restore(backup::RestoreArguments),
    /// Check what a node needs: disk, ports, names, clock, token, intents, identifies; says what to mend
    Doctor(doctor::Arguments),
    /// Say whether the node is alive, or ready: for a container's health check
    Health(health::Arguments),
    /// Measure
    Bench(bench::Arguments),
    /// Print a completion script for a shell
    Completions(completions::Arguments),
    /// Print the manual page, or write those of all commands
    Man(man::Arguments),
    /// Print the version, and what it was built for
    Version(version::Arguments),
}

const EXAMPLES: &str = "\
Examples:
  apolo dev                                     a node and a Discord on this machine, to look at
  apolo run --config /etc/apolo.toml            a node; the token comes from DISCORD_TOKEN
  apolo join node-1 node-2 node-3 --expect 3    one of three nodes; the same line on each
  apolo simulate --port 9900                    a Discord on this machine, for any bot
  apolo status                                  how the node in ./apolo-data is
  apolo shards --data-dir /var/lib/apolo        the table of a node elsewhere on this machine
  apolo status --endpoint http://10.0.0.7:3000  a node on another machine
  apolo events --follow                         what happens in the cluster, as it happens
  apolo doctor                                  what this machine lacks for a node
  apolo kv put greeting hello                   a value that every node reads
  apolo backup bot.apolo                        what the bot keeps, as a file; `restore` puts it back
  apolo bench distribution --shards 16          how evenly guilds fall on shards

A node's settings have a flag, an environment variable and a key in the file that --config names. Secrets have only
variables, since arguments and files are read by more people: DISCORD_TOKEN, APOLO_API_TOKEN and APOLO_BOT_TOKEN, each
also with _FILE behind it and the name of a file that holds it.
Exit status: 0 done, 1 failed, 64 usage or configuration.";

/// Runs the command that was typed.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked = !error.use_stderr();
            let _ = error.print();
            return if asked { ExitCode::SUCCESS } else { ExitCode::from(USAGE) };
        }
    };
    match dispatch(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = write!(std::io::stderr().lock(), "{failure}");
            failure.exit_code()
        }
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(arguments) => wait_for(run::run(arguments)),
        Command::Join(arguments) => wait_for(join::run(arguments)),
        Command::Ca(arguments) => ca::run(&arguments),
        Command::Dev(arguments) => wait_for(dev::run(arguments)),
        Command::Simulate(arguments) => wait_for(simulate::run(arguments)),
        Command::Status(arguments) => wait_for(status::run(arguments)),
        Command::Shards(arguments) => wait_for(shards::run(arguments)),
        Command::Events(arguments) => wait_for(events::run(arguments)),
        Command::Respawn(arguments) => wait_for(changes::respawn(arguments)),
        Command::Doctor(arguments) => wait_for(doctor::run(arguments)),
        Command::Health(arguments) => wait_for(health::run(arguments)),
        Command::Man(arguments) => man::run(&arguments),
        Command::Drain(arguments) => wait_for(changes::drain(arguments)),
        Command::Undrain(arguments) => wait_for(changes::undrain(arguments)),
        Command::Move(arguments) => wait_for(changes::move_shard(arguments)),
        Command::TransferLeader(arguments) => wait_for(changes::transfer_leader(arguments)),
        Command::Leave(arguments) => wait_for(leave::run(arguments)),
        Command::Remove(arguments) => wait_for(changes::remove(arguments)),
        Command::Recover(arguments) => wait_for(recover::run(arguments)),
        Command::Token(arguments) => wait_for(token::run(arguments)),
        Command::Kv(arguments) => wait_for(kv::run(arguments)),
        Command::Backup(arguments) => wait_for(backup::run(arguments)),
        Command::Restore(arguments) => wait_for(backup::restore(arguments)),
        Command::Unhalt(arguments) => wait_for(unhalt::run(arguments)),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Version(arguments) => version::run(&arguments),
    }
}

/// Runs an asynchronous command to its end.
fn wait_for(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    // One crypto provider for the process, before anything opens a connection. A second call finds it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("can't start the runtime: {error}")))?
        .block_on(command)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_every_flag_explains_itself() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let named = format!("{} {}", command.get_name(), argument.get_id());
                assert!(argument.get_help().is_some(), "{named}");
            }
            for inner in command.get_subcommands() {
                assert!(inner.get_about().is_some(), "{}", inner.get_name());
                check(inner);
            }
        }

        check(&Cli::command());
    }
}
