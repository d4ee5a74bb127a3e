//! `apolo drain`, `undrain`, `move`, `respawn`, `transfer-leader` and `remove`.

use crate::config::ClientFlags;

use super::{Failure, client::Client, configure::configure, output::say};

pub(super) const DRAIN: &str = "\
Any node may be asked. The command is done when that is on record; the shards follow one by one, each with a RESUME. A
drained node stays a member, and votes. SIGTERM hands a node's shards over by itself: drain is for a machine that shall
go on without them.

Examples:
  apolo drain node-2
  apolo status --watch       how many shards node-2 still has
  apolo undrain node-2";

pub(super) const UNDRAIN: &str = "\
Its share of the shards comes back once nothing has moved for 30 s.

Examples:
  apolo undrain node-2";

#[derive(clap::Args, Debug)]
pub(super) struct NodeArguments {
    /// The node's name, or its id, as `apolo status` shows them
    node: String,
    #[command(flatten)]
    flags: ClientFlags,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "\
The shard resumes there. Where that makes the nodes uneven, shards are balanced again after 30 s.

Examples:
  apolo move 7 node-2
  apolo shards 7             where it runs, and what became of it")]
pub(super) struct MoveArguments {
    /// The shard
    shard: u32,
    /// The node's name, or its id, as `apolo status` shows them
    node: String,
    #[command(flatten)]
    flags: ClientFlags,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Any node may be asked; it has the leader do it. No shard moves and none reconnects: a leader that is about to be stopped
needs no such command, since SIGTERM hands the leadership over too. Only voters lead (`apolo status` shows them).

Examples:
  apolo transfer-leader           to the voter that has caught up furthest
  apolo transfer-leader node-2    to node-2")]
pub(super) struct TransferArguments {
    /// The name or the id of the node that is to lead [default: the voter that has caught up furthest]
    node: Option<String>,
    #[command(flatten)]
    flags: ClientFlags,
}

pub(super) async fn transfer_leader(arguments: TransferArguments) -> Result<(), Failure> {
    let mut path = vec!["transfer-leader"];
    path.extend(arguments.node.as_deref());
    change(arguments.flags, &path).await
}

#[derive(clap::Args, Debug)]
#[command(after_help = "\
For a node that never comes back: its machine or its disk is gone. A node that only restarts needs nothing, and one
that comes back with an empty data directory under its old name replaces the old one by itself. A node that is there
is not removed: `apolo leave` is for that. A removed node that comes back with its old data directory says so and
ends; empty the directory, and it joins as a new one.

Examples:
  apolo status                       which nodes are lost
  apolo remove node-3
  apolo remove 00000000000000ab      by id, where two have one name")]
pub(super) struct RemoveArguments {
    /// The name or the id of the node that is dead
    node: String,
    #[command(flatten)]
    flags: ClientFlags,
}

pub(super) async fn remove(arguments: RemoveArguments) -> Result<(), Failure> {
    change(arguments.flags, &["remove", &arguments.node]).await
}

pub(super) async fn drain(arguments: NodeArguments) -> Result<(), Failure> {
    change(arguments.flags, &["drain", &arguments.node]).await
}

pub(super) async fn undrain(arguments: NodeArguments) -> Result<(), Failure> {
    change(arguments.flags, &["undrain", &arguments.node]).await
}

#[derive(clap::Args, Debug)]
#[command(after_help = "\
The last resort for a shard whose handlers hang: they get 8 s to end, the connection is closed so that its session lives
on, and its owner starts it anew with a RESUME. What was handled since the oldest event whose handler has not ended is
delivered again, and says so (`redelivered`).

Examples:
  apolo respawn 3        shard 3, wherever it runs
  apolo respawn --all    every shard of every node")]
pub(super) struct RespawnArguments {
    /// The shard
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    shard: Option<u32>,
    /// Every shard
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    flags: ClientFlags,
}

pub(super) async fn respawn(arguments: RespawnArguments) -> Result<(), Failure> {
    let shard = arguments.shard.map(|shard| shard.to_string());
    let mut path = vec!["respawn"];
    path.extend(shard.as_deref());
    change(arguments.flags, &path).await
}

pub(super) async fn move_shard(arguments: MoveArguments) -> Result<(), Failure> {
    let shard = arguments.shard.to_string();
    change(arguments.flags, &["move", &shard, &arguments.node]).await
}

async fn change(flags: ClientFlags, path: &[&str]) -> Result<(), Failure> {
    say(Client::new(&configure(flags)?)?.change(path).await?.done)
}
