//! Discord's identify limits: the 5-second buckets and the daily budget.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use tokio::time::Instant;

use crate::model::ShardId;

/// One IDENTIFY for each bucket in this time (Gateway docs, "Rate Limiting" of max concurrency).
pub(super) const BUCKET_PERIOD: Duration = Duration::from_secs(5);

/// The session start limit is counted over this time.
pub(super) const BUDGET_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

/// `session_start_limit` of `GET /gateway/bot`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(super) struct SessionStartLimit {
    pub total: u32,
    pub remaining: u32,
    /// Milliseconds until `remaining` is `total` again.
    pub reset_after: u64,
    pub max_concurrency: u32,
}

/// What becomes of an IDENTIFY.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// It goes through.
    Accepted,
    /// Its bucket was used this long ago: op 9.
    RateLimited(Duration),
    /// The budget was spent before it: every session ends and the token is reset.
    Exhausted,
}

/// Who identified when.
#[derive(Debug)]
pub(super) struct Ledger {
    total: u32,
    remaining: u32,
    max_concurrency: u32,
    resets_at: Option<Instant>,
    /// At most `max_concurrency` entries.
    buckets: BTreeMap<u32, Instant>,
    token_reset: bool,
}

impl Ledger {
    pub(super) fn new(total: u32, remaining: u32, max_concurrency: u32) -> Self {
        let max_concurrency = max_concurrency.max(1);
        let buckets = BTreeMap::new();
        Self { total, remaining, max_concurrency, resets_at: None, buckets, token_reset: false }
    }

    /// The bucket (`rate_limit_key`) of a shard.
    pub(super) const fn bucket(&self, shard: ShardId) -> u32 {
        shard.0 % self.max_concurrency
    }

    /// Whether the token was taken away, because the budget was overspent.
    pub(super) const fn token_reset(&self) -> bool {
        self.token_reset
    }

    /// Counts an IDENTIFY. Refused ones are counted too: what Discord counts is not settled (discord-api-docs #215,
    /// #1328), and a client that survives the strictest reading survives all. A refused one does not occupy the bucket.
    pub(super) fn identify(&mut self, shard: ShardId, now: Instant) -> Verdict {
        self.renew(now);
        if self.remaining == 0 {
            self.token_reset = true;
            return Verdict::Exhausted;
        }
        self.remaining -= 1;
        self.resets_at.get_or_insert(now + BUDGET_PERIOD);
        let bucket = self.bucket(shard);
        if let Some(&last) = self.buckets.get(&bucket)
            && now < last + BUCKET_PERIOD
        {
            return Verdict::RateLimited(now - last);
        }
        self.buckets.insert(bucket, now);
        Verdict::Accepted
    }

    /// What `GET /gateway/bot` says.
    pub(super) fn limit(&mut self, now: Instant) -> SessionStartLimit {
        self.renew(now);
        let reset_after = self.resets_at.map_or(Duration::ZERO, |at| at - now);
        SessionStartLimit {
            total: self.total,
            remaining: self.remaining,
            reset_after: u64::try_from(reset_after.as_millis()).unwrap_or(u64::MAX),
            max_concurrency: self.max_concurrency,
        }
    }

    /// Sets what is left of the budget.
    pub(super) const fn set_remaining(&mut self, remaining: u32) {
        self.remaining = remaining;
    }

    /// Changes the number of buckets. What was identified before is forgotten.
    pub(super) fn set_max_concurrency(&mut self, max_concurrency: u32) {
        self.max_concurrency = max_concurrency.max(1);
        self.buckets.clear();
    }

    fn renew(&mut self, now: Instant) {
        if self.resets_at.is_some_and(|at| now >= at) {
            self.remaining = self.total;
            self.resets_at = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_bucket_takes_one_identify_in_five_seconds() {
        let start = Instant::now();
        let mut ledger = Ledger::new(1_000, 1_000, 2);

        let first = ledger.identify(ShardId(0), start);
        let other_bucket = ledger.identify(ShardId(1), start);
        let same_bucket = ledger.identify(ShardId(2), start + SECOND);
        let later = ledger.identify(ShardId(2), start + 5 * SECOND);

        assert_eq!((first, other_bucket), (Verdict::Accepted, Verdict::Accepted));
        assert_eq!(same_bucket, Verdict::RateLimited(SECOND));
        assert_eq!(later, Verdict::Accepted);
    }

    #[test]
    fn refused_identifies_spend_the_budget_too() {
        let start = Instant::now();
        let mut ledger = Ledger::new(1_000, 3, 1);

        ledger.identify(ShardId(0), start);
        ledger.identify(ShardId(1), start);

        assert_eq!(ledger.limit(start).remaining, 1);
    }

    #[test]
    fn an_overspent_budget_resets_the_token() {
        let start = Instant::now();
        let mut ledger = Ledger::new(1_000, 1, 1);

        ledger.identify(ShardId(0), start);
        let over = ledger.identify(ShardId(0), start + 6 * SECOND);

        assert_eq!(over, Verdict::Exhausted);
        assert!(ledger.token_reset());
    }

    #[test]
    fn the_budget_is_whole_again_a_day_after_its_first_use() {
        let start = Instant::now();
        let mut ledger = Ledger::new(1_000, 1_000, 1);

        ledger.identify(ShardId(0), start);
        let during = ledger.limit(start + SECOND);
        let after = ledger.limit(start + BUDGET_PERIOD);

        assert_eq!((during.remaining, during.reset_after), (999, 86_399_000));
        assert_eq!((after.remaining, after.reset_after), (1_000, 0));
    }
}
