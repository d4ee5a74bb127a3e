//! Shards that have stopped to be handed off, until the cluster knows.

use std::collections::BTreeMap;

use futures_util::future::pending;
use tokio::task::JoinHandle;
use tracing::warn;

use super::keeper::REPORTS_MAX;
use crate::model::{Epoch, ShardId};
use crate::raft::Handle;
use crate::state::{Command, ShardReport, State};

/// The last words on shards that don't run here any more. They are said again until the shard is another's.
#[derive(Debug)]
pub(super) struct Releases {
    raft: Handle,
    words: BTreeMap<ShardId, ShardReport>,
    /// One proposal at a time: what stops meanwhile shares the next entry.
    proposing: Option<JoinHandle<()>>,
}

impl Releases {
    pub(super) const fn new(raft: Handle) -> Self {
        Self { raft, words: BTreeMap::new(), proposing: None }
    }

    pub(super) fn add(&mut self, word: ShardReport) {
        self.words.insert(word.shard, word);
    }

    /// The shards, with the epochs under which they ran.
    pub(super) fn epochs(&self) -> BTreeMap<ShardId, Epoch> {
        self.words.iter().map(|(shard, word)| (*shard, word.epoch)).collect()
    }

    /// Forgets what the state has taken in.
    pub(super) fn forget_the_settled(&mut self, state: &State) {
        self.words.retain(|shard, word| {
            state.shards().get(shard).is_some_and(|known| known.epoch() == Some(word.epoch))
        });
    }

    /// Proposes what is left, unless a proposal is under way.
    pub(super) fn propose(&mut self) {
        if self.words.is_empty() || self.proposing.is_some() {
            return;
        }
        let words: Vec<_> = self.words.values().take(REPORTS_MAX).copied().collect();
        let raft = self.raft.clone();
        self.proposing = Some(tokio::spawn(async move {
            if let Err(error) = raft.propose(Command::Release(words)).await {
                warn!(%error, "shards that have stopped are not released yet");
            }
        }));
    }

    /// Waits for the end of the proposal that is under way.
    pub(super) async fn settled(&mut self) {
        match &mut self.proposing {
            Some(proposing) => {
                let _ = proposing.await;
                self.proposing = None;
            }
            None => pending().await,
        }
    }
}
