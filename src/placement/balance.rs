//! Healthy shards that are one too many where they are: by count, and only once that is even, by guilds.

use std::collections::{BTreeMap, BTreeSet};

use super::load::{Load, next_owner};
use crate::model::{Epoch, NodeId, ShardId, ShardStatus};
use crate::state::{Move, Shard, State};

/// Nodes whose guilds are this many hundredths away from what their count of shards makes likely are even enough: a
/// RESUME costs more than the difference.
const WEIGHT_OFF_MAX_PERCENT: i128 = 5;

/// What a step must win at least, in hundredths of a node's average: shards that cannot be spread better must not move
/// each time that a guild comes or goes.
const WEIGHT_STEP_MIN_PERCENT: i128 = 1;

/// A shard that may be moved.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Candidate {
    shard: ShardId,
    epoch: Option<Epoch>,
    guilds: i128,
}

impl Candidate {
    fn new(id: ShardId, shard: &Shard) -> Self {
        Self { shard: id, epoch: shard.epoch(), guilds: guilds(shard) }
    }

    const fn to(self, to: NodeId) -> Move {
        Move { shard: self.shard, from: self.epoch, to }
    }
}

/// The moves that make the nodes of `load` more even than they are, at most `room`. None where they are even.
pub(super) fn balance(state: &State, mut load: Load, room: usize) -> Vec<Move> {
    let Some([(fewest, _), (most, _)]) = load.ends() else {
        return Vec::new();
    };
    if most - fewest <= 1 { weights(state, &load, room) } else { counts(state, &mut load, room) }
}

/// From the fullest node to the emptiest, until no two differ by more than one.
fn counts(state: &State, load: &mut Load, room: usize) -> Vec<Move> {
    let average = average_guilds(state);
    let mut movable: BTreeMap<NodeId, Vec<(bool, i128, Candidate)>> = BTreeMap::new();
    for (id, shard) in state.shards() {
        if let Some(node) = movable_from(shard, load) {
            // One of average size first, which leaves the weights even. One that is connected even before that: what
            // waits to identify is next in turn where it is.
            let off = (guilds(shard) - average).abs();
            let suits = (!is_ready(shard), off, Candidate::new(*id, shard));
            movable.entry(node).or_default().push(suits);
        }
    }
    for shards in movable.values_mut() {
        shards.sort_unstable_by(|one, other| other.cmp(one));
    }
    let mut moves = Vec::new();
    while moves.len() < room
        && let Some([(fewest, to), (most, from)]) = load.ends()
        && most - fewest > 1
    {
        let Some((_, _, candidate)) = movable.get_mut(&from).and_then(Vec::pop) else {
            load.leave_out(from);
            continue;
        };
        load.take_from(from);
        load.give_to(to);
        moves.push(candidate.to(to));
    }
    moves
}

/// Swaps, and moves that leave the counts as even as they are, between the node with most guilds too many and the one
/// with most too few, while one of them is off.
fn weights(state: &State, load: &Load, room: usize) -> Vec<Move> {
    let Some(mut scale) = Scale::of(state, load) else {
        return Vec::new();
    };
    let mut moves = Vec::new();
    // A swap takes two.
    while moves.len() + 2 <= room
        && let Some((light, heavy)) = scale.off()
        && let Some((down, up)) = scale.best_step(light, heavy)
    {
        for (candidate, from, to) in [(down, heavy, light), (up, light, heavy)] {
            if let Some(candidate) = candidate {
                scale.shift(candidate, from, to);
                moves.push(candidate.to(to));
            }
        }
    }
    moves
}

/// The guilds of each node against what its count of shards makes likely. All is multiplied with the number of shards,
/// so that it stays whole.
struct Scale {
    shards: i128,
    guilds: i128,
    nodes: BTreeMap<NodeId, Pan>,
    /// Guilds too many, which may be below zero.
    sorted: BTreeSet<(i128, NodeId)>,
}

/// A node's side of it.
#[derive(Default)]
struct Pan {
    shards: i128,
    guilds: i128,
    movable: Vec<Candidate>,
}

impl Scale {
    /// `None` where some shard's guilds are not known yet.
    fn of(state: &State, load: &Load) -> Option<Self> {
        let mut nodes: BTreeMap<NodeId, Pan> =
            load.nodes().map(|node| (node, Pan::default())).collect();
        for (id, shard) in state.shards() {
            let Some(pan) = next_owner(shard).and_then(|node| nodes.get_mut(&node)) else {
                continue;
            };
            shard.health().ready_at?;
            pan.shards += 1;
            pan.guilds += guilds(shard);
            if is_ready(shard) && movable_from(shard, load).is_some() {
                pan.movable.push(Candidate::new(*id, shard));
            }
        }
        for pan in nodes.values_mut() {
            pan.movable.sort_unstable_by_key(|candidate| (candidate.guilds, candidate.shard));
        }
        let shards = nodes.values().map(|pan| pan.shards).sum();
        let guilds = nodes.values().map(|pan| pan.guilds).sum();
        let mut scale = Self { shards, guilds, nodes, sorted: BTreeSet::new() };
        scale.sorted = scale.nodes.iter().map(|(id, pan)| (scale.excess(pan), *id)).collect();
        Some(scale)
    }

