//! Has the cluster take in what the node's shards have counted.

use tracing::debug;

use super::{proposing::Proposing, roster};
use crate::raft::Handle;
use crate::state::{Command, Outcome, RosterReport};

/// The node's way to the cluster's rosters.
#[derive(Debug)]
pub(super) struct Rosters {
    raft: Handle,
    proposing: Proposing,
}

impl Rosters {
    pub(super) fn new(raft: Handle) -> Self {
        Self { raft, proposing: Proposing::default() }
    }

    /// Proposes these reports, unless others are under way. Says whether it does.
    pub(super) fn propose(&mut self, reports: Vec<RosterReport>) -> bool {
        if reports.is_empty() || self.proposing.is_under_way() {
            return false;
        }
        let raft = self.raft.clone();
        self.proposing.begin(async move {
            commit(&raft, roster::entries(reports)).await;
        });
        true
    }

    /// Waits for the end of the proposal that is under way.
    pub(super) async fn settled(&mut self) {
        self.proposing.settled().await;
    }
}

/// Commits the entries, one after the other, unless too few voters are connected. False where one is not taken in: the
/// later ones build on it, and what is to be said is worked out anew.
pub(super) async fn commit(raft: &Handle, entries: Vec<Vec<RosterReport>>) -> bool {
    for entry in entries {
        match raft.propose_at_the_end(Command::CountGuilds(entry)).await {
            Ok(Outcome::Applied) => {}
            Ok(outcome) => {
                debug!(?outcome, "what was counted of the guilds was not taken in");
                return false;
            }
            Err(error) => {
                debug!(%error, "what was counted of the guilds is not committed yet");
                return false;
            }
        }
    }
    true
}
