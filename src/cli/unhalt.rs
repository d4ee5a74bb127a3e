//! `apolo unhalt`.

use crate::config::ClientFlags;

use super::{Failure, client::Client, configure::configure, output::say};

#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    flags: ClientFlags,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let unhalted = Client::new(&configure(arguments.flags)?)?.unhalt().await?;
    match unhalted.lifted {
        Some(halt) => say(format_args!(
            "lifted: shard {} had been closed with {}; the shards identify again, one first",
            halt.shard, halt.code
        )),
        None => say("nothing was halted"),
    }
}
