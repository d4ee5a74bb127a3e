//! The identify ledger: who may send an IDENTIFY, and what is left of the day's budget.
//!
//! Discord allows one IDENTIFY for each bucket (`shard_id % max_concurrency`) in 5 seconds, and `total` in 24 hours;
//! a bot that exceeds the latter loses every session and its token (Gateway docs, "Session Start Limit"). The ledger
//! holds what must survive a change of the leader. How long a bucket stays taken is measured by the leader's own
//! clock, in `control`, so that no jump of a wall clock opens one early.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{ShardId, UnixMillis};

use super::{Limits, Refusal};

/// This share of the day's identifies, as a divisor, is kept for shards that lose their session: a crash loop that
/// starts shards over and over can't take it.
const RESERVE_DIVISOR: u32 = 10;

/// What an IDENTIFY is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Purpose {
    /// The shard never had a session, or a change of the shard total dropped it. May not touch the reserve.
    Start,
    /// Discord dropped the shard's session.
    Recover,
}

/// Who may identify.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    limits: Option<Limits>,
    taken: BTreeSet<u32>,
    granted: u64,
    proven: bool,
    halted: Option<Halted>,
}

/// Why identifies are halted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Halted {
    /// The fatal close code.
    pub code: u16,
    /// The shard that met it.
    pub shard: ShardId,
}

impl Ledger {
    /// What Discord said of the limit, less what was granted since.
    #[must_use]
    pub const fn limits(&self) -> Option<Limits> {
        self.limits
    }

    /// Buckets whose last grant may not be long enough past.
    pub fn taken(&self) -> impl Iterator<Item = u32> {
        self.taken.iter().copied()
    }

    /// Grants since the cluster was formed.
    #[must_use]
    pub const fn granted(&self) -> u64 {
        self.granted
    }

    /// Whether a READY has shown that token, intents and total are accepted.
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        self.proven
    }

    /// Why nobody may identify.
    #[must_use]
    pub const fn halted(&self) -> Option<Halted> {
        self.halted
    }

    /// The bucket that a shard identifies in.
    #[must_use]
    pub fn bucket(&self, shard: ShardId) -> Option<u32> {
        self.limits.map(|limits| shard.0 % limits.max_concurrency.max(1))
    }

    /// Identifies that only a recovery may spend.
    #[must_use]
    pub fn reserve(&self) -> u32 {
        self.limits.map_or(0, |limits| limits.total / RESERVE_DIVISOR)
    }

    /// Whether `shard` could be granted an IDENTIFY now.
    ///
    /// # Errors
    ///
    /// Why not. [`Refusal::BucketTaken`] and [`Refusal::Unproven`] pass by themselves within seconds,
    /// [`Refusal::BudgetSpent`] within the day, [`Refusal::Halted`] by the operator.
    pub fn check(&self, shard: ShardId, purpose: Purpose) -> Result<u32, Refusal> {
        if let Some(Halted { code, .. }) = self.halted {
            return Err(Refusal::Halted(code));
        }
        let (Some(limits), Some(bucket)) = (self.limits, self.bucket(shard)) else {
            return Err(Refusal::LimitsUnknown);
        };
        let reserve = self.reserve();
        let floor = if purpose == Purpose::Start { reserve } else { 0 };
        if limits.remaining <= floor {
            let Limits { remaining, resets_at, .. } = limits;
            return Err(Refusal::BudgetSpent { remaining, reserve, resets_at });
        }
        if self.taken.contains(&bucket) {
            return Err(Refusal::BucketTaken(bucket));
        }
        if !self.proven && !self.taken.is_empty() {
            return Err(Refusal::Unproven);
        }
        Ok(bucket)
    }

    pub(crate) fn grant(&mut self, shard: ShardId, purpose: Purpose) -> Result<(), Refusal> {
        let bucket = self.check(shard, purpose)?;
        self.taken.insert(bucket);
        self.granted += 1;
        if let Some(limits) = &mut self.limits {
            limits.remaining -= 1;
        }
        Ok(())
    }

    /// Takes Discord's word for the limit. Within one day its `remaining` may lag behind grants that are under way, so
    /// the lower count wins.
    pub(crate) fn observe(&mut self, mut seen: Limits) {
        if let Some(known) = self.limits
            && same_day(known.resets_at, seen.resets_at)
        {
            seen.remaining = seen.remaining.min(known.remaining);
        }
        if self.limits.is_some_and(|known| known.max_concurrency != seen.max_concurrency) {
            // Buckets are counted anew, so nothing is known of when the new ones were used last: all are taken until
            // the leader has waited.
            self.taken = (0..seen.max_concurrency.min(crate::model::SHARDS_MAX)).collect();
        }
        self.limits = Some(seen);
    }

    pub(crate) fn reopen(&mut self, buckets: &[u32]) {
        for bucket in buckets {
            self.taken.remove(bucket);
        }
    }

    pub(crate) const fn prove(&mut self) {
        self.proven = true;
    }

    pub(super) const fn halt(&mut self, halted: Halted) {
        if self.halted.is_none() {
            self.halted = Some(halted);
        }
    }

    /// The operator changed something: it has to prove itself again, with one IDENTIFY.
    pub(super) const fn unhalt(&mut self) {
        self.halted = None;
        self.proven = false;
    }
}

/// Two sightings of the same reset differ by the time that the answers took, never by hours.
fn same_day(known: UnixMillis, seen: UnixMillis) -> bool {
    const ANSWER_TIME_MAX_MS: u64 = 60_000;
    known.0.abs_diff(seen.0) <= ANSWER_TIME_MAX_MS
}
