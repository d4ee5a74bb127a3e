//! `apolo shards`.

use std::fmt::Write as _;

use crate::config::ClientFlags;
use crate::http::{ShardHistory, ShardRow};

use super::{
    Failure,
    client::Client,
    configure::configure,
    events,
    output::{say, say_json, table, thousands},
};

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  apolo shards                        a row for each
  apolo shards 17                     one of them, and what became of it
  apolo shards --json | jq -r '.[] | select(.status != \"ready\") | .shard'")]
pub(super) struct Arguments {
    /// Tell of this one alone, and of its past
    shard: Option<u32>,
    /// Print what the API says, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: ClientFlags,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let client = Client::new(&configure(arguments.flags)?)?;
    if let Some(shard) = arguments.shard {
        let found: ShardHistory = client.get(&format!("shards/{shard}")).await?;
        return if arguments.json { say_json(&found) } else { say(describe(&found).trim_end()) };
    }
    let view = client.view().await?;
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

/// Everything of one, a line each.
fn describe(found: &ShardHistory) -> String {
    let row = &found.row;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let lines = [
        ("shard", row.shard.to_string()),
        ("status", row.status.as_str().to_owned()),
        ("phase", row.phase.as_str().to_owned()),
        ("note", or_dash(row.note.clone())),
        ("node", or_dash(row.node.clone())),
        ("epoch", or_dash(row.epoch.clone())),
        ("session", or_dash(row.session.map(|session| session.0.to_string()))),
        ("sequence", format!("{}, handled up to {}", row.sequence.0, row.checkpoint.0)),
        ("guilds", thousands(row.guilds.into())),
        ("members", thousands(row.members)),
        ("latency", or_dash(row.latency_ms.map(|ms| format!("{ms} ms")))),
        ("connects", format!("{} since its owner started it", row.connects)),
        ("last end", or_dash(row.last_disconnect.clone())),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        let _ = writeln!(text, "{name:<9} {value}");
    }
    text.push_str("\nhistory\n");
    if found.history.is_empty() {
        text.push_str("  nothing, as far back as this node keeps it\n");
    }
    for entry in &found.history {
        let _ = writeln!(text, "  {}", events::line(entry));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{ShardId, UnixMillis};
    use crate::timeline::{Entry, Kind};

    #[test]
    fn one_shard_is_told_of_line_by_line_with_its_past() {
        let row = ShardRow {
            node: Some("apolo-1".to_owned()),
            last_disconnect: Some("close code 4000".to_owned()),
            ..ShardRow::new(ShardId(3))
        };
        let entry = Entry {
            id: 7,
            at_ms: UnixMillis(1_795_820_000_123),
            kind: Kind::Handoff,
            node: Some("apolo-1".to_owned()),
            from: Some("apolo-0".to_owned()),
            shards: vec![ShardId(3)],
            took_ms: Some(40),
            text: "shard 3 of apolo-0 runs on apolo-1 after 0.0 s".to_owned(),
        };

        let text = describe(&ShardHistory { row, history: vec![Arc::new(entry)] });

        assert!(text.contains("node      apolo-1\n"), "{text}");
        assert!(text.contains("last end  close code 4000\n"), "{text}");
        assert!(
            text.ends_with("handoff            shard 3 of apolo-0 runs on apolo-1 after 0.0 s\n")
        );
    }

    #[test]
    fn a_shard_of_which_nothing_is_known_has_a_full_row() {
        assert_eq!(row(&ShardRow::new(ShardId(3))).len(), TITLES.len());
    }
}
