//! `apolo events`.

use std::time::Duration;

use crate::config::ClientFlags;
use crate::timeline::Entry;

use super::{
    Failure,
    client::Client,
    configure::{configure, warn},
    output::{say, say_line_of_json, timestamp},
};

/// Between two looks, with `--follow`: what a person takes for at once.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(clap::Args, Debug)]
#[command(after_help = "\
What the node has seen since its process started, at most the last 1,024 events. Any node may be asked: all see the same,
each from its own start. The leader's log has the same lines for good.

Examples:
  apolo events                        what happened
  apolo events --follow               and what happens; Ctrl-C ends it
  apolo events --json | jq -r 'select(.kind == \"failover\") | .tookMs'")]
pub(super) struct Arguments {
    /// Go on with what happens
    #[arg(long, short)]
    follow: bool,
    /// Leave out what happened up to the event with this id
    #[arg(long, value_name = "ID", default_value_t = 0, hide_default_value = true)]
    since: u64,
    /// Print what the API says, one JSON object on a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: ClientFlags,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let client = Client::new(&configure(arguments.flags)?)?;
    let mut seen = arguments.since;
    let (mut silent, mut answered) = (false, false);
    loop {
        match client.get::<Vec<Entry>>(&format!("events?since={seen}")).await {
            Ok(entries) => {
                (silent, answered) = (false, true);
                for entry in entries {
                    seen = entry.id;
                    if arguments.json {
                        say_line_of_json(&entry)?;
                    } else {
                        say(line(&entry))?;
                    }
                }
            }
            // Whoever follows wants to see what comes after a restart too.
            Err(failure) if arguments.follow && answered => {
                if !std::mem::replace(&mut silent, true) {
                    warn(&format!("{}; asking again", failure.message()));
                }
            }
            Err(failure) => return Err(failure),
        }
        if !arguments.follow {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

pub(super) fn line(entry: &Entry) -> String {
    format!("{}  {:<17}  {}", timestamp(entry.at_ms), entry.kind.as_str(), entry.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UnixMillis;
    use crate::timeline::Kind;

    #[test]
    fn a_line_has_the_time_the_kind_and_the_sentence() {
        let entry = Entry {
            id: 3,
            at_ms: UnixMillis(1_795_820_000_123),
            kind: Kind::NodeBack,
            node: Some("apolo-0".to_owned()),
            from: None,
            shards: Vec::new(),
            took_ms: None,
            text: "apolo-0 is back".to_owned(),
        };

        assert_eq!(line(&entry), "2026-11-27T22:53:20.123Z  nodeBack           apolo-0 is back");
    }
}
