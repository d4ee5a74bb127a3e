//! The StatefulSets' controller: which pods are to be, and which revision of the template they have.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use apolo::model::UnixMillis;
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::{sync::watch, task::JoinSet, time::Instant};

use super::{
    manifest::{PodManagement, Retention},
    pod::{Pod, Site},
    runner::{Kubelet, Status},
};
use crate::clusters::nodes::free_port;

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) replicas: u32,
    pub(super) revision: u32,
}

/// A pod as the controller sees it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    revision: u32,
    terminating: bool,
    /// It has been ready for as long as the manifest asks.
    available: bool,
}

/// What it does next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Action {
    Create(u32),
    Delete(u32),
}

/// What the controller does next about `pods`, by ordinal. Pure.
fn decide(wanted: Wanted, order: PodManagement, pods: &BTreeMap<u32, Seen>) -> Vec<Action> {
    let ordered = order == PodManagement::OrderedReady;
    let mut actions = Vec::new();
    for ordinal in 0..wanted.replicas {
        match pods.get(&ordinal) {
            None => actions.push(Action::Create(ordinal)),
            Some(pod) if pod.available && !pod.terminating => continue,
            Some(_) => {}
        }
        if ordered {
            return actions;
        }
    }
    let beyond = pods.range(wanted.replicas..).rev();
    for (ordinal, pod) in beyond {
        if !pod.terminating {
            actions.push(Action::Delete(*ordinal));
        }
        if ordered {
            return actions;
        }
    }
    if !actions.is_empty() {
        return actions;
    }
    for (ordinal, pod) in pods.range(..wanted.replicas).rev() {
        if pod.revision != wanted.revision && !pod.terminating {
            return vec![Action::Delete(*ordinal)];
        }
        if pod.terminating || !pod.available {
            break;
        }
    }
    actions
}

/// Its pods, each with a kubelet.
pub(super) struct StatefulSet {
    pub(super) wanted: Wanted,
    site: Arc<Site>,
    pods: BTreeMap<u32, Held>,
    kubelets: JoinSet<io::Result<()>>,
    random: StdRng,
    /// Of those that are gone.
    past: Vec<Status>,
}

struct Held {
    pod: Pod,
    status: watch::Receiver<Status>,
    delete: watch::Sender<Option<Duration>>,
    /// Its volumes go with it.
    lost: bool,
}

impl StatefulSet {
    pub(super) fn new(site: Arc<Site>) -> Self {
        Self {
            wanted: Wanted { replicas: site.manifest.replicas(), revision: 1 },
            site,
            pods: BTreeMap::new(),
            kubelets: JoinSet::new(),
            random: StdRng::seed_from_u64(seed()),
            past: Vec::new(),
        }
    }

