//! From state to state, with what is under way kept in mind.

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::Instant;

use super::{
    Fact, Kind,
    diff::{self, Moved, name},
    spans::Spans,
};
use crate::model::{NodeId, ShardId};
use crate::state::{Presence, State};

/// Tells what happens. It may miss states in between: what it tells then is what came of them.
#[derive(Debug)]
pub struct Narrator {
    before: Arc<State>,
    /// Shards that nobody owns, and who did last.
    orphans: BTreeMap<ShardId, NodeId>,
    spans: Spans,
}

impl Narrator {
    /// One that begins here: what is true already is no news.
    #[must_use]
    pub fn new(state: Arc<State>) -> Self {
        Self { before: state, orphans: BTreeMap::new(), spans: Spans::default() }
    }

    /// What happened on the way to `state`, which is seen at `now`.
    pub fn observe(&mut self, state: &Arc<State>, now: Instant) -> Vec<Fact> {
        let before = std::mem::replace(&mut self.before, Arc::clone(state));
        let mut facts = diff::of_the_cluster(&before, state);
        for id in newly_lost(&before, state) {
            self.spans.lose(&before, id, now);
        }
        let moves = self.join(diff::moves(&before, state));
        for step in &moves {
            self.spans.moved(&before, state, *step, now);
        }
        facts.extend(told(&before, state, &moves));
        facts.extend(diff::conditions(&before, state));
        facts.extend(self.spans.finish(state, now));
        facts
    }

    /// A shard that nobody owned for a while comes from its last owner.
    fn join(&mut self, moves: Vec<Moved>) -> Vec<Moved> {
        let mut joined = Vec::with_capacity(moves.len());
        for step in moves {
            match (step.from, step.to) {
                (Some(from), None) => {
                    self.orphans.insert(step.shard, from);
                }
                (from, to) => {
                    let from = from.or_else(|| self.orphans.remove(&step.shard));
                    joined.push(Moved { from, to, ..step });
                }
            }
        }
        joined
    }
}

fn newly_lost(before: &State, after: &State) -> Vec<NodeId> {
    let lost = after.nodes().iter().filter(|(id, node)| {
        let was = before.nodes().get(id).map(|node| node.presence);
        (was, node.presence) == (Some(Presence::Present), Presence::Lost)
    });
    lost.map(|(id, _)| *id).collect()
}

/// Moves as facts, by the two nodes. One that ends where it began is none.
fn told(before: &State, after: &State, moves: &[Moved]) -> Vec<Fact> {
    let mut grouped: BTreeMap<(Option<NodeId>, NodeId), Vec<ShardId>> = BTreeMap::new();
    for step in moves {
        if let Some(to) = step.to.filter(|to| step.from != Some(*to)) {
            grouped.entry((step.from, to)).or_default().push(step.shard);
        }
    }
    let known = |node| match after.nodes().contains_key(&node) {
        true => name(after, node),
        false => name(before, node),
    };
    let facts = grouped.into_iter().map(|((from, to), shards)| Fact {
        from: from.map(known),
        shards,
        ..Fact::at(Kind::ShardMoved, known(to))
    });
    facts.collect()
}
