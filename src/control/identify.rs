//! When a bucket may be used again, and who is next. Pure: the clock is an argument.
//!
//! The replicated [`Ledger`] knows which buckets are taken; how long they stay taken is measured here, on the leader's
//! monotonic clock. Discord's rule is one IDENTIFY per bucket and 5 seconds; the times below keep to it although the
//! moments of sending and of arrival are not the same.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::model::{Epoch, ShardId};
use crate::state::{Ledger, Purpose};

/// A permit that was not used by then is void.
pub const PERMIT_LIFETIME: Duration = Duration::from_millis(500);

/// From READY as received to the next IDENTIFY in the bucket. Discord had the first one before it sent READY, so this
/// is never less than its 5 seconds, however long either travelled; the rest is for two clocks that differ in speed.
pub const ANSWERED_PERIOD: Duration = Duration::from_millis(5_010);

/// From an IDENTIFY as sent to the next one in its bucket, where READY does not come: Discord's 5 seconds, and 2 for an
/// IDENTIFY that was long on its way or in Discord's queue. On a busy machine the simulator took one 0.23 s after it was
/// sent; with a margin of 0.2 s the next one came too soon.
pub const BUCKET_PERIOD: Duration = Duration::from_secs(7);

/// What a new leader waits for a bucket that its predecessor granted: the longest time for which the permit may have
/// been unused, and then the period.
pub const TAKEOVER_WAIT: Duration = Duration::from_millis(7_500);

/// A shard that waits for leave to identify.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Request {
    /// The shard.
    pub shard: ShardId,
    /// Its owner's epoch.
    pub epoch: Epoch,
    /// Start or recovery.
    pub purpose: Purpose,
}

/// What is to be proposed now, in this order.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Steps {
    /// Buckets whose period has passed.
    pub reopen: Vec<u32>,
    /// Requests that can be granted once these are open.
    pub grant: Vec<Request>,
}

/// The leader's clock over the identify ledger.
#[derive(Debug)]
pub struct Turnstile {
    waiting: BTreeMap<ShardId, Request>,
    closed: BTreeMap<u32, Closed>,
    spawn_delay: Duration,
    last_grant: Option<Instant>,
}

/// A bucket that was used.
#[derive(Clone, Copy, Debug)]
struct Closed {
    /// The shard that was granted last; `None` where another leader granted, or this node before a restart.
    by: Option<ShardId>,
    until: Instant,
}

impl Turnstile {
    /// A turnstile that lets at most one identify pass in `spawn_delay`, on top of Discord's rules.
    #[must_use]
    pub const fn new(spawn_delay: Duration) -> Self {
        Self { waiting: BTreeMap::new(), closed: BTreeMap::new(), spawn_delay, last_grant: None }
    }

    /// A turnstile that knows who waits, but nothing of when a bucket was used last.
    #[must_use]
    pub fn restarted(&self, spawn_delay: Duration) -> Self {
        Self { waiting: self.waiting.clone(), ..Self::new(spawn_delay) }
    }

    /// Notes a request. A shard that asks again replaces what it asked before.
    pub fn ask(&mut self, request: Request) {
        self.waiting.insert(request.shard, request);
    }

    /// Forgets a shard's request.
    pub fn withdraw(&mut self, shard: ShardId) {
        self.waiting.remove(&shard);
    }

    /// What may be done at `now`. Requests are granted bucket by bucket, the lower shard first.
    pub fn steps(&mut self, now: Instant, ledger: &Ledger) -> Steps {
        for bucket in ledger.taken() {
            // A bucket taken under another leader, or before a restart.
            self.closed.entry(bucket).or_insert(Closed { by: None, until: now + TAKEOVER_WAIT });
        }
        let mut ahead = ledger.clone();
        let reopen: Vec<u32> = ledger.taken().filter(|bucket| self.is_open(*bucket, now)).collect();
        ahead.reopen(&reopen);
        Steps { grant: self.grants(now, &mut ahead), reopen }
    }

    /// Notes a grant whose permit is good for [`PERMIT_LIFETIME`] from `now`.
    pub fn granted(&mut self, now: Instant, bucket: u32, shard: ShardId) {
        self.waiting.remove(&shard);
        self.last_grant = Some(now);
        let until = now + PERMIT_LIFETIME + BUCKET_PERIOD;
        self.closed.insert(bucket, Closed { by: Some(shard), until });
    }