    /// Looks once, and does what is to be done.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        while let Some(ended) = self.kubelets.try_join_next() {
            ended.map_err(io::Error::other)??;
        }
        self.forget_gone()?;
        if let Some(api) = &self.site.api_server {
            api.scale(self.wanted.replicas);
        }
        let now = Instant::now();
        let seen = self.pods.iter().map(|(ordinal, held)| (*ordinal, self.seen(held, now)));
        let order = self.site.manifest.set.spec.pod_management_policy;
        let mut created = Vec::new();
        for action in decide(self.wanted, order, &seen.collect()) {
            match action {
                Action::Create(ordinal) => created.push(self.create(ordinal)?),
                Action::Delete(ordinal) => self.delete(ordinal),
            }
        }
        // Each finds all others that are made with it.
        for kubelet in created {
            self.kubelets.spawn(kubelet.run());
        }
        Ok(())
    }

    fn forget_gone(&mut self) -> io::Result<()> {
        let gone = self.pods.iter().filter(|(_, held)| held.status.borrow().gone);
        let gone: Vec<u32> = gone.map(|(ordinal, _)| *ordinal).collect();
        let retention =
            self.site.manifest.set.spec.persistent_volume_claim_retention_policy.when_scaled;
        for ordinal in gone {
            if let Some(held) = self.pods.remove(&ordinal) {
                self.past.push(held.status.borrow().clone());
                let scaled_away = ordinal >= self.wanted.replicas;
                if held.lost || (scaled_away && retention == Retention::Delete) {
                    self.site.remove_volumes(ordinal)?;
                }
            }
        }
        Ok(())
    }

    fn seen(&self, held: &Held, now: Instant) -> Seen {
        let since = held.status.borrow().ready_since;
        Seen {
            revision: held.pod.revision,
            terminating: held.delete.borrow().is_some(),
            available: since
                .is_some_and(|since| now.duration_since(since) >= self.site.manifest.min_ready()),
        }
    }

    fn create(&mut self, ordinal: u32) -> io::Result<Kubelet> {
        let pod = Pod {
            ordinal,
            name: format!("{}-{ordinal}", self.site.manifest.name()),
            revision: self.wanted.revision,
            http: free_port(&mut self.random)?,
            quic: free_port(&mut self.random)?,
        };
        self.site.announce(&pod);
        let (status, seen) = watch::channel(Status::default());
        let (delete, deleted) = watch::channel(None);
        let held = Held { pod: pod.clone(), status: seen, delete, lost: false };
        self.pods.insert(ordinal, held);
        Ok(Kubelet { pod, site: Arc::clone(&self.site), status, delete: deleted })
    }

    /// SIGTERM, the manifest's grace, SIGKILL.
    pub(super) fn delete(&self, ordinal: u32) {
        if let Some(held) = self.pods.get(&ordinal) {
            held.delete.send_replace(Some(self.site.manifest.grace()));
        }
    }

    /// The machine is gone, and the volumes with it.
    pub(super) fn lose(&mut self, ordinal: u32) {
        if let Some(held) = self.pods.get_mut(&ordinal) {
            held.lost = true;
            held.delete.send_replace(Some(Duration::ZERO));
        }
    }

    /// Every wanted pod is there and ready, and nobody else.
    pub(super) fn ready(&self) -> bool {
        let ready = |held: &Held| held.status.borrow().ready_since.is_some();
        self.pods.len() == self.wanted.replicas as usize && self.pods.values().all(ready)
    }

    /// The same, of the wanted revision, and available.
    pub(super) fn settled(&self) -> bool {
        let now = Instant::now();
        let good = |held: &Held| {
            let seen = self.seen(held, now);
            seen.available && !seen.terminating && seen.revision == self.wanted.revision
        };
        self.ready() && self.pods.values().all(good)
    }

    /// The pods that are there.
    pub(super) fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values().map(|held| &held.pod)
    }

    pub(super) fn status(&self, ordinal: u32) -> Status {
        self.pods.get(&ordinal).map(|held| held.status.borrow().clone()).unwrap_or_default()
    }

    /// Of all pods that ever were.
    pub(super) fn statuses(&self) -> Vec<Status> {
        let held = self.pods.values().map(|held| held.status.borrow().clone());
        self.past.iter().cloned().chain(held).collect()
    }

    /// One line for people.
    pub(super) fn summary(&self) -> String {
        let one = |held: &Held| {
            let status = held.status.borrow();
            let ready = if status.ready_since.is_some() { "ready" } else { "not ready" };
            format!(
                "{} revision {} {ready}, {} starts",
                held.pod.name, held.pod.revision, status.starts
            )
        };
        self.pods.values().map(one).collect::<Vec<_>>().join("; ")
    }
}

/// Another one for each process: two that begin in the same millisecond would look for ports in the same order.
fn seed() -> u64 {
    UnixMillis::now().0 ^ (u64::from(std::process::id()) << 48)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::{Create, Delete};
    use PodManagement::{OrderedReady, Parallel};

    const WANTED: Wanted = Wanted { replicas: 3, revision: 2 };

    const GOOD: Seen = Seen { revision: 2, terminating: false, available: true };

    const OLD: Seen = Seen { revision: 1, ..GOOD };

    const YOUNG: Seen = Seen { available: false, ..GOOD };

    const GOING: Seen = Seen { terminating: true, ..OLD };

    fn next<const N: usize>(order: PodManagement, pods: [Seen; N]) -> Vec<Action> {
        decide(WANTED, order, &(0..).zip(pods).collect())
    }

    #[test]
    fn in_parallel_all_are_made_at_once_and_in_order_each_after_the_one_before() {
        assert_eq!(next(Parallel, []), [Create(0), Create(1), Create(2)]);
        assert_eq!(next(OrderedReady, []), [Create(0)]);
        assert_eq!(next(OrderedReady, [YOUNG]), []);
        assert_eq!(next(OrderedReady, [GOOD]), [Create(1)]);
    }

    #[test]
    fn a_new_revision_comes_to_one_pod_at_a_time_from_the_highest() {
        for order in [Parallel, OrderedReady] {
            assert_eq!(next(order, [OLD, OLD, OLD]), [Delete(2)]);
            assert_eq!(next(order, [OLD, OLD, GOING]), []);
            assert_eq!(next(order, [OLD, OLD]), [Create(2)]);
            assert_eq!(next(order, [OLD, OLD, YOUNG]), []);
            assert_eq!(next(order, [OLD, OLD, GOOD]), [Delete(1)]);
            assert_eq!(next(order, [GOOD, GOOD, GOOD]), []);
        }
    }

    #[test]
    fn what_is_too_many_goes_from_the_highest() {
        assert_eq!(next(Parallel, [GOOD; 5]), [Delete(4), Delete(3)]);
        assert_eq!(next(OrderedReady, [GOOD; 5]), [Delete(4)]);
        assert_eq!(next(OrderedReady, [GOOD, GOOD, GOOD, GOOD, GOING]), []);
    }
}
