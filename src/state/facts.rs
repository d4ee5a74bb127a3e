//! What every node of a cluster must agree on.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{ApplicationId, ShardTotal};

/// Facts that are chosen once. A session can't cross a change of any of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The bot. A data directory never serves two.
    pub application: ApplicationId,
    /// Into how many shards it is split.
    pub total: ShardTotal,
    /// What it identifies with: Discord's intents bit set.
    pub intents: u64,
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { application, total, intents } = self;
        write!(f, "application {application}, {total} shards, intents {intents}")
    }
}