    const fn excess(&self, pan: &Pan) -> i128 {
        pan.guilds * self.shards - pan.shards * self.guilds
    }

    /// The lightest and the heaviest node, where one of them is off by more than is even enough.
    fn off(&self) -> Option<(NodeId, NodeId)> {
        let [light, heavy] = [*self.sorted.first()?, *self.sorted.last()?];
        let is_off = |(excess, node): (i128, NodeId)| {
            let likely = self.nodes[&node].shards * self.guilds;
            excess.abs() * 100 > likely * WEIGHT_OFF_MAX_PERCENT
        };
        (is_off(light) || is_off(heavy)).then_some((light.1, heavy.1))
    }

    /// What goes down from `heavy` to `light`, and up in exchange: what brings them closest. `None` where nothing wins
    /// enough.
    fn best_step(
        &self,
        light: NodeId,
        heavy: NodeId,
    ) -> Option<(Option<Candidate>, Option<Candidate>)> {
        let (low, high) = (&self.nodes[&light], &self.nodes[&heavy]);
        let gap = self.excess(high) - self.excess(low);
        // A shard of average size stands for none: the counts differ by one then, and change sides.
        let average = self.guilds;
        let scaled = |candidate: &Candidate| candidate.guilds * self.shards;
        let mut steps = Vec::new();
        for down in &high.movable {
            // The best to come up in exchange is next to this one, less half of the gap.
            let wish = scaled(down) - gap / 2;
            let at = low.movable.partition_point(|up| scaled(up) < wish);
            for up in low.movable.iter().skip(at.saturating_sub(1)).take(2) {
                steps.push((scaled(down) - scaled(up), Some(*down), Some(*up)));
            }
            if high.shards == low.shards + 1 {
                steps.push((scaled(down) - average, Some(*down), None));
            }
        }
        if low.shards == high.shards + 1 {
            steps.extend(low.movable.iter().map(|up| (average - scaled(up), None, Some(*up))));
        }
        let before = self.excess(high).abs().max(self.excess(low).abs());
        let left = |lifted: i128| {
            (self.excess(high) - lifted).abs().max((self.excess(low) + lifted).abs())
        };
        let nodes = i128::try_from(self.nodes.len()).unwrap_or(i128::MAX);
        let win_min = (self.guilds * self.shards * WEIGHT_STEP_MIN_PERCENT / (100 * nodes)).max(1);
        let (lifted, down, up) = steps.into_iter().min_by_key(|(lifted, down, up)| {
            let of = |candidate: &Option<Candidate>| candidate.map(|it| it.shard);
            (left(*lifted), of(down), of(up))
        })?;
        (before - left(lifted) >= win_min).then_some((down, up))
    }

    fn shift(&mut self, candidate: Candidate, from: NodeId, to: NodeId) {
        for (node, by) in [(from, -1), (to, 1)] {
            let Some(pan) = self.nodes.get(&node) else { continue };
            self.sorted.remove(&(self.excess(pan), node));
            if let Some(pan) = self.nodes.get_mut(&node) {
                pan.shards += by;
                pan.guilds += by * candidate.guilds;
                pan.movable.retain(|other| other.shard != candidate.shard);
            }
            self.sorted.insert((self.excess(&self.nodes[&node]), node));
        }
    }
}

/// Who runs a shard that can be handed off, where that is a node of `load`.
///
/// One that gets its connection back stays, unless it must identify, which it may do anywhere. It may just have been
/// brought here for that; and where Discord is down for all, it would only begin anew elsewhere, and be missing there as
/// one that was never connected.
fn movable_from(shard: &Shard, load: &Load) -> Option<NodeId> {
    let owner = shard.assignment()?.node;
    let waits_to_identify = shard.session().is_none() && shard.health().status != ShardStatus::Dead;
    let movable = shard.handoff().is_none() && (is_ready(shard) || waits_to_identify);
    (movable && load.has(owner)).then_some(owner)
}

fn is_ready(shard: &Shard) -> bool {
    shard.health().status == ShardStatus::Ready
}

fn guilds(shard: &Shard) -> i128 {
    shard.health().guild_count.into()
}

fn average_guilds(state: &State) -> i128 {
    let shards = i128::try_from(state.shards().len()).unwrap_or(i128::MAX).max(1);
    state.shards().values().map(guilds).sum::<i128>() / shards
}
