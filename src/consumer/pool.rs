//! Who gets an event, and who has it.
//!
//! Values and functions behind one lock; what is sent and when is the connections' business.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{
    group::Group,
    members::{Members, Moved, Wanted},
    offer::{Offer, Parcel, Settled},
};
use crate::model::ShardId;

/// Groups at once that no event waits for. Each is a copy of every event.
pub(super) const GROUPS_MAX: usize = 16;

/// Events that a consumer may have without having acknowledged them, unless it says otherwise: a shard of a busy bot has
/// some hundred a second, so a round trip to it costs no pause.
pub(super) const WINDOW_DEFAULT: usize = 1_024;

/// The most that it may ask for: what is in its hands comes again when it goes.
pub(super) const WINDOW_MAX: usize = 65_536;

/// A consumer's connection: never the same twice in a process.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct ConsumerId(pub(super) u64);

/// Everything that is offered and not settled.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Groups that every event waits for.
    required: BTreeSet<Group>,
    groups: BTreeMap<Group, Members>,
    consumers: BTreeMap<ConsumerId, Consumer>,
    offers: u64,
}

#[derive(Debug)]
struct Consumer {
    group: Group,
    window: usize,
    /// To be sent, by number.
    ready: BTreeMap<u64, Handed>,
    /// Sent and not acknowledged.
    outstanding: BTreeMap<u64, (Handed, Instant)>,
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
    /// For how long one of them has been.
    pub(super) oldest: Option<Duration>,
}

/// Why a consumer is not taken into a group.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum NotJoined {
    /// There are too many groups.
    TooMany,
    /// The group's other consumers want other events.
    OtherEvents,
}

/// Who was sent an event that is withdrawn.
pub(super) type Holders = Vec<ConsumerId>;

impl Pool {
    /// A pool in which every event waits for these groups. Offers are numbered from behind `before`: by chance, so that
    /// nobody acknowledges an event that another process has numbered.
    pub(super) fn new(required: BTreeSet<Group>, before: u64) -> Self {
        Self { required, offers: before, ..Self::default() }
    }

    /// Offers an event to every group that wants it or may; `None` where there is none.
    pub(super) fn offer(
        &mut self,
        parcel: Parcel,
    ) -> Option<(Arc<Offer>, oneshot::Receiver<Settled>)> {
        let name = parcel.event.name();
        let takes = |group: &&Group| match self.present(group) {
            Some(members) => members.wanted.wants(name),
            None => self.required.contains(*group),
        };
        let groups: BTreeSet<Group> =
            self.required.iter().chain(self.groups.keys()).filter(takes).cloned().collect();
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

    /// Takes a consumer into a group, which then has its part of the shards. What waited for the group is offered to it, but
    /// for what it does not want. A consumer that is there already goes on with what it has.
    pub(super) fn join(
        &mut self,
        id: ConsumerId,
        (group, wanted, window): (Group, Wanted, usize),
        wake: Arc<Notify>,
    ) -> Result<Moved, NotJoined> {
        let window = window.clamp(1, WINDOW_MAX);
        let alone = BTreeSet::from([id]);
        match self.groups.get(&group) {
            Some(members) if members.wanted != wanted && !members.consumers.is_subset(&alone) => {
                return Err(NotJoined::OtherEvents);
            }
            None if !self.required.contains(&group) && self.optional_without(id) >= GROUPS_MAX => {
                return Err(NotJoined::TooMany);
            }
            _ => {}
        }
        if self.consumers.get(&id).is_some_and(|known| known.group != group) {
            self.leave(id);
        }
        let (ready, outstanding) = (BTreeMap::new(), BTreeMap::new());
        let fresh = Consumer { group: group.clone(), window, ready, outstanding, wake };
        let known = self.consumers.entry(id).or_insert(fresh);
        known.window = window;
        let members =
            self.groups.entry(group.clone()).or_insert_with(|| Members::of(wanted.clone()));
        members.wanted = wanted;
        members.consumers.insert(id);
        let moved = members.balance(id);
        // Also what it was about to be sent: it may want it no more.
        let waited = std::mem::take(&mut members.waiting);
        let unsent = std::mem::take(&mut known.ready);
        for handed in unsent.into_values().chain(waited.into_values()) {
            self.hand(&group, handed);
        }
        Ok(moved)
    }

    /// Gives a consumer no more events. What it has it may finish.
    pub(super) fn drain(&mut self, id: ConsumerId) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let (group, unsent) = (consumer.group.clone(), std::mem::take(&mut consumer.ready));
        self.forget(id, &group);
        for handed in unsent.into_values() {
            self.hand(&group, handed);
        }
        self.tidy(&group);
    }

