//! A node's right to run shards, and the fences that come down when it ends.
//!
//! The right is a moment up to which the node may act. Whoever acts looks at the clock first, so that a process that
//! was frozen does nothing when it wakes; an OS thread looks too, so that a runtime that is stuck is noticed.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use tokio::sync::watch;
use tracing::warn;

use super::{Clock, Moment, Timing};

/// Between two looks of the thread: the longest that a socket stays open, unread, after the right has ended.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// The right to run shards. Clones are the same.
#[derive(Clone, Debug)]
pub struct Right(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    timing: Timing,
    /// Nothing may be done from this moment on.
    until: AtomicU64,
    /// Grows when the right ends. What was begun under an earlier one never goes on.
    generation: AtomicU64,
    /// For good.
    over: AtomicBool,
    terms: Mutex<Terms>,
    ended: watch::Sender<u64>,
    /// Grows when the right begins.
    begun: watch::Sender<u64>,
}

/// What this node has promised in Raft.
#[derive(Debug, Default)]
struct Terms {
    /// The highest term it has voted in.
    promised: u64,
}

impl Right {
    /// A right that has not begun, and the thread that watches over it.
    #[must_use]
    pub fn new(clock: Clock, timing: Timing) -> Self {
        timing.check();
        let right = Self::unwatched(clock, timing);
        if matches!(clock, Clock::Boottime) {
            let watched = Arc::downgrade(&right.0);
            let spawned =
                thread::Builder::new().name("fence".into()).spawn(move || watch(&watched));
            spawned.expect("a node that can't start a thread can't run");
        }
        right
    }

    fn unwatched(clock: Clock, timing: Timing) -> Self {
        Self(Arc::new(Shared {
            clock,
            timing,
            until: AtomicU64::new(Moment::NEVER.nanos()),
            generation: AtomicU64::new(0),
            over: AtomicBool::new(false),
            terms: Mutex::default(),
            ended: watch::Sender::new(0),
            begun: watch::Sender::new(0),
        }))
    }

    /// The clock that it is measured by.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.0.clock
    }

    /// Its spans.
    #[must_use]
    pub fn timing(&self) -> &Timing {
        &self.0.timing
    }

    /// A leader of `term` has renewed the lease; the renewal was sent at `sent`. The caller has applied as far as the
    /// leader had. Worthless where this node has promised itself to a later term since: then another leader may have
    /// begun, or this node itself.
    pub fn grant(&self, term: u64, sent: Moment) {
        let terms = self.terms();
        if term >= terms.promised {
            self.0.extend(sent + self.0.timing.ttl);
        }
    }

    /// This node leads `term`, and has applied that it does; a quorum acknowledged a round that it sent at `acked`.
    pub fn lead(&self, term: u64, acked: Moment) {
        let terms = self.terms();
        if term >= terms.promised {
            self.0.extend(acked + self.0.timing.leader_owns);
        }
    }

    /// This node is the only voter: nobody else can ever own its shards, whatever time passes.
    pub fn lead_alone(&self, term: u64) {
        let terms = self.terms();
        if term >= terms.promised && self.0.until() != Moment::FOREVER {
            self.0.extend(Moment::FOREVER);
        }
    }

    /// This node is about to be one voter among others, or is one. A right that has an end keeps it.
    pub fn lead_no_longer_alone(&self) {
        if self.0.until() == Moment::FOREVER {
            self.0.shorten(self.0.clock.now() + self.0.timing.leader_owns);
        }
    }

    /// This node is about to vote in `term`. Called before the vote leaves it. If it votes for itself it may come to
    /// lead, and then its lease would outlast the right of a leader: a successor does not wait for that.
    pub fn promise(&self, term: u64, for_itself: bool) {
        let mut terms = self.terms();
        terms.promised = terms.promised.max(term);
        if for_itself && self.0.until() != Moment::FOREVER {
            self.0.shorten(self.0.clock.now() + self.0.timing.leader_owns);
        }
    }

    /// Takes the right away for good: this process will never run a shard again.
    pub fn end(&self) {
        self.0.over.store(true, SeqCst);
        self.0.bring_down();
    }

    /// Whether shards may run.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.0.holds()
    }

    /// Changes whenever the right begins anew.
    #[must_use]
    pub fn begun(&self) -> watch::Receiver<u64> {
        self.0.begun.subscribe()
    }

    /// How long it lasts if nothing renews it; nothing where it has no end.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let until = self.0.until();
        (until != Moment::FOREVER).then(|| until.since(self.0.clock.now()))
    }

    /// A fence for what is begun now. It is down already where the right does not hold.
    #[must_use]
    pub fn fence(&self) -> Fence {
        let generation = self.0.generation.load(SeqCst);
        Fence { right: Arc::clone(&self.0), generation }
    }

    /// Notes an end that nobody has looked at yet. Simulations call it, where no thread watches.
    pub fn look(&self) {
        self.0.look();
    }

    fn terms(&self) -> MutexGuard<'_, Terms> {
        self.0.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn until(&self) -> Moment {
        Moment::of_nanos(self.until.load(SeqCst))
    }

    fn holds(&self) -> bool {
        !self.over.load(SeqCst) && self.clock.now() < self.until()
    }

    /// What was begun under a right that has ended meanwhile stays ended, though nobody has looked.
    fn extend(&self, until: Moment) {
        self.look();
        if until <= self.clock.now() {
            // Nothing begins by it: a leader without a quorum says so at each look.
            return;
        }
        let before = self.until.fetch_max(until.nanos(), SeqCst);
        if before == Moment::NEVER.nanos() {
            self.begun.send_modify(|count| *count += 1);
        }
    }

    fn shorten(&self, until: Moment) {
        self.look();
        self.until.fetch_min(until.nanos(), SeqCst);
    }

    fn look(&self) {
        let until = self.until();
        if until != Moment::NEVER && self.clock.now() >= until {
            // Whoever extends it looks first, so nothing is lost that was renewed in time.
            let ended =
                self.until.compare_exchange(until.nanos(), Moment::NEVER.nanos(), SeqCst, SeqCst);
            if ended.is_ok() {
                self.bring_down();
            }
        }
    }

    fn bring_down(&self) {
        let next = self.generation.fetch_add(1, SeqCst) + 1;
        self.ended.send_replace(next);
    }
}

