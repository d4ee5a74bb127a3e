//! What the run of a cluster looks like: its nodes, its shards, the sum.

use super::{child::Child, verdict::connected};
use crate::cli::{
    dev::verdict::Verdict,
    output::{table, thousands},
};
use crate::http::{NodeRow, Role, ShardRow, View};
use crate::model::ShardStatus;
use crate::simulator::Truth;

/// Lines that are neither a node's nor a shard's: heads, blank lines, the sum, the prompt, and a word on a death.
const OTHER_LINES: usize = 10;

const NODES: &[&str] = &["node", ">pid", "role", "state", ">shards"];

const SHARDS: &[&str] =
    &[">shard", "node", ">epoch", "state", ">session", ">guilds", ">sequence", ">checkpoint"];

/// Lines beside the shards'.
pub(super) const fn other_lines(nodes: usize) -> usize {
    OTHER_LINES + nodes
}

/// Both tables; of the shards as many as `rows`, and those that are not connected before the others.
pub(super) fn tables(children: &[Child], view: Option<&View>, rows: usize) -> String {
    let row = |child: &Child| {
        let known = view.and_then(|view| view.nodes.iter().find(|node| node.name == child.name));
        node(child, known)
    };
    let nodes = table(NODES, children.iter().map(row));
    let all = view.map(|view| view.shards.as_slice()).unwrap_or_default();
    let mut shown: Vec<&ShardRow> = all.iter().collect();
    shown.sort_by_key(|row| (row.status == ShardStatus::Ready, row.shard));
    shown.truncate(rows);
    shown.sort_by_key(|row| row.shard);
    let left_out = all.len() - shown.len();
    let more = if left_out > 0 { format!("\n… and {left_out} more") } else { String::new() };
    let shards = match view {
        Some(_) => table(SHARDS, shown.into_iter().map(shard)).to_string(),
        None => "no node answers".to_owned(),
    };
    format!("{nodes}\n\n{shards}{more}")
}

fn node(child: &Child, known: Option<&NodeRow>) -> Vec<String> {
    let pid = child.pid().map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    let role = match known.map(|node| node.role) {
        Some(Role::Leader) => "leader",
        Some(Role::Voter) => "voter",
        Some(Role::Learner) => "learner",
        Some(Role::None) | None => "-",
    };
    let state = match (child.pid(), known) {
        (None, _) => "dead",
        (_, None) => "joins",
        (_, Some(node)) if node.lost => "lost",
        (_, Some(node)) if node.drains => "drains",
        _ => "present",
    };
    let shards = known.map_or_else(|| "-".to_owned(), |node| node.shards.to_string());
    vec![child.name.clone(), pid, role.to_owned(), state.to_owned(), shards]
}

fn shard(row: &ShardRow) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        row.shard.to_string(),
        or_none(row.node.clone()),
        or_none(row.epoch.clone()),
        row.phase.as_str().to_owned(),
        or_none(row.session.map(|session| session.to_string())),
        thousands(row.guilds.into()),
        thousands(row.sequence.0),
        thousands(row.checkpoint.0),
    ]
}

/// The sum, in a line.
pub(super) fn sum(truth: &Truth, verdict: &Verdict, total: usize, rate: f64) -> String {
    format!(
        "{} of {total} shards connected, {rate:.0} events/s, {} sent, {} handled, up {} s",
        connected(truth),
        thousands(verdict.sent),
        thousands(verdict.sent - verdict.missing),
        truth.at_ms / 1_000
    )
}

/// How many shards the node of this name has.
pub(super) fn held(view: Option<&View>, name: &str) -> usize {
    let owned = |row: &&ShardRow| row.node.as_deref() == Some(name);
    view.map_or(0, |view| view.shards.iter().filter(owned).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ShardId;

    fn rows(count: u32) -> Vec<ShardRow> {
        (0..count).map(|shard| ShardRow::new(ShardId(shard))).collect()
    }

    #[test]
    fn sixteen_shards_of_three_nodes_fit_into_eighty_by_forty() {
        let view = View { shards: rows(16), ..View::default() };
        let child = |nth: u8| {
            Child::new(format!("node-{nth}"), ([127, 0, 0, 1], 1).into(), "x".into(), &[])
        };
        let children: Vec<Child> = (1..=3).map(child).collect();

        let drawn = tables(&children, Some(&view), 40 - other_lines(3));

        assert_eq!(drawn.lines().count(), 4 + 1 + 17, "{drawn}");
        assert!(drawn.lines().all(|line| line.chars().count() < 80), "{drawn}");
        assert!(drawn.contains("node-2") && drawn.contains("dead"), "{drawn}");
    }

    #[test]
    fn the_shards_that_are_not_connected_are_shown_first() {
        let mut view = View { shards: rows(9), ..View::default() };
        view.shards.iter_mut().for_each(|row| row.status = ShardStatus::Ready);
        view.shards[7].status = ShardStatus::Disconnected;

        let drawn = tables(&[], Some(&view), 2);

        let numbers: Vec<&str> =
            drawn.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(numbers, ["node", "shard", "0", "7", "…"], "{drawn}");
    }
}
