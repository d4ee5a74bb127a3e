//! Shards that have stopped to be handed off, until the cluster knows.

use std::collections::BTreeMap;

use tracing::warn;

use super::{
    keeper::REPORTS_MAX,
    proposing::Proposing,
    roster::{self, Draft},
    rosters,
};
use crate::model::{Epoch, ShardId};
use crate::raft::Handle;
use crate::state::{Command, ShardReport, State};

/// The last words on shards that don't run here any more. They are said again until the shard is another's.
#[derive(Debug)]
pub(super) struct Releases {
    raft: Handle,
    words: BTreeMap<ShardId, LastWord>,
    proposing: Proposing,
}

/// What is to be committed of a shard. What it has counted goes first: its next owner resumes behind it.
#[derive(Debug)]
pub(super) struct LastWord {
    pub(super) report: ShardReport,
    pub(super) draft: Draft,
}

impl Releases {
    pub(super) fn new(raft: Handle) -> Self {
        Self { raft, words: BTreeMap::new(), proposing: Proposing::default() }
    }

    pub(super) fn add(&mut self, word: LastWord) {
        self.words.insert(word.report.shard, word);
    }

    /// The shards, with the epochs under which they ran.
    pub(super) fn epochs(&self) -> BTreeMap<ShardId, Epoch> {
        self.words.iter().map(|(shard, word)| (*shard, word.report.epoch)).collect()
    }

    /// Forgets what the state has taken in.
    pub(super) fn forget_the_settled(&mut self, state: &State) {
        self.words.retain(|shard, word| {
            let known = state.shards().get(shard);
            let held = known.filter(|known| known.epoch() == Some(word.report.epoch));
            if let Some(held) = held {
                word.draft.forget_the_settled(held, state.rosters().get(shard));
            }
            held.is_some()
        });
    }

    /// Proposes what is left, unless a proposal is under way.
    pub(super) fn propose(&mut self, state: &State) {
        if self.words.is_empty() || self.proposing.is_under_way() {
            return;
        }
        let words = self.words.iter().take(REPORTS_MAX);
        let counted = words.clone().flat_map(|(shard, word)| {
            word.draft.reports(*shard, word.report.epoch, state.rosters().get(shard))
        });
        let counted = roster::entries(counted.collect());
        let words = words.map(|(_, word)| word.report).collect();
        let raft = self.raft.clone();
        self.proposing.begin(async move {
            if !rosters::commit(&raft, counted).await {
                return;
            }
            if let Err(error) = raft.propose(Command::Release(words)).await {
                warn!(%error, "shards that have stopped are not released yet");
            }
        });
    }

    /// Waits for the end of the proposal that is under way.
    pub(super) async fn settled(&mut self) {
        self.proposing.settled().await;
    }
}
