//! The planner: who should own which shard.
//!
//! Pure functions of the state, and of what the leader has seen besides. The leader runs them and proposes what they
//! return; replicas never do, so they can change without splitting them. They promise that every shard without an
//! owner gets one while a node lives ([`assign`], [`on_loss`]), that nodes are filled evenly, and that healthy shards
//! move rarely and never to and fro ([`hand_offs`]). A shard counts for the node that it is being handed off to.
//!
//! How many shards a node should run is no limit: what is beyond it is shown ([`over_target`]), never left unowned.

mod balance;
mod hand_offs;
mod load;
#[cfg(test)]
mod tests;

pub use hand_offs::{COOL_DOWN, HAND_OFFS_MAX, STUCK_AFTER, Seen, hand_offs, troubled};

use crate::model::NodeId;
use crate::state::{Move, Node, State};

use load::Load;

/// Moves in one plan, of 29 bytes at most: half of what a log entry may hold, as the entry of a loss carries reports
/// too. What is left is planned on the next state.
pub const MOVES_MAX: usize = 2_048;

/// The moves that give every orphan an owner: each to the node that has the fewest shards by then, the lower id first.
#[must_use]
pub fn assign(state: &State) -> Vec<Move> {
    let mut load = Load::of(state, &homes(state, None));
    let orphans = state.shards().iter().filter(|(_, shard)| shard.assignment().is_none());
    let moves =
        orphans.map_while(|(id, _)| Some(Move { shard: *id, from: None, to: load.give()? }));
    moves.take(MOVES_MAX).collect()
}

/// Where the shards of `lost` go with its loss. One without a move becomes an orphan.
#[must_use]
pub fn on_loss(state: &State, lost: NodeId) -> Vec<Move> {
    let mut load = Load::of(state, &homes(state, Some(lost)));
    for (_, shard) in state.owned_by(lost) {
        // It is planned anew, wherever it was about to go.
        if let Some(to) = shard.handoff() {
            load.take_from(to);
        }
    }
    let moves = state
        .owned_by(lost)
        .map_while(|(id, shard)| Some(Move { shard: id, from: shard.epoch(), to: load.give()? }));
    moves.take(MOVES_MAX).collect()
}

/// The nodes that own more shards than `soft_target`, and how many they own.
#[must_use]
pub fn over_target(state: &State, soft_target: u32) -> Vec<(NodeId, usize)> {
    let owned = load::owned(state);
    let target = usize::try_from(soft_target).unwrap_or(usize::MAX);
    owned.into_iter().filter(|(_, shards)| *shards > target).collect()
}

/// Where a shard can go that nobody runs: nodes that an operator wants empty are the last resort.
fn homes(state: &State, lost: Option<NodeId>) -> Vec<NodeId> {
    let but_lost = |suits: fn(&Node) -> bool| {
        let mut nodes = nodes(state, suits);
        nodes.retain(|node| Some(*node) != lost);
        nodes
    };
    let takers = but_lost(Node::takes_shards);
    if takers.is_empty() { but_lost(Node::takes_orphans) } else { takers }
}

/// The nodes that are so.
fn nodes(state: &State, suits: fn(&Node) -> bool) -> Vec<NodeId> {
    state.nodes().iter().filter(|(_, node)| suits(node)).map(|(id, _)| *id).collect()
}
