//! Which guilds a shard has, and how many members each of them.
//!
//! A RESUME brings no GUILD_CREATE, so whoever takes a shard over can't count its guilds anew: a guild that leaves, or
//! comes back from an outage, changes the totals by what its last count was. So the counts are replicated.

use std::{cmp::Ordering, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::model::{Checkpoint, Epoch, GuildId, SessionNumber, ShardId};

use super::shard::Stale;

/// A shard's guilds in the order of their ids, as of an event of one of its sessions.
///
/// Copies of a state share it: a state is copied with every batch of entries, and a shard may have 2,500 guilds.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Roster {
    counted: Checkpoint,
    guilds: Arc<Vec<GuildSize>>,
}

/// A guild that the bot is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct GuildSize {
    /// The guild.
    pub guild: GuildId,
    /// How many members it has; `None` where it has been unavailable ever since the bot knows of it.
    pub members: Option<u32>,
}

/// What an owner has counted since the last time.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RosterReport {
    /// The shard.
    pub shard: ShardId,
    /// The owner's epoch.
    pub epoch: Epoch,
    /// Every event up to here is counted. It may be ahead of what is handled, and is never behind a checkpoint.
    pub counted: Checkpoint,
    /// Guilds that are not named are gone: the first report of a session, whose READY names all.
    pub whole: bool,
    /// Guilds that have come, or have other members now.
    pub here: Vec<GuildSize>,
    /// Guilds that the bot is not in any more.
    pub gone: Vec<GuildId>,
}

impl Roster {
    /// Every event up to here is counted.
    #[must_use]
    pub const fn counted(&self) -> Checkpoint {
        self.counted
    }

    /// The guilds, in the order of their ids.
    #[must_use]
    pub fn guilds(&self) -> &[GuildSize] {
        &self.guilds
    }

    /// Takes in a report of the session that the shard is in. What comes in several parts repeats `counted` until the
    /// last of them; only the first may be whole, since a whole one that came twice would undo the others.
    pub(super) fn take_in(
        &mut self,
        report: &RosterReport,
        current: Option<SessionNumber>,
    ) -> Result<(), Stale> {
        let counts = match report.counted.cmp(&self.counted) {
            Ordering::Less => false,
            Ordering::Equal => !report.whole,
            Ordering::Greater => true,
        };
        if !counts || current != Some(report.counted.session) {
            return Err(Stale);
        }
        self.counted = report.counted;
        let before: &[GuildSize] = if report.whole { &[] } else { &self.guilds };
        self.guilds = Arc::new(merged(before, &report.here, &report.gone));
        Ok(())
    }
}

/// The guilds of before, with those that are here and without those that are gone.
fn merged(before: &[GuildSize], here: &[GuildSize], gone: &[GuildId]) -> Vec<GuildSize> {
    let mut after = Vec::with_capacity(before.len() + here.len());
    after.extend_from_slice(before);
    // Stable: of two of the same guild the later one is the one that was reported last.
    after.extend_from_slice(here);
    after.sort_by_key(|size| size.guild);
    after.dedup_by(|later, earlier| {
        let same = later.guild == earlier.guild;
        if same {
            *earlier = *later;
        }
        same
    });
    if !gone.is_empty() {
        after.retain(|size| !gone.contains(&size.guild));
    }
    after.shrink_to_fit();
    after
}
