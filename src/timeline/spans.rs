//! What takes a while: shards that are without an owner that runs them, from the first step to the last.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::{
    Fact, Kind,
    diff::{Moved, name},
};
use crate::model::{NodeId, ShardId, ShardStatus};
use crate::state::{Presence, State};

/// A failover of one node's shards, or a handoff from one node to another.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum What {
    Failover { from: NodeId },
    Handoff { from: NodeId, to: NodeId },
}

#[derive(Debug)]
struct Span {
    began: Instant,
    /// Kept, since a node that is forgotten has none any more.
    from: String,
    shards: BTreeSet<ShardId>,
    waiting: BTreeSet<ShardId>,
}

/// All that is under way: at most one for each pair of nodes.
#[derive(Debug, Default)]
pub(super) struct Spans(BTreeMap<What, Span>);

impl Spans {
    /// A node is lost with these shards.
    pub(super) fn lose(&mut self, before: &State, from: NodeId, now: Instant) {
        let shards: BTreeSet<_> = before.owned_by(from).map(|(shard, _)| shard).collect();
        // What was on its way to it is the failover's.
        self.0.retain(|what, _| !matches!(what, What::Handoff { to, .. } if *to == from));
        if !shards.is_empty() {
            self.add(What::Failover { from }, name(before, from), shards, now);
        }
    }

    /// A shard goes from owner to owner. What a lost node had is its failover's already.
    pub(super) fn moved(&mut self, before: &State, after: &State, step: Moved, now: Instant) {
        let (Some(from), Some(to)) = (step.from, step.to) else { return };
        // What goes on to another node did not end where it was to.
        for (what, span) in &mut self.0 {
            if matches!(what, What::Handoff { to: meant, .. } if *meant != to) {
                span.waiting.remove(&step.shard);
                span.shards.remove(&step.shard);
            }
        }
        let known = after.nodes().get(&from).or_else(|| before.nodes().get(&from));
        let lost = known.is_none_or(|node| node.presence == Presence::Lost);
        if !lost {
            let what = What::Handoff { from, to };
            self.add(what, name(before, from), BTreeSet::from([step.shard]), now);
        }
    }

    fn add(&mut self, what: What, from: String, shards: BTreeSet<ShardId>, now: Instant) {
        let span = self.0.entry(what).or_insert_with(|| Span {
            began: now,
            from,
            shards: BTreeSet::new(),
            waiting: BTreeSet::new(),
        });
        span.waiting.extend(&shards);
        span.shards.extend(shards);
    }

    /// What has come to its end in this state.
    pub(super) fn finish(&mut self, state: &State, now: Instant) -> Vec<Fact> {
        let mut facts = Vec::new();
        self.0.retain(|what, span| {
            span.waiting.retain(|shard| !runs(state, *shard));
            // A shard that a reshard has done away with is waited for no more, and is no success either.
            span.shards.retain(|shard| state.shards().contains_key(shard));
            if !span.waiting.is_empty() {
                return true;
            }
            if !span.shards.is_empty() {
                facts.push(done(state, *what, span, now));
            }
            false
        });
        facts
    }
}

fn runs(state: &State, shard: ShardId) -> bool {
    state.shards().get(&shard).is_none_or(|shard| {
        shard.assignment().is_some() && shard.health().status == ShardStatus::Ready
    })
}

fn done(state: &State, what: What, span: &Span, now: Instant) -> Fact {
    let fact = match what {
        What::Failover { .. } => Fact::at(Kind::Failover, span.from.clone()),
        What::Handoff { to, .. } => {
            Fact { from: Some(span.from.clone()), ..Fact::at(Kind::Handoff, name(state, to)) }
        }
    };
    Fact {
        shards: span.shards.iter().copied().collect(),
        took: Some(now.saturating_duration_since(span.began)),
        ..fact
    }
}
