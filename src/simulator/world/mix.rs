//! Which kind of dispatch happens next.

use rand::RngExt as _;

use super::{kind::EventKind, snowflake::Random};

/// The kinds that can happen, with their weights added up for the draw.
#[derive(Debug)]
pub(super) struct Mix {
    wanted: u64,
    sums: Box<[(u32, EventKind)]>,
}

impl Mix {
    /// The mix of a shard, of the kinds that reach a session with the intents `wanted`.
    pub(super) fn new(first_shard: bool, wanted: u64) -> Self {
        let mut sum = 0;
        let sums = EventKind::ALL
            .iter()
            .copied()
            .filter(|kind| kind.weight() > 0 && kind.reaches(wanted))
            .filter(|kind| first_shard || !kind.is_direct())
            .map(|kind| {
                sum += kind.weight();
                (sum, kind)
            })
            .collect();
        Self { wanted, sums }
    }

    /// The intents for which it was made.
    pub(super) const fn wanted(&self) -> u64 {
        self.wanted
    }

    /// The next kind. Never without one: `USER_UPDATE` needs no intent.
    pub(super) fn draw(&self, random: &mut Random) -> EventKind {
        let Some(&(total, _)) = self.sums.last() else { return EventKind::UserUpdate };
        let target = random.random_range(0..total);
        self.sums[self.sums.partition_point(|(sum, _)| *sum <= target)].1
    }
}
