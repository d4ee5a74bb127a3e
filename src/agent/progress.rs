//! How far a shard has come, as its deliverer publishes it and the reports take it up.

use crate::model::{Sequence, SessionNumber};

use super::{outcome::OutcomeTotals, tally::Totals};

/// A shard's progress.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// The session.
    pub session: SessionNumber,
    /// Everything up to here is handled.
    pub handled: Sequence,
    /// Guilds and members as of the last event that has come.
    pub totals: Totals,
    /// Events that have come and are not part of `handled` yet.
    pub open: usize,
    /// What became of the events.
    pub outcomes: OutcomeTotals,
}
