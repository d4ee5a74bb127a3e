//! `apolo backup` and `apolo restore`: what the bot keeps, as a file.
//!
//! What is written was read back and checked before the command says so, and what is restored was checked as a whole
//! before the cluster is asked for anything.

mod file;
mod restore;
mod show;

pub(super) use restore::{Arguments as RestoreArguments, run as restore};

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Failure, client::Client, configure::configure, output::say_bytes};
use crate::backup::{FILE_BYTES_MAX, read};
use crate::config::ClientFlags;

#[derive(clap::Args, Debug)]
#[command(after_help = "\
The file holds what the bot keeps (values, counters, leaderboards) as it was at one moment, with
every write that was answered before. The cluster goes on meanwhile. The file is this user's alone
(mode 0600), and not encrypted.

It does not hold which node runs which shard, sessions and how far their events are handled, spent
identifies, members, certificates, tokens and held locks: they belong to a cluster's life, and would
be dead or dangerous in another.

If all of a cluster is lost: form one in the ordinary way on empty volumes (`apolo join`), then
`apolo restore FILE` on any node. Its shards identify once.

Examples:
  apolo backup bot.apolo                   of the node in ./apolo-data
  apolo backup bot.apolo --force           over the last one, once the new one is whole
  apolo backup - | age -r KEY > bot.age    to another program
  apolo restore bot.apolo --check          is it whole, and what is in it

Over --endpoint it needs APOLO_API_TOKEN.")]
pub(super) struct Arguments {
    /// Where to put it; `-` is stdout
    file: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// Print what it holds as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: ClientFlags,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { file, force, json, flags } = arguments;
    let to_stdout = file.as_os_str() == "-";
    if to_stdout && io::stdout().is_terminal() {
        return Err(Failure::usage("a backup is no text for a terminal")
            .help("Name a file, or send it on: `apolo backup - | …`."));
    }
    if !to_stdout {
        file::check(&file, force)?;
    }
    let client = Client::new(&configure(flags)?)?;
    let bar = spinner();
    let bytes = client.download("backup", FILE_BYTES_MAX, |seen| bar.set_position(seen)).await;
    bar.finish_and_clear();
    let bytes = bytes?;
    let backup = read(&bytes).map_err(|error| {
        Failure::failed(format!("what came is no whole backup: {error}"))
            .help("Nothing was written. Try again; another node may be asked too.")
    })?;
    if to_stdout {
        say_bytes(&bytes)?;
    } else {
        file::place(&file, &bytes, force)?;
    }
    let shown = show::Shown::new(&file, bytes.len(), &backup.header);
    let text = if json { shown.json()? } else { shown.summary() };
    // stdout is the backup's own where it goes there.
    let text = format!("{text}\n");
    if to_stdout {
        let _ = io::stderr().lock().write_all(text.as_bytes());
        return Ok(());
    }
    say_bytes(text.as_bytes())
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::no_length();
    let style = "backup     {spinner} {bytes}  {bytes_per_sec}";
    bar.with_style(ProgressStyle::with_template(style).expect("a constant template"))
}
