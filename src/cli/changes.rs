//! `apolo drain`, `undrain` and `move`.

use crate::config::ClientFlags;

use super::{Failure, client::Client, configure::configure, output::say};

#[derive(clap::Args, Debug)]
pub(super) struct NodeArguments {
    /// The node's name, or its id, as `apolo status` shows them
    node: String,
    #[command(flatten)]
    flags: ClientFlags,
}

#[derive(clap::Args, Debug)]
pub(super) struct MoveArguments {
    /// The shard
    shard: u32,
    /// The node's name, or its id, as `apolo status` shows them
    node: String,
    #[command(flatten)]
    flags: ClientFlags,
}

pub(super) async fn drain(arguments: NodeArguments) -> Result<(), Failure> {
    change(arguments.flags, &["drain", &arguments.node]).await
}

pub(super) async fn undrain(arguments: NodeArguments) -> Result<(), Failure> {
    change(arguments.flags, &["undrain", &arguments.node]).await
}

pub(super) async fn move_shard(arguments: MoveArguments) -> Result<(), Failure> {
    let shard = arguments.shard.to_string();
    change(arguments.flags, &["move", &shard, &arguments.node]).await
}

async fn change(flags: ClientFlags, path: &[&str]) -> Result<(), Failure> {
    say(Client::new(&configure(flags)?)?.change(path).await?.done)
}
