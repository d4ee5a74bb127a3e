//! `apolo ca`: the cluster's authority.

use std::path::{Path, PathBuf};

use super::{Failure, output::say};
use crate::model::UnixMillis;
use crate::transport::Authority;

#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Make a cluster's authority: the key that every node of it must hold, and its certificate
    Create(Create),
}

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Whoever holds ca.key can join the cluster as any node: keep it as you keep the bot's token. In Kubernetes it is a Secret
that the pods mount.")]
struct Create {
    /// Where ca.crt and ca.key are written; the directory is made, and nothing in it is overwritten
    #[arg(long, env = "APOLO_CA_DIR", default_value = "/etc/apolo/ca", value_name = "DIR")]
    ca_dir: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Command::Create(Create { ca_dir }) = &arguments.command;
    create(ca_dir)?;
    say(format!("made ca.crt and ca.key in {}; copy both to every node", ca_dir.display()))
}

/// Makes an authority in `ca_dir`.
pub(super) fn create(ca_dir: &Path) -> Result<(), Failure> {
    Authority::create(ca_dir, UnixMillis::now())
        .map(drop)
        .map_err(|error| Failure::failed(error.to_string()))
}