    /// Notes that `shard` sent its IDENTIFY, at `now` at the latest.
    pub fn sent(&mut self, now: Instant, bucket: u32, shard: ShardId) {
        self.open_by(bucket, shard, now + BUCKET_PERIOD);
    }

    /// Notes that `shard` had its READY, at `now` at the latest.
    pub fn answered(&mut self, now: Instant, bucket: u32, shard: ShardId) {
        self.open_by(bucket, shard, now + ANSWERED_PERIOD);
    }

    /// Word of a shard that is not the last to have used the bucket comes too late to say anything of it.
    fn open_by(&mut self, bucket: u32, shard: ShardId, until: Instant) {
        if let Some(closed) = self.closed.get_mut(&bucket)
            && closed.by == Some(shard)
        {
            closed.until = closed.until.min(until);
        }
    }

    /// When [`Turnstile::steps`] may have something new to say although the state has not changed.
    #[must_use]
    pub fn wakes_at(&self, now: Instant) -> Option<Instant> {
        if self.waiting.is_empty() {
            return None;
        }
        let delayed = self.last_grant.map(|last| last + self.spawn_delay);
        self.closed.values().map(|closed| closed.until).chain(delayed).filter(|at| *at > now).min()
    }

    /// Shards that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn is_open(&self, bucket: u32, now: Instant) -> bool {
        self.closed.get(&bucket).is_none_or(|closed| closed.until <= now)
    }

    fn grants(&self, now: Instant, ahead: &mut Ledger) -> Vec<Request> {
        let mut grants = Vec::new();
        let too_soon = self.last_grant.is_some_and(|last| now < last + self.spawn_delay);
        if too_soon {
            return grants;
        }
        for request in self.waiting.values() {
            if ahead.grant(request.shard, request.purpose).is_err() {
                continue;
            }
            grants.push(*request);
            if !self.spawn_delay.is_zero() {
                break;
            }
        }
        grants
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ShardTotal, UnixMillis};
    use crate::state::{Gateway, Limits};

    /// A turnstile in front of a ledger whose token is proven, and the steps that it took.
    struct Gate {
        turnstile: Turnstile,
        ledger: Ledger,
        now: Instant,
        sent: Vec<(Duration, u32)>,
        started: Instant,
    }

    impl Gate {
        fn new(max_concurrency: u32, spawn_delay: Duration) -> Self {
            let now = Instant::now();
            let mut ledger = Ledger::default();
            let limits = Limits {
                max_concurrency,
                total: 1_000,
                remaining: 1_000,
                resets_at: UnixMillis(1),
            };
            let recommended = ShardTotal::ONE;
            ledger.observe(Gateway { url: String::new(), recommended, limits }.limits);
            ledger.prove();
            let turnstile = Turnstile::new(spawn_delay);
            Self { turnstile, ledger, now, sent: Vec::new(), started: now }
        }

        fn ask(&mut self, shards: impl IntoIterator<Item = u32>) {
            for shard in shards {
                let shard = ShardId(shard);
                let request = Request { shard, epoch: Epoch::default(), purpose: Purpose::Start };
                self.turnstile.ask(request);
            }
        }

        /// Does what is due, sends each IDENTIFY after `travel`, and returns the shards that were granted.
        fn step(&mut self, travel: Duration) -> Vec<u32> {
            let steps = self.turnstile.steps(self.now, &self.ledger);
            self.ledger.reopen(&steps.reopen);
            for request in &steps.grant {
                let bucket = self.ledger.check(request.shard, request.purpose).unwrap();
                self.ledger.grant(request.shard, request.purpose).unwrap();
                self.turnstile.granted(self.now, bucket, request.shard);
                self.turnstile.sent(self.now + travel, bucket, request.shard);
                self.sent.push((self.now + travel - self.started, bucket));
            }
            steps.grant.iter().map(|request| request.shard.0).collect()
        }

        fn run(&mut self) {
            while self.turnstile.waiting() > 0 {
                self.step(Duration::ZERO);
                if let Some(at) = self.turnstile.wakes_at(self.now) {
                    self.now = at;
                }
            }
        }
    }

    #[test]
    fn a_wave_uses_every_bucket_once_the_lower_shard_first() {
        let mut gate = Gate::new(4, Duration::ZERO);
        gate.ask((0..12).rev());

        assert_eq!(gate.step(Duration::ZERO), [0, 1, 2, 3]);
        assert_eq!(gate.step(Duration::ZERO), [0_u32; 0]);
        gate.now += BUCKET_PERIOD;
        assert_eq!(gate.step(Duration::ZERO), [4, 5, 6, 7]);
    }

    #[test]
    fn no_bucket_is_used_twice_within_discords_five_seconds() {
        let mut gate = Gate::new(16, Duration::ZERO);
        gate.ask(0..448);

        gate.run();

        let mut last = BTreeMap::new();
        for (at, bucket) in &gate.sent {
            if let Some(before) = last.insert(bucket, *at) {
                assert!(*at - before >= Duration::from_secs(5), "bucket {bucket}");
            }
        }
        assert_eq!(gate.sent.len(), 448);
        assert_eq!(gate.sent.last().map(|(at, _)| *at), Some(BUCKET_PERIOD * 27));
    }

    #[test]
    fn an_identify_that_was_sent_late_closes_its_bucket_from_then_on() {
        let mut gate = Gate::new(1, Duration::ZERO);
        gate.ask(0..2);
        gate.step(PERMIT_LIFETIME);

        gate.now += BUCKET_PERIOD;
        assert_eq!(gate.step(Duration::ZERO), [0_u32; 0]);
        gate.now += PERMIT_LIFETIME;
        assert_eq!(gate.step(Duration::ZERO), [1]);
    }

    #[test]
    fn a_ready_opens_its_bucket_five_seconds_later() {
        let mut gate = Gate::new(1, Duration::ZERO);
        gate.ask(0..3);
        gate.step(Duration::ZERO);

        let ready = gate.now + Duration::from_millis(40);
        gate.turnstile.answered(ready, 0, ShardId(0));

        gate.now = ready + ANSWERED_PERIOD;
        assert_eq!(gate.step(Duration::ZERO), [1]);
        assert!(gate.sent[1].0 - Duration::from_millis(40) >= Duration::from_secs(5));
    }

    #[test]
    fn an_identify_that_discord_took_late_keeps_its_bucket_closed_from_then_on() {
        let mut gate = Gate::new(1, Duration::ZERO);
        gate.ask(0..2);
        gate.step(Duration::ZERO);

        let taken = gate.now + Duration::from_millis(233);
        gate.turnstile.answered(taken, 0, ShardId(0));

        gate.now = taken + Duration::from_secs(5);
        assert_eq!(gate.step(Duration::ZERO), [0_u32; 0], "the clocks' allowance");
        gate.now = taken + ANSWERED_PERIOD;
        assert_eq!(gate.step(Duration::ZERO), [1]);
    }

    #[test]
    fn a_ready_that_took_long_neither_keeps_its_bucket_closed_nor_opens_it_for_a_later_one() {
        let mut gate = Gate::new(1, Duration::ZERO);
        gate.ask(0..3);
        gate.step(Duration::ZERO);
        gate.now += BUCKET_PERIOD;
        assert_eq!(gate.step(Duration::ZERO), [1], "the IDENTIFY was sent long enough ago");

        gate.turnstile.answered(gate.now, 0, ShardId(0));

        gate.now += ANSWERED_PERIOD;
        assert_eq!(gate.step(Duration::ZERO), [0_u32; 0], "the word was of the first IDENTIFY");
    }

    #[test]
    fn a_new_leader_waits_for_buckets_that_it_has_not_granted_itself() {
        let mut gate = Gate::new(2, Duration::ZERO);
        gate.ledger.grant(ShardId(0), Purpose::Start).unwrap();
        gate.ask(0..4);

        assert_eq!(gate.step(Duration::ZERO), [1]);
        gate.now += TAKEOVER_WAIT - Duration::from_millis(1);
        assert!(!gate.step(Duration::ZERO).contains(&0));
        gate.now += Duration::from_millis(1);
        assert_eq!(gate.step(Duration::ZERO), [0]);
    }

    #[test]
    fn a_spawn_delay_spaces_identifies_even_over_buckets() {
        let mut gate = Gate::new(16, Duration::from_secs(1));
        gate.ask(0..4);

        gate.run();

        let times: Vec<u64> = gate.sent.iter().map(|(at, _)| at.as_secs()).collect();
        assert_eq!(times, [0, 1, 2, 3]);
    }

    #[test]
    fn a_withdrawn_request_is_not_granted() {
        let mut gate = Gate::new(4, Duration::ZERO);
        gate.ask(0..2);

        gate.turnstile.withdraw(ShardId(0));

        assert_eq!(gate.step(Duration::ZERO), [1]);
    }
}
