//! How many shards each of some nodes has, sorted, so that a plan costs O(log nodes) a move.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::NodeId;
use crate::state::{Shard, State};

/// Shards by node, and the other way round.
pub(super) struct Load {
    counts: BTreeMap<NodeId, usize>,
    sorted: BTreeSet<(usize, NodeId)>,
}

impl Load {
    /// What `nodes` have once all hand-offs that are under way are done.
    pub(super) fn of(state: &State, nodes: &[NodeId]) -> Self {
        let mut counts: BTreeMap<NodeId, usize> = nodes.iter().map(|node| (*node, 0)).collect();
        for shard in state.shards().values() {
            if let Some(count) = next_owner(shard).and_then(|node| counts.get_mut(&node)) {
                *count += 1;
            }
        }
        let sorted = counts.iter().map(|(node, count)| (*count, *node)).collect();
        Self { counts, sorted }
    }

    /// One more shard for the node that has the fewest, the lower id first.
    pub(super) fn give(&mut self) -> Option<NodeId> {
        let (_, node) = *self.sorted.first()?;
        self.change(node, 1);
        Some(node)
    }

    /// One shard more for `node`, if it is one of these.
    pub(super) fn give_to(&mut self, node: NodeId) {
        self.change(node, 1);
    }

    /// One shard less for `node`, if it is one of these.
    pub(super) fn take_from(&mut self, node: NodeId) {
        self.change(node, -1);
    }

    /// `node` neither gives nor takes any more.
    pub(super) fn leave_out(&mut self, node: NodeId) {
        if let Some(count) = self.counts.remove(&node) {
            self.sorted.remove(&(count, node));
        }
    }

    /// The node with the fewest shards, and that with the most.
    pub(super) fn ends(&self) -> Option<[(usize, NodeId); 2]> {
        Some([*self.sorted.first()?, *self.sorted.last()?])
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.counts.keys().copied()
    }

    pub(super) fn has(&self, node: NodeId) -> bool {
        self.counts.contains_key(&node)
    }

    fn change(&mut self, node: NodeId, by: isize) {
        if let Some(count) = self.counts.get_mut(&node) {
            self.sorted.remove(&(*count, node));
            *count = count.saturating_add_signed(by);
            self.sorted.insert((*count, node));
        }
    }
}

/// Who runs the shard when its hand-off, if there is one, is done.
pub(super) fn next_owner(shard: &Shard) -> Option<NodeId> {
    shard.handoff().or_else(|| shard.assignment().map(|held| held.node))
}

/// How many shards each owner owns.
pub(super) fn owned(state: &State) -> BTreeMap<NodeId, usize> {
    let mut owned = BTreeMap::new();
    for held in state.shards().values().filter_map(Shard::assignment) {
        *owned.entry(held.node).or_insert(0) += 1;
    }
    owned
}