    /// Takes a consumer out of its group. What it has goes to the others, or waits.
    pub(super) fn leave(&mut self, id: ConsumerId) {
        let Some(gone) = self.consumers.remove(&id) else { return };
        let group = gone.group;
        self.forget(id, &group);
        let sent =
            gone.outstanding.into_values().map(|(handed, _)| Handed { again: true, ..handed });
        for handed in sent.chain(gone.ready.into_values()) {
            self.hand(&group, handed);
        }
        self.tidy(&group);
    }

    /// The next event for a consumer, which has it from then on.
    pub(super) fn take(&mut self, id: ConsumerId, now: Instant) -> Option<Handed> {
        let consumer = self.consumers.get_mut(&id)?;
        while consumer.outstanding.len() < consumer.window {
            let (number, handed) = consumer.ready.pop_first()?;
            // Its deliverer is told in its own way; whoever is sent nothing can't act on it.
            let parcel = &handed.offer.parcel;
            if parcel.fence.is_down() || parcel.over.is_cancelled() {
                continue;
            }
            consumer.outstanding.insert(number, (handed.clone(), now));
            return Some(handed);
        }
        None
    }

    /// A consumer has handled an event, or says what went wrong. Whether it had it.
    pub(super) fn acknowledge(&mut self, id: ConsumerId, number: u64, error: Option<&str>) -> bool {
        let Some(consumer) = self.consumers.get_mut(&id) else { return false };
        let was_full = consumer.outstanding.len() >= consumer.window;
        let Some((handed, _)) = consumer.outstanding.remove(&number) else { return false };
        if was_full {
            consumer.wake.notify_one();
        }
        handed.offer.settle(&consumer.group, error.map(str::to_owned));
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

    /// How each group stands.
    pub(super) fn standing(&self, now: Instant) -> BTreeMap<Group, Standing> {
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
            let ages = consumer.outstanding.values().map(|(_, sent)| now.duration_since(*sent));
            standing.oldest = standing.oldest.max(ages.max());
        }
        all
    }

    /// A group of which somebody is there.
    fn present(&self, group: &Group) -> Option<&Members> {
        self.groups.get(group).filter(|members| !members.consumers.is_empty())
    }

    /// Groups that nothing waits for, but for one in which this consumer is alone.
    fn optional_without(&self, id: ConsumerId) -> usize {
        let alone = BTreeSet::from([id]);
        let stays = |(group, members): &(&Group, &Members)| {
            !self.required.contains(*group) && members.consumers != alone
        };
        self.groups.iter().filter(stays).count()
    }

    fn forget(&mut self, id: ConsumerId, group: &Group) {
        if let Some(members) = self.groups.get_mut(group) {
            members.consumers.remove(&id);
            members.shards.retain(|_, (holder, _)| *holder != id);
        }
    }

    fn tidy(&mut self, group: &Group) {
        let is_empty =
            |members: &Members| members.consumers.is_empty() && members.waiting.is_empty();
        if self.groups.get(group).is_some_and(is_empty) {
            self.groups.remove(group);
        }
    }

    /// Gives an offer to one of a group's consumers, or lets it wait for one.
    fn hand(&mut self, group: &Group, handed: Handed) {
        let parcel = &handed.offer.parcel;
        let members = self.groups.get_mut(group).filter(|members| !members.consumers.is_empty());
        let Some(members) = members else { return self.wait(group, handed) };
        if !members.wanted.wants(parcel.event.name()) {
            return handed.offer.settle(group, None);
        }
        let holder = members.holder(parcel.shard, &parcel.over);
        if let Some(consumer) = holder.and_then(|id| self.consumers.get_mut(&id)) {
            consumer.ready.insert(handed.offer.number, handed);
            consumer.wake.notify_one();
        }
    }

    fn wait(&mut self, group: &Group, handed: Handed) {
        if !self.required.contains(group) {
            handed.offer.settle(group, None);
        } else if handed.offer.parcel.stopping.is_cancelled() {
            handed.offer.abandon();
        } else {
            let members =
                self.groups.entry(group.clone()).or_insert_with(|| Members::of(Wanted::All));
            members.waiting.insert(handed.offer.number, handed);
        }
    }
}
