//! The fencing number of an assignment.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::LogIndex;

/// A shard's fencing number: it grows whenever the shard changes hands, and the higher one wins.
///
/// It is the log index of the commit that assigned the shard, below the cluster's generation, which a recovery from
/// lost quorum raises so that stragglers of the old log are fenced too.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
)]
pub struct Epoch {
    /// The cluster's generation.
    pub generation: u32,
    /// The index of the log entry that made the assignment.
    pub index: LogIndex,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_generation_beats_every_index_of_a_lower_one() {
        let old = Epoch { generation: 1, index: LogIndex(900) };
        let new = Epoch { generation: 2, index: LogIndex(3) };

        assert!(new > old);
    }
}
