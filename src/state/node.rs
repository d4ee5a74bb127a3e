//! A node's part of the state: which start of it runs, whether it is there, whether it is to be emptied.

use serde::{Deserialize, Serialize};

use crate::model::BootEpoch;

/// A node as all replicas know it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name for people.
    pub name: String,
    /// Which start of its data directory runs.
    pub boot: BootEpoch,
    /// Whether it was there when last looked for.
    pub presence: Presence,
    /// Grows with each loss. A loss names the count that it was decided on, so that one whose proposal is repeated
    /// counts once.
    pub losses: u32,
    /// Whether its shards are to go elsewhere.
    pub drain: Drain,
}

/// Whether a node renews its lease.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub enum Presence {
    /// It does, or has just been started.
    #[default]
    Present,
    /// It did not for longer than a lease lasts. It owns nothing.
    Lost,
}

/// Whether a node is to be without shards.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub enum Drain {
    /// It takes its part.
    #[default]
    No,
    /// Its process is about to end. Its next start takes part again, unless an operator wants it empty too.
    Stopping {
        /// Whether an operator does.
        wanted: bool,
    },
    /// An operator wants it empty, over restarts too.
    Wanted,
}

impl Node {
    pub(super) const fn new(name: String, boot: BootEpoch, losses: u32) -> Self {
        Self { name, boot, presence: Presence::Present, losses, drain: Drain::No }
    }

    /// Whether shards may be moved to it.
    #[must_use]
    pub const fn takes_shards(&self) -> bool {
        matches!((self.presence, self.drain), (Presence::Present, Drain::No))
    }

    /// Whether it may be given shards that nobody owns. That an operator wants it empty is no reason to leave a shard
    /// down; that its process ends is, since it would only release them again.
    #[must_use]
    pub const fn takes_orphans(&self) -> bool {
        matches!((self.presence, self.drain), (Presence::Present, Drain::No | Drain::Wanted))
    }

    /// It after a later start.
    pub(super) fn restarted(&self, name: String, boot: BootEpoch) -> Self {
        let drain = match self.drain {
            Drain::No | Drain::Stopping { wanted: false } => Drain::No,
            Drain::Wanted | Drain::Stopping { wanted: true } => Drain::Wanted,
        };
        Self { drain, ..Self::new(name, boot, self.losses) }
    }

    pub(super) const fn want_empty(&mut self, wanted: bool) {
        self.drain = match self.drain {
            Drain::Stopping { .. } => Drain::Stopping { wanted },
            Drain::No | Drain::Wanted if wanted => Drain::Wanted,
            Drain::No | Drain::Wanted => Drain::No,
        };
    }

    pub(super) const fn stop(&mut self) {
        let wanted = matches!(self.drain, Drain::Wanted | Drain::Stopping { wanted: true });
        self.drain = Drain::Stopping { wanted };
    }
}
