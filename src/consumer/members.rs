//! The consumers of a group, and which of them has a shard's events.

use std::collections::{BTreeMap, BTreeSet};

use tokio_util::sync::CancellationToken;

use super::pool::{ConsumerId, Handed};
use crate::model::ShardId;

/// Which events a consumer wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Wanted {
    All,
    Named(BTreeSet<Box<str>>),
}

#[derive(Debug)]
pub(super) struct Members {
    /// What all of them want: a group speaks with one voice, or nobody could say which event nobody wants.
    pub(super) wanted: Wanted,
    pub(super) consumers: BTreeSet<ConsumerId>,
    /// Which of them has a shard's events. What is cancelled tells that the shard runs here no more.
    pub(super) shards: BTreeMap<ShardId, (ConsumerId, CancellationToken)>,
    /// Offers that nobody is there to take, by number.
    pub(super) waiting: BTreeMap<u64, Handed>,
}

/// Shards that have changed hands within a group.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Moved {
    pub(super) shards: Vec<ShardId>,
    /// Who had them.
    pub(super) from: BTreeMap<ConsumerId, Vec<ShardId>>,
}

impl Wanted {
    pub(super) fn wants(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(name),
        }
    }
}

impl Members {
    pub(super) fn of(wanted: Wanted) -> Self {
        let (consumers, shards, waiting) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Self { wanted, consumers, shards, waiting }
    }

    /// Who has a shard's events: whoever had them, or else the one with the fewest shards.
    pub(super) fn holder(
        &mut self,
        shard: ShardId,
        over: &CancellationToken,
    ) -> Option<ConsumerId> {
        if let Some((holder, before)) = self.shards.get_mut(&shard) {
            *before = over.clone();
            return Some(*holder);
        }
        self.forget_the_gone();
        let (id, _) = self.loads().into_iter().min_by_key(|(id, load)| (*load, *id))?;
        self.shards.insert(shard, (id, over.clone()));
        Some(id)
    }

    /// Moves as few shards to a newcomer as even their number out.
    pub(super) fn balance(&mut self, newcomer: ConsumerId) -> Moved {
        self.forget_the_gone();
        let mut moved = Moved::default();
        loop {
            let loads = self.loads();
            let Some((most, high)) = loads.iter().max_by_key(|(_, load)| **load) else { break };
            if high - loads.get(&newcomer).unwrap_or(high) <= 1 {
                break;
            }
            let held = self.shards.iter_mut().find(|(_, (holder, _))| holder == most);
            let (shard, (holder, _)) = held.expect("it holds the most");
            *holder = newcomer;
            moved.shards.push(*shard);
            moved.from.entry(*most).or_default().push(*shard);
        }
        moved
    }

    fn forget_the_gone(&mut self) {
        self.shards.retain(|_, (_, over)| !over.is_cancelled());
    }

    fn loads(&self) -> BTreeMap<ConsumerId, usize> {
        let mut loads: BTreeMap<_, _> = self.consumers.iter().map(|id| (*id, 0)).collect();
        for (holder, _) in self.shards.values() {
            *loads.entry(*holder).or_default() += 1;
        }
        loads
    }
}
