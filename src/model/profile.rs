//! How patient a cluster is: one word for all the spans that have to fit each other.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Which spans the nodes of a cluster go by. All have the same: a lease is safe only where everybody counts alike.
///
/// New variants go to the end: their position is their number on the wire.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
)]
pub enum Profile {
    /// Nodes in one region, on disks that now and then stall for some tenths of a second.
    #[default]
    Lan,
    /// Nodes in one data centre, whose disks and processors answer within 30 ms at all times: an append has 50 ms.
    Fast,
    /// Nodes in several regions, with round trips of up to 150 ms.
    Wan,
}

/// A word that is no profile.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("is no profile")]
pub struct NoProfile;

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 3] = [Self::Lan, Self::Fast, Self::Wan];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Fast => "fast",
            Self::Wan => "wan",
        }
    }

    /// Raft's longest election timeout. A follower votes for nobody for so long after a word of the leader, which is
    /// what leases rest on.
    #[must_use]
    pub const fn election(self) -> Duration {
        Duration::from_millis(match self {
            Self::Lan => 500,
            Self::Fast => 300,
            Self::Wan => 2_000,
        })
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Profile {
    type Err = NoProfile;

    fn from_str(word: &str) -> Result<Self, NoProfile> {
        Self::ALL.into_iter().find(|profile| profile.as_str() == word).ok_or(NoProfile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_found_by_its_word() {
        for profile in Profile::ALL {
            assert_eq!(profile.to_string().parse(), Ok(profile));
        }
        assert_eq!("quick".parse::<Profile>(), Err(NoProfile));
    }
}
