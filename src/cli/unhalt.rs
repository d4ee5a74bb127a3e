//! `apolo unhalt`.

use crate::config::ClientFlags;

use super::{Failure, client::Client, configure::configure, output::say};

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Discord closed a shard with a code after which trying again costs the token (4004, 4010 to 4014), so no shard of the
cluster identifies any more. `apolo status` says which code and what to mend; then:

Examples:
  apolo unhalt")]
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
