//! What is between two states. Pure.

use std::collections::BTreeMap;

use super::{Fact, Kind};
use crate::model::{NodeId, ShardId, ShardStatus};
use crate::state::{Drain, Node, Presence, Shard, State};

/// The name under which people know a node.
pub(super) fn name(state: &State, node: NodeId) -> String {
    state.nodes().get(&node).map_or_else(|| node.to_string(), |known| known.name.clone())
}

/// What happened to nodes, the leader, the halt and the total, in the order in which a reader wants it.
pub(super) fn of_the_cluster(before: &State, after: &State) -> Vec<Fact> {
    let mut facts = Vec::new();
    for (id, node) in before.nodes() {
        match after.nodes().get(id) {
            None => facts.push(Fact::at(Kind::NodeLeft, node.name.clone())),
            Some(now) => facts.extend(of_a_node(before, *id, node, now)),
        }
    }
    let joined = after.nodes().iter().filter(|(id, _)| !before.nodes().contains_key(id));
    facts.extend(joined.map(|(_, node)| Fact::at(Kind::NodeJoined, node.name.clone())));
    let led_by = |state: &State| state.lead().map(|lead| lead.node);
    if let Some(lead) = after.lead().filter(|lead| led_by(before) != Some(lead.node)) {
        let fact = Fact::at(Kind::LeaderChanged, name(after, lead.node));
        facts.push(Fact { more: lead.term.to_string(), ..fact });
    }
    match (before.ledger().halted(), after.ledger().halted()) {
        (None, Some(halt)) => facts.push(Fact {
            shards: vec![halt.shard],
            more: format!(
                "nobody identifies any more: shard {} was closed with {}; see `apolo status`",
                halt.shard, halt.code
            ),
            ..Fact::new(Kind::Halted)
        }),
        (Some(_), None) => {
            facts.push(Fact { more: "identifies go on".to_owned(), ..Fact::new(Kind::Unhalted) })
        }
        _ => {}
    }
    let total = |state: &State| state.facts().map(|facts| facts.total);
    if let (Some(was), Some(is)) = (total(before), total(after))
        && was != is
    {
        let more = format!("the bot runs in {is} shards, and no more in {was}");
        facts.push(Fact { more, ..Fact::new(Kind::Resharded) });
    }
    facts
}

fn of_a_node(before: &State, id: NodeId, was: &Node, is: &Node) -> Vec<Fact> {
    let fact = |kind| Fact::at(kind, is.name.clone());
    let mut facts = Vec::new();
    if was.boot != is.boot {
        facts.push(fact(Kind::NodeStarted));
    } else if (was.presence, is.presence) == (Presence::Lost, Presence::Present) {
        facts.push(fact(Kind::NodeBack));
    }
    if (was.presence, is.presence) == (Presence::Present, Presence::Lost) {
        let shards = before.owned_by(id).map(|(shard, _)| shard).collect();
        facts.push(Fact { shards, ..fact(Kind::NodeLost) });
    }
    match (was.drain, is.drain) {
        (Drain::No, Drain::Wanted) => facts.push(Fact {
            more: "hands its shards to the others, as an operator wants".to_owned(),
            ..fact(Kind::NodeDraining)
        }),
        (Drain::No | Drain::Wanted, Drain::Stopping { .. }) => facts.push(Fact {
            more: "hands its shards to the others and stops".to_owned(),
            ..fact(Kind::NodeDraining)
        }),
        // A start says it itself.
        (Drain::Wanted | Drain::Stopping { .. }, Drain::No) if was.boot == is.boot => {
            facts.push(fact(Kind::NodeUndrained));
        }
        _ => {}
    }
    facts
}

/// A change of a shard's owner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Moved {
    pub(super) shard: ShardId,
    pub(super) from: Option<NodeId>,
    pub(super) to: Option<NodeId>,
}

fn owner(shard: &Shard) -> Option<NodeId> {
    shard.assignment().map(|held| held.node)
}

/// Whose owner changed, in order.
pub(super) fn moves(before: &State, after: &State) -> Vec<Moved> {
    let changed = after.shards().iter().filter_map(|(id, now)| {
        let from = before.shards().get(id).and_then(owner);
        let to = owner(now);
        (from != to).then_some(Moved { shard: *id, from, to })
    });
    changed.collect()
}

/// Whose connection changed while its owner did not, by kind and owner.
pub(super) fn conditions(before: &State, after: &State) -> Vec<Fact> {
    let mut grouped: BTreeMap<(Kind, NodeId), Vec<ShardId>> = BTreeMap::new();
    for (id, now) in after.shards() {
        let Some(owner) = owner(now) else { continue };
        let was = before.shards().get(id).map(|shard| shard.health().status);
        let is = now.health().status;
        if was == Some(is) {
            continue;
        }
        let kind = match is {
            ShardStatus::Ready => Kind::ShardReady,
            ShardStatus::Dead => Kind::ShardDead,
            // Of a shard that moves its move says enough.
            ShardStatus::Disconnected
                if before.shards().get(id).is_some_and(|shard| shard.is_owned_by(owner)) =>
            {
                Kind::ShardDisconnected
            }
            ShardStatus::Disconnected | ShardStatus::Spawning => continue,
        };
        grouped.entry((kind, owner)).or_default().push(*id);
    }
    let facts = grouped
        .into_iter()
        .map(|((kind, owner), shards)| Fact { shards, ..Fact::at(kind, name(after, owner)) });
    facts.collect()
}
