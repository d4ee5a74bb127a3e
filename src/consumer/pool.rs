//! Who gets an event, and who has it.
//!
//! Values and functions behind one lock; what is sent and when is the connections' business.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    group::Group,
    offer::{Offer, Parcel, Settled},
};
use crate::model::ShardId;

/// Groups at once. Each is a copy of every event.
pub(super) const GROUPS_MAX: usize = 16;

/// Events that a consumer may have without having acknowledged them, unless it says otherwise: a shard of a busy bot has
/// some hundred a second, so a round trip to it costs no pause.
pub(super) const WINDOW_DEFAULT: usize = 1_024;

/// The most that it may ask for: what is in its hands comes again when it goes.
pub(super) const WINDOW_MAX: usize = 65_536;

/// A consumer's connection: never the same twice in a process.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct ConsumerId(pub(super) u64);

/// Which events a consumer wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Wanted {
    All,
    Named(BTreeSet<Box<str>>),
}

/// Everything that is offered and not settled.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Groups that every event waits for.
    required: BTreeSet<Group>,
    groups: BTreeMap<Group, Members>,
    consumers: BTreeMap<ConsumerId, Consumer>,
    offers: u64,
}

#[derive(Debug, Default)]
struct Members {
    consumers: BTreeSet<ConsumerId>,
    /// Which of them has a shard's events. What is cancelled tells that the shard runs here no more.
    shards: BTreeMap<ShardId, (ConsumerId, CancellationToken)>,
    /// Offers that nobody is there to take, by number.
    waiting: BTreeMap<u64, Handed>,
}

#[derive(Debug)]
struct Consumer {
    group: Group,
    wanted: Wanted,
    window: usize,
    /// To be sent, by number.
    ready: BTreeMap<u64, Handed>,
    /// Sent and not acknowledged.
    outstanding: BTreeMap<u64, Handed>,
    wake: Arc<Notify>,
}

#[derive(Clone, Debug)]
pub(super) struct Handed {
    pub(super) offer: Arc<Offer>,
    /// It has been sent to a consumer before.
    pub(super) again: bool,
}

/// How a group stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Standing {
    pub(super) required: bool,
    pub(super) consumers: usize,
    pub(super) waiting: usize,
    pub(super) unacknowledged: usize,
}

/// Who was sent an event that is withdrawn.
pub(super) type Holders = Vec<ConsumerId>;

impl Wanted {
    fn wants(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(name),
        }
    }
}

impl Pool {
    pub(super) fn new(required: BTreeSet<Group>) -> Self {
        Self { required, ..Self::default() }
    }

    /// Offers an event to every group that wants it or may; `None` where there is none.
    pub(super) fn offer(
        &mut self,
        parcel: Parcel,
    ) -> Option<(Arc<Offer>, oneshot::Receiver<Settled>)> {
        let name = parcel.event.name();
        let mut groups: BTreeSet<Group> = BTreeSet::new();
        for group in self.required.iter().chain(self.groups.keys()) {
            let members = self.groups.get(group).filter(|members| !members.consumers.is_empty());
            let takes = match members {
                Some(members) => members.consumers.iter().any(|id| self.wants(*id, name)),
                None => self.required.contains(group),
            };
            if takes {
                groups.insert(group.clone());
            }
        }
        if groups.is_empty() {
            return None;
        }
        self.offers += 1;
        let (offer, settled) = Offer::new(self.offers, parcel, groups.clone());
        for group in &groups {
            self.hand(group, Handed { offer: Arc::clone(&offer), again: false });
        }
        Some((offer, settled))
    }

    /// Takes a consumer into a group, which then has its part of the shards. What waited for the group is offered to it.
    ///
    /// Where there are too many groups, it is refused.
    pub(super) fn join(
        &mut self,
        id: ConsumerId,
        (group, wanted, window): (Group, Wanted, usize),
        wake: Arc<Notify>,
    ) -> Result<(), TooManyGroups> {
        let is_new = !self.groups.contains_key(&group);
        if is_new && self.groups.len() >= GROUPS_MAX {
            return Err(TooManyGroups);
        }
        self.leave(id);
        let window = window.clamp(1, WINDOW_MAX);
        let (ready, outstanding) = (BTreeMap::new(), BTreeMap::new());
        let consumer = Consumer { group: group.clone(), wanted, window, ready, outstanding, wake };
        self.consumers.insert(id, consumer);
        let members = self.groups.entry(group.clone()).or_default();
        members.consumers.insert(id);
        members.balance();
        for handed in std::mem::take(&mut members.waiting).into_values() {
            self.hand(&group, handed);
        }
        Ok(())
    }

    /// Takes a consumer out of its group. What it has goes to the others, or waits.
    pub(super) fn leave(&mut self, id: ConsumerId) {
        let Some(gone) = self.consumers.remove(&id) else { return };
        let group = gone.group;
        if let Some(members) = self.groups.get_mut(&group) {
            members.consumers.remove(&id);
            members.shards.retain(|_, (holder, _)| *holder != id);
        }
        let sent = gone.outstanding.into_values().map(|handed| Handed { again: true, ..handed });
        for handed in sent.chain(gone.ready.into_values()) {
            self.hand(&group, handed);
        }
        let is_empty =
            |members: &Members| members.consumers.is_empty() && members.waiting.is_empty();
        if self.groups.get(&group).is_some_and(is_empty) {
            self.groups.remove(&group);
        }
    }

