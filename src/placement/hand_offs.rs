//! Which owned shards are to change hands: those of a node that is to be empty, those that their node can't connect,
//! and those that are one too many where they are. In this order, and each for one reason.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{MOVES_MAX, balance::balance, load::Load, nodes};
use crate::model::{NodeId, ShardId, ShardStatus};
use crate::state::{Drain, Move, Node, Shard, State};

/// Hand-offs under way beyond which none is begun that no drain asks for. Each interrupts a shard for a RESUME.
pub const HAND_OFFS_MAX: usize = 64;

/// Nothing is balanced for this long after the last hand-offs: of the nodes that a rolling update restarts one by one,
/// the next one's shards fill the last one, and none has to move twice.
pub const COOL_DOWN: Duration = Duration::from_secs(30);

/// A shard without a connection for this long has outlasted its supervisor's first retries, and may do better elsewhere.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);

/// What the leader has seen and no log entry says.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How long ago hand-offs were planned, whatever for; since it leads where it has planned none.
    pub since_hand_offs: Duration,
    /// For how long each shard has had no connection under its present epoch. Shards that wait for their turn to
    /// identify are not in it: they would wait as long anywhere.
    pub disconnected: BTreeMap<ShardId, Duration>,
    /// The nodes that were [`troubled`] lately: they are given no healthy shard, lest it be stuck as well.
    pub avoid: BTreeSet<NodeId>,
}

/// The nodes that cannot connect one of their shards, while most shards of other nodes are connected.
#[must_use]
pub fn troubled(state: &State, seen: &Seen) -> BTreeSet<NodeId> {
    stuck(state, seen).into_iter().map(|(_, node)| node).collect()
}

/// The owned shards that are to change hands, each to a node that takes shards.
#[must_use]
pub fn hand_offs(state: &State, seen: &Seen) -> Vec<Move> {
    let takers = nodes(state, Node::takes_shards);
    let under_way = state.shards().values().filter(|shard| shard.handoff().is_some()).count();

    let mut moves = drains(state, seen, &takers);
    let stuck = stuck(state, seen);
    let troubled = stuck.iter().map(|(_, node)| *node);
    let avoided: BTreeSet<NodeId> = seen.avoid.iter().copied().chain(troubled).collect();
    let sound: Vec<NodeId> = takers.into_iter().filter(|node| !avoided.contains(node)).collect();
    let room = HAND_OFFS_MAX.saturating_sub(under_way + moves.len());
    let mut load = Load::of(state, &sound);
    for step in &moves {
        load.give_to(step.to);
    }
    let elsewhere = stuck.into_iter().take(room).map_while(|(id, _)| {
        let from = state.shards().get(&id)?.epoch();
        Some(Move { shard: id, from, to: load.give()? })
    });
    moves.extend(elsewhere);
    if moves.is_empty() && seen.since_hand_offs >= COOL_DOWN {
        moves = balance(state, load, room);
    }
    moves
}

/// All shards of nodes that are to be empty. Without a node that takes shards they stay.
fn drains(state: &State, seen: &Seen, takers: &[NodeId]) -> Vec<Move> {
    let sound: Vec<NodeId> =
        takers.iter().copied().filter(|node| !seen.avoid.contains(node)).collect();
    let mut load = Load::of(state, if sound.is_empty() { takers } else { &sound });
    let emptied =
        |node: &NodeId| state.nodes().get(node).is_some_and(|node| node.drain != Drain::No);
    let shards = state.shards().iter().filter(|(_, shard)| {
        shard.handoff().is_none() && shard.assignment().is_some_and(|held| emptied(&held.node))
    });
    let moves = shards
        .map_while(|(id, shard)| Some(Move { shard: *id, from: shard.epoch(), to: load.give()? }));
    moves.take(MOVES_MAX).collect()
}

/// The shards that their nodes cannot connect, and these. None where the fault is likely to be Discord's: where most
/// shards of other nodes are not connected either, or a fatal close code halts them all.
fn stuck(state: &State, seen: &Seen) -> Vec<(ShardId, NodeId)> {
    if state.ledger().halted().is_some() {
        return Vec::new();
    }
    let is_ready = |shard: &Shard| shard.health().status == ShardStatus::Ready;
    let mut counts: BTreeMap<NodeId, [usize; 2]> = BTreeMap::new();
    let mut all = [0, 0];
    for shard in state.shards().values() {
        if let Some(held) = shard.assignment() {
            let of_node = counts.entry(held.node).or_default();
            for counted in [of_node, &mut all] {
                counted[0] += 1;
                counted[1] += usize::from(is_ready(shard));
            }
        }
    }
    let others_are_connected = |node: &NodeId| {
        let [owned, ready] = counts.get(node).copied().unwrap_or_default();
        all[0] > owned && (all[1] - ready) * 2 >= all[0] - owned
    };
    let overdue = seen.disconnected.iter().filter(|(_, span)| **span >= STUCK_AFTER);
    let stuck = overdue.filter_map(|(id, _)| {
        let shard = state.shards().get(id)?;
        let owner = shard.assignment()?.node;
        let takes = state.nodes().get(&owner).is_some_and(Node::takes_shards);
        let stays = takes && shard.handoff().is_none() && !is_ready(shard);
        (stays && others_are_connected(&owner)).then_some((*id, owner))
    });
    stuck.collect()
}
