//! `apolo man`.

use std::path::PathBuf;

use clap::CommandFactory;

use super::{
    Cli, Failure,
    output::{say, say_bytes},
};

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  apolo man | man -l -                       read it
  apolo man --dir /usr/share/man/man1        a page for apolo, and one for each command")]
pub(super) struct Arguments {
    /// Write the pages of all commands into this directory, instead of apolo's own to stdout
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let command = Cli::command();
    let Some(directory) = &arguments.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(|error| Failure::failed(format!("can't write the page: {error}")))?;
        return say_bytes(&page);
    };
    let at = directory.display();
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(command, directory))
        .map_err(|error| Failure::failed(format!("can't write the pages into {at}: {error}")))?;
    say(format_args!("the pages are in {at}"))
}
