//! Which bytes the nodes of a cluster may write for each other.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A form of commands and states, by number: what an apolo that reads it can be sent, and find on its disk.
///
/// A cluster writes the newest one that all its members read ([`State::format`](crate::state::State::format)), so nodes
/// of two versions run side by side, and the older ones can be replaced one by one. A form that was used once is never
/// left again: the log holds it.
///
/// 5 is everything up to the restore of a backup; 6 is the format itself, and [`Command::RaiseFormat`].
///
/// [`Command::RaiseFormat`]: crate::state::Command::RaiseFormat
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Format(pub u8);

impl Format {
    /// What a cluster begins with, and what a node reads that says nothing of formats.
    pub const MIN: Self = Self(5);
    /// The newest that this apolo reads.
    pub const MAX: Self = Self(6);
}

impl Default for Format {
    fn default() -> Self {
        Self::MIN
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a node may be sent, and what it may send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Formats {
    /// The newest that it reads.
    pub reads: Format,
    /// The newest that its operator lets the cluster write: no newer than what it reads.
    pub allows: Format,
    /// What its cluster writes, as far as it knows.
    pub writes: Format,
}

impl Formats {
    /// Of this apolo, before it knows its cluster.
    #[must_use]
    pub fn allowing(format_max: Format) -> Self {
        Self { reads: Format::MAX, allows: format_max.min(Format::MAX), writes: Format::MIN }
    }
}
