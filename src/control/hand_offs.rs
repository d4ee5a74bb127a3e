//! What the leader sees over time and [`placement::hand_offs`] asks for.

use std::{collections::BTreeMap, time::Duration};

use crate::lease::Moment;
use crate::model::{Epoch, NodeId, ShardId, ShardStatus};
use crate::placement::{self, Seen};
use crate::state::{Move, State};

/// A node that could not connect one of its shards is given no healthy one for so long.
const AVOID: Duration = Duration::from_mins(5);

/// Watches shards, in one term.
#[derive(Debug)]
pub(super) struct HandOffs {
    /// When hand-offs were planned last; before that, when the term began.
    last: Moment,
    /// Since when each shard has had no connection, and under which epoch.
    disconnected: BTreeMap<ShardId, (Epoch, Moment)>,
    /// When nodes were troubled last.
    troubled: BTreeMap<NodeId, Moment>,
}

impl HandOffs {
    pub(super) const fn new(now: Moment) -> Self {
        Self { last: now, disconnected: BTreeMap::new(), troubled: BTreeMap::new() }
    }

    /// The hand-offs that are due.
    pub(super) fn plan(&mut self, now: Moment, state: &State) -> Vec<Move> {
        self.look(now, state);
        let span = |since: &Moment| now.since(*since);
        let mut seen = Seen {
            since_hand_offs: span(&self.last),
            disconnected: self.disconnected.iter().map(|(id, (_, at))| (*id, span(at))).collect(),
            avoid: self.troubled.keys().copied().collect(),
        };
        for node in placement::troubled(state, &seen) {
            self.troubled.insert(node, now);
            seen.avoid.insert(node);
        }
        let moves = placement::hand_offs(state, &seen);
        if !moves.is_empty() {
            self.last = now;
        }
        moves
    }

    /// A shard that waits for its turn to identify is spawning: only those that had a connection count.
    fn look(&mut self, now: Moment, state: &State) {
        for (id, shard) in state.shards() {
            let lacks = match shard.health().status {
                ShardStatus::Disconnected | ShardStatus::Dead => shard.epoch(),
                ShardStatus::Spawning | ShardStatus::Ready => None,
            };
            let Some(epoch) = lacks else {
                self.disconnected.remove(id);
                continue;
            };
            let known = self.disconnected.entry(*id).or_insert((epoch, now));
            if known.0 != epoch {
                *known = (epoch, now);
            }
        }
        self.disconnected.retain(|id, _| state.shards().contains_key(id));
        self.troubled.retain(|_, at| now.since(*at) < AVOID);
    }
}
