//! `apolo status`.

use std::{fmt::Write as _, time::Duration};

use crate::config::ClientFlags;
use crate::http::{NodeRow, Role, View, readiness};
use crate::model::{HealthStatus, UnixMillis};

use super::{
    Failure,
    client::Client,
    configure::{configure, warn},
    output::{redraw, say, say_json, say_line_of_json, table, thousands},
};

/// Between two looks, with `--watch`.
const WATCH_EVERY: Duration = Duration::from_secs(1);

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Any node answers for its cluster. What fails is said first, with what to do.

Examples:
  apolo status --watch
  apolo status --ready && echo takes part
  apolo status --json | jq '.nodes[] | {name, role, shards}'
  apolo status --endpoint http://10.0.0.7:3000")]
pub(super) struct Arguments {
    /// Print what the API says, as JSON
    #[arg(long)]
    json: bool,
    /// Fail (exit status 1) unless the node is ready
    #[arg(long)]
    ready: bool,
    /// Show it anew each second, until Ctrl-C
    #[arg(long, short, conflicts_with = "ready")]
    watch: bool,
    #[command(flatten)]
    flags: ClientFlags,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let client = Client::new(&configure(arguments.flags)?)?;
    if arguments.watch {
        return watch(&client, arguments.json).await;
    }
    let view = client.view().await?;
    if arguments.json {
        say_json(&view)?;
    } else {
        say(describe(&view, UnixMillis::now()).trim_end())?;
    }
    if arguments.ready && !readiness(&view).ready {
        return Err(Failure::failed(format!("{} is not ready", view.node.name)));
    }
    Ok(())
}

/// A node that does not answer is shown as such: whoever watches wants to see it come back.
async fn watch(client: &Client, json: bool) -> Result<(), Failure> {
    loop {
        let seen = client.view().await;
        match seen {
            Ok(view) if json => say_line_of_json(&view)?,
            Ok(view) => redraw(describe(&view, UnixMillis::now()).trim_end())?,
            Err(failure) if json => warn(&failure.message()),
            Err(failure) => redraw(&failure.message())?,
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

fn describe(view: &View, now: UnixMillis) -> String {
    let mut text = String::new();
    let node = &view.node;
    let up = uptime(node.uptime_ms);
    let _ = writeln!(text, "{} ({}), apolo {}, up {up}", node.name, node.id, node.version);
    match view.health {
        Some(health) => {
            let verdict = match health.status {
                HealthStatus::Healthy => "healthy",
                HealthStatus::Degraded => "degraded",
                HealthStatus::Critical => "critical",
            };
            let _ = writeln!(
                text,
                "{verdict}: {} of {} shards ready, {} guilds, {} members{}",
                thousands(health.ready_shards.into()),
                thousands(health.total_shards.into()),
                thousands(health.total_guilds),
                thousands(health.total_members),
                // What changes now is not heard here.
                if view.lease { "" } else { ", as last known" },
            );
        }
        None => text.push_str("the number of shards is not known yet\n"),
    }
    if let Some(limits) = view.identifies {
        let resets = Duration::from_secs(limits.resets_at.since(now).as_secs());
        let _ = writeln!(
            text,
            "identifies: {} of {} left today, {} at a time{}",
            thousands(limits.remaining.into()),
            thousands(limits.total.into()),
            limits.max_concurrency,
            // Discord says 0 until the day's first IDENTIFY, and is asked again soon.
            match resets {
                Duration::ZERO => String::new(),
                resets => format!(", full again in {}", humantime::format_duration(resets)),
            },
        );
    }
    if view.kept.bytes > 0 {
        let (bytes, limit) = (thousands(view.kept.bytes), thousands(view.kept.limit));
        let _ = writeln!(text, "keeps: {bytes} of {limit} bytes of the bot's own");
    }
    if view.nodes.len() > 1 {
        let _ = write!(text, "\n{}\n\n", nodes(&view.nodes));
    }
    let readiness = readiness(view);
    text.push_str(if readiness.ready { "ready\n" } else { "not ready\n" });
    for condition in readiness.conditions {
        let mark = if condition.holds { "ok " } else { "NO " };
        let _ = writeln!(text, "  {mark} {:<9} {}", condition.name, condition.detail);
    }
    for note in readiness.notes {
        let _ = writeln!(text, "warning: {note}");
    }
    text
}

fn uptime(ms: u64) -> String {
    humantime::format_duration(Duration::from_secs(ms / 1_000)).to_string()
}

fn nodes(nodes: &[NodeRow]) -> comfy_table::Table {
    let mut rows: Vec<_> = nodes.iter().collect();
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    let rows = rows.into_iter().map(|node| {
        let role = match node.role {
            Role::Leader => "leader",
            Role::Voter => "voter",
            Role::Learner => "learner",
            Role::None => "-",
        };
        let state = match (node.lost, node.drains) {
            (true, _) => "lost",
            (false, true) => "drains",
            (false, false) => "present",
        };
        let said = node.said.as_ref();
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        vec![
            node.name.clone(),
            role.to_owned(),
            state.to_owned(),
            thousands(node.shards as u64),
            dash(said.map(|said| thousands(said.lag))),
            dash(said.map(|said| format!("{:.1} ms", said.round_trip_us as f64 / 1_000.0))),
            dash(said.map(|said| uptime(said.uptime_ms))),
            dash(said.map(|said| said.version.clone())),
            node.id.clone(),
        ]
    });
    let titles =
        ["node", "role", "state", ">shards", ">lag", ">answers in", ">up", "version", "id"];
    table(&titles, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Excess, Node, Target};
    use crate::model::SystemHealth;
    use crate::state::Limits;

    #[test]
    fn the_picture_of_a_node_that_is_not_ready_says_why() {
        let health = SystemHealth {
            status: HealthStatus::Critical,
            total_shards: 16,
            ready_shards: 0,
            total_guilds: 16_000,
            total_members: 1_234_567,
        };
        let view = View {
            node: Node {
                id: "00000000000000ab".to_owned(),
                name: "apolo-0".to_owned(),
                version: "0.1.0".to_owned(),
                uptime_ms: 3_723_000,
            },
            health: Some(health),
            identifies: Some(Limits {
                max_concurrency: 16,
                total: 1_000,
                remaining: 984,
                resets_at: UnixMillis(7_200_000),
            }),
            target: Some(Target {
                shards_per_node: 8,
                over: vec![Excess { node: "apolo-1".to_owned(), shards: 9 }],
            }),
            ..View::default()
        };

        let text = describe(&view, UnixMillis(0));

        let expected = "\
apolo-0 (00000000000000ab), apolo 0.1.0, up 1h 2m 3s
critical: 0 of 16 shards ready, 16,000 guilds, 1,234,567 members, as last known
identifies: 984 of 1,000 left today, 16 at a time, full again in 2h
not ready
  ok  member    is a member of its cluster
  NO  lease     has no right to run shards
  NO  leader    no leader is known: fewer voters than a quorum reach each other, so no shard runs; \
start the others, or, if they are gone for good, see `apolo recover --help`
  ok  store     takes writes
  ok  draining  runs
  ok  halt      identifies are not halted
  ok  shards    0 here
warning: apolo-1 runs 9 shards, and SHARDS_PER_POD says 8: none may stay down; start more nodes
";
        assert_eq!(text, expected);
    }
}
