//! `apolo shards`.

use crate::config::ClientFlags;
use crate::http::ShardRow;

use super::{
    Failure,
    client::Client,
    configure::configure,
    output::{say, say_json, table, thousands},
};

#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Print what the API says, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: ClientFlags,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let view = Client::new(&configure(arguments.flags)?)?.view().await?;
    if arguments.json {
        return say_json(&view.shards);
    }
    say(table(TITLES, view.shards.iter().map(row)))
}

const TITLES: &[&str] = &[
    ">shard",
    "status",
    "phase",
    "node",
    "epoch",
    ">session",
    ">sequence",
    ">checkpoint",
    ">guilds",
    ">latency",
    "note",
];

fn row(shard: &ShardRow) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        shard.shard.to_string(),
        shard.status.as_str().to_owned(),
        shard.phase.as_str().to_owned(),
        or_dash(shard.node.clone()),
        or_dash(shard.epoch.clone()),
        or_dash(shard.session.map(|session| session.0.to_string())),
        shard.sequence.0.to_string(),
        shard.checkpoint.0.to_string(),
        thousands(shard.guilds.into()),
        or_dash(shard.latency_ms.map(|ms| format!("{ms} ms"))),
        shard.note.clone().or_else(|| shard.last_disconnect.clone()).unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ShardId;

    #[test]
    fn a_shard_of_which_nothing_is_known_has_a_full_row() {
        assert_eq!(row(&ShardRow::new(ShardId(3))).len(), TITLES.len());
    }
}
