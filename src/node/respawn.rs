//! Has shards started anew, wherever they run.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::join_all;

use super::neighbours::Neighbours;
use crate::agent::Board;
use crate::http::Changed;
use crate::model::{NodeId, ShardId};
use crate::state::State;

/// Starts `wanted` anew, or all shards. What it did, or what kept it from it, as a sentence.
pub(super) async fn respawn(
    state: Arc<State>,
    me: NodeId,
    board: &Board,
    neighbours: &Neighbours,
    wanted: Option<ShardId>,
) -> Result<Changed, String> {
    let total = state.shards().len();
    if let Some(shard) = wanted.filter(|shard| !state.shards().contains_key(shard)) {
        let last = total.saturating_sub(1);
        return Err(format!("there is no shard {shard}: they are numbered from 0 to {last}"));
    }
    let mut owners: BTreeMap<NodeId, Vec<ShardId>> = BTreeMap::new();
    for (id, shard) in state.shards() {
        if let Some(held) = shard.assignment().filter(|_| wanted.is_none_or(|one| one == *id)) {
            owners.entry(held.node).or_default().push(*id);
        }
    }
    if owners.is_empty() {
        return Err(
            "nobody owns what was asked for at present; the leader gives it an owner".to_owned()
        );
    }
    let asked = owners.iter().map(async |(node, shards)| {
        if *node == me {
            let count = shards.iter().filter(|shard| board.respawn(**shard)).count();
            return (node, Some(u32::try_from(count).unwrap_or(u32::MAX)));
        }
        (node, neighbours.respawn(*node, shards.clone()).await)
    });
    let answers = join_all(asked).await;
    let name = |node| state.nodes().get(node).map_or_else(String::new, |node| node.name.clone());
    let silent: Vec<_> =
        answers.iter().filter(|(_, count)| count.is_none()).map(|(node, _)| name(node)).collect();
    let count: u32 = answers.iter().filter_map(|(_, count)| *count).sum();
    match (count, silent.as_slice()) {
        (0, []) => {
            Err("nothing runs that could start anew, or it does so already: see `apolo shards`"
                .to_owned())
        }
        (_, []) => Ok(Changed { done: done(count, wanted) }),
        (_, silent) => Err(format!(
            "{count} of the shards start anew; no answer came from {}: ask again, or see `apolo status`",
            silent.join(", ")
        )),
    }
}

fn done(count: u32, wanted: Option<ShardId>) -> String {
    match wanted {
        Some(shard) => format!("shard {shard} starts anew, and resumes its session"),
        None => format!("{count} shards start anew, and resume their sessions"),
    }
}