    /// The next event for a consumer, which has it from then on.
    pub(super) fn take(&mut self, id: ConsumerId) -> Option<Handed> {
        let consumer = self.consumers.get_mut(&id)?;
        while consumer.outstanding.len() < consumer.window {
            let (number, handed) = consumer.ready.pop_first()?;
            // Its deliverer is told in its own way; whoever is sent nothing can't act on it.
            if handed.offer.parcel.fence.is_down() {
                continue;
            }
            consumer.outstanding.insert(number, handed.clone());
            return Some(handed);
        }
        None
    }

    /// A consumer has handled an event, or says what went wrong. Whether it had it.
    pub(super) fn acknowledge(
        &mut self,
        id: ConsumerId,
        number: u64,
        error: Option<String>,
    ) -> bool {
        let Some(consumer) = self.consumers.get_mut(&id) else { return false };
        let was_full = consumer.outstanding.len() >= consumer.window;
        let Some(handed) = consumer.outstanding.remove(&number) else { return false };
        if was_full {
            consumer.wake.notify_one();
        }
        handed.offer.settle(&consumer.group, error);
        true
    }

    /// Forgets an offer that nobody waits for any more. Returns who has been sent it.
    pub(super) fn withdraw(&mut self, number: u64) -> Holders {
        for members in self.groups.values_mut() {
            members.waiting.remove(&number);
        }
        let mut holders = Holders::new();
        for (id, consumer) in &mut self.consumers {
            consumer.ready.remove(&number);
            if consumer.outstanding.remove(&number).is_some() {
                holders.push(*id);
                consumer.wake.notify_one();
            }
        }
        holders
    }

    /// The shard of an offer stops: it is left to the next owner unless somebody has it.
    pub(super) fn stop(&mut self, offer: &Offer) {
        let waits = |members: &Members| members.waiting.contains_key(&offer.number);
        if self.groups.values().any(waits) {
            offer.abandon();
        }
    }

    /// Which of these consumers should run a shard's handlers: the one that has its events.
    pub(super) fn holder(
        &self,
        shard: ShardId,
        among: &BTreeSet<ConsumerId>,
    ) -> Option<ConsumerId> {
        let mut holders =
            self.groups.values().filter_map(|members| Some(members.shards.get(&shard)?.0));
        holders.find(|holder| among.contains(holder)).or_else(|| {
            let place = shard.0 as usize % among.len().max(1);
            among.iter().nth(place).copied()
        })
    }

    /// How each group stands, the required ones first of all.
    pub(super) fn standing(&self) -> BTreeMap<Group, Standing> {
        let mut all: BTreeMap<Group, Standing> = BTreeMap::new();
        for group in &self.required {
            all.entry(group.clone()).or_default().required = true;
        }
        for (group, members) in &self.groups {
            let standing = all.entry(group.clone()).or_default();
            (standing.consumers, standing.waiting) =
                (members.consumers.len(), members.waiting.len());
        }
        for consumer in self.consumers.values() {
            let standing = all.entry(consumer.group.clone()).or_default();
            standing.waiting += consumer.ready.len();
            standing.unacknowledged += consumer.outstanding.len();
        }
        all
    }

    fn wants(&self, id: ConsumerId, name: &str) -> bool {
        self.consumers.get(&id).is_some_and(|consumer| consumer.wanted.wants(name))
    }

    /// Gives an offer to one of a group's consumers, or lets it wait for one.
    fn hand(&mut self, group: &Group, handed: Handed) {
        let parcel = &handed.offer.parcel;
        if self.groups.get(group).is_none_or(|members| members.consumers.is_empty()) {
            return self.wait(group, handed);
        }
        let members = self.groups.entry(group.clone()).or_default();
        let holder = members.holder(parcel.shard, &parcel.over);
        let others = members.consumers.clone();
        let name = parcel.event.name();
        let taker = holder.into_iter().chain(others).find(|id| self.wants(*id, name));
        match taker.and_then(|id| self.consumers.get_mut(&id)) {
            Some(consumer) => {
                consumer.ready.insert(handed.offer.number, handed);
                consumer.wake.notify_one();
            }
            None => handed.offer.settle(group, None),
        }
    }

    fn wait(&mut self, group: &Group, handed: Handed) {
        if !self.required.contains(group) {
            handed.offer.settle(group, None);
        } else if handed.offer.parcel.stopping.is_cancelled() {
            handed.offer.abandon();
        } else {
            let members = self.groups.entry(group.clone()).or_default();
            members.waiting.insert(handed.offer.number, handed);
        }
    }
}

/// No more groups are taken.
#[derive(Debug)]
pub(super) struct TooManyGroups;

impl Members {
    /// Who has a shard's events: whoever had them, or else the one with the fewest shards.
    fn holder(&mut self, shard: ShardId, over: &CancellationToken) -> Option<ConsumerId> {
        if let Some((holder, before)) = self.shards.get_mut(&shard) {
            *before = over.clone();
            return Some(*holder);
        }
        self.forget_the_gone();
        let (id, _) = self.loads().into_iter().min_by_key(|(id, load)| (*load, *id))?;
        self.shards.insert(shard, (id, over.clone()));
        Some(id)
    }

    /// Moves as few shards as even their number out.
    fn balance(&mut self) {
        self.forget_the_gone();
        loop {
            let loads = self.loads();
            let (Some((most, high)), Some((fewest, low))) = (
                loads.iter().max_by_key(|(_, load)| **load),
                loads.iter().min_by_key(|(_, load)| **load),
            ) else {
                return;
            };
            if high - low <= 1 {
                return;
            }
            let moved = self.shards.values_mut().find(|(holder, _)| holder == most);
            moved.expect("it holds the most").0 = *fewest;
        }
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