fn watch(right: &Weak<Shared>) {
    loop {
        thread::sleep(LOOK_EVERY);
        let Some(right) = right.upgrade() else { return };
        let before = right.generation.load(SeqCst);
        right.look();
        if right.generation.load(SeqCst) != before && !right.over.load(SeqCst) {
            warn!("the lease has ended: this node runs no shard until it has another");
        }
    }
}

/// What stands between a shard and the world: down as soon as the right under which the shard was started has ended,
/// and for good. Looked at before every delivery and every poll.
#[derive(Clone, Debug)]
pub struct Fence {
    right: Arc<Shared>,
    generation: u64,
}

impl Default for Fence {
    /// A fence that only [`Fence::take_down`] brings down.
    fn default() -> Self {
        let right = Right::unwatched(Clock::Boottime, Timing::LAN);
        right.lead_alone(0);
        right.fence()
    }
}

impl Fence {
    /// Takes it down, and all others under the same right.
    pub fn take_down(&self) {
        self.right.over.store(true, SeqCst);
        self.right.bring_down();
    }

    /// Whether it is down.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.right.generation.load(SeqCst) != self.generation || !self.right.holds()
    }

    /// Waits until it is down.
    pub async fn fallen(&self) {
        let mut ended = self.right.ended.subscribe();
        // The sender lives in what this fence holds on to.
        let _ = ended.wait_for(|generation| *generation != self.generation).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, advance};

    use super::*;

    fn right() -> Right {
        Right::unwatched(Clock::Simulated(Instant::now()), Timing::LAN)
    }

    fn granted(right: &Right) {
        right.grant(1, right.clock().now());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_counts_from_the_sending_of_its_renewal() {
        let right = right();
        let sent = right.clock().now();
        advance(Duration::from_millis(1_500)).await;

        right.grant(1, sent);

        assert_eq!(right.left(), Some(Duration::from_millis(500)));
        advance(Duration::from_millis(500)).await;
        assert!(!right.holds());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_begun_under_an_ended_lease_never_goes_on() {
        let right = right();
        granted(&right);
        let fence = right.fence();
        assert!(!fence.is_down());

        // Nobody looks while the process is frozen, and the first thing it does is to renew.
        advance(Timing::LAN.ttl).await;
        granted(&right);

        assert!(fence.is_down());
        assert!(right.holds());
        assert!(!right.fence().is_down());
    }

    #[tokio::test(start_paused = true)]
    async fn a_grant_that_is_over_already_begins_nothing() {
        let right = right();
        let sent = right.clock().now();
        advance(Timing::LAN.ttl).await;
        let (begun, ended) = (right.begun(), right.0.ended.subscribe());

        right.grant(1, sent);
        right.look();

        assert!(!begun.has_changed().unwrap() && !ended.has_changed().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_renewed_in_time_brings_no_fence_down() {
        let right = right();
        granted(&right);
        let fence = right.fence();
        for _ in 0..100 {
            advance(Timing::LAN.renew_every).await;
            granted(&right);
            right.look();
        }

        assert!(!fence.is_down());
    }

    #[tokio::test(start_paused = true)]
    async fn a_candidate_keeps_no_more_of_its_lease_than_a_leader_may_own() {
        let right = right();
        granted(&right);

        right.promise(2, true);

        assert_eq!(right.left(), Some(Timing::LAN.leader_owns));
    }

    #[tokio::test(start_paused = true)]
    async fn a_grant_of_an_earlier_term_than_the_promised_one_is_worthless() {
        let right = right();
        right.promise(2, false);

        right.grant(1, right.clock().now());
        assert!(!right.holds());

        right.grant(2, right.clock().now());
        assert!(right.holds());
    }

    #[tokio::test(start_paused = true)]
    async fn a_sole_voter_needs_no_renewal_until_it_is_one_of_several() {
        let right = right();
        right.lead_alone(1);
        advance(Duration::from_hours(1)).await;
        assert!(right.holds());
        let fence = right.fence();

        right.lead_no_longer_alone();
        assert!(!fence.is_down());
        advance(Timing::LAN.leader_owns).await;

        assert!(fence.is_down());
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_heard_of() {
        let right = right();
        granted(&right);
        let fence = right.fence();
        advance(Timing::LAN.ttl).await;

        right.look();

        fence.fallen().await;
    }

    #[test]
    fn a_thread_brings_the_fence_down_though_nobody_asks() {
        let timing = Timing { ttl: Duration::from_millis(1_700), ..Timing::LAN };
        let right = Right::new(Clock::Boottime, timing);
        right.grant(1, right.clock().now() - Duration::from_millis(1_650));
        let fence = right.fence();

        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let fallen = runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(20), fence.fallen()).await
        });

        assert!(fallen.is_ok());
    }
}
