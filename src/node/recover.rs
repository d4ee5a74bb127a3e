//! `apolo recover`: offline, on a data directory whose cluster has lost its quorum for good.

use std::{path::Path, sync::Arc};

use thiserror::Error;
use tokio::task::spawn_blocking;

use crate::model::NodeId;
use crate::raft::{RecoverError, Recovery};
use crate::store::{self, Backend, OpenError, Opened};

/// What would be kept and what forgotten.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecoveryReport {
    /// This member's id, and its name where it is known.
    pub node: (NodeId, Option<String>),
    /// The last entry's term.
    pub term: u64,
    /// Its index.
    pub index: u64,
    /// Up to where this node knew the log to be committed.
    pub committed: Option<u64>,
    /// The generation that begins.
    pub generation: u32,
    /// The nodes that are forgotten, and their names where they are known.
    pub forgotten: Vec<(NodeId, Option<String>)>,
    /// Shards in all.
    pub shards: usize,
    /// Those whose session is known, and can be resumed.
    pub sessions: usize,
}

/// Why nothing was recovered.
#[derive(Debug, Error)]
pub enum RecoverFailure {
    /// There is no member's directory.
    #[error("{path} is no data directory of a node; name the node's own with --data-dir")]
    NoDirectory {
        /// What was looked at.
        path: String,
    },
    /// It can't be opened; above all, its node may run.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It can't be recovered from.
    #[error(transparent)]
    Recover(#[from] RecoverError),
}

/// Says what a recovery on this directory would do, and does it where `go` is true.
///
/// # Errors
///
/// [`RecoverFailure`].
pub async fn recover(data_dir: &Path, go: bool) -> Result<RecoveryReport, RecoverFailure> {
    if !store::is_begun(data_dir) {
        return Err(RecoverFailure::NoDirectory { path: data_dir.display().to_string() });
    }
    let directory = data_dir.to_owned();
    let opened = spawn_blocking(move || store::open(&directory, &store::Options::default())).await;
    let Opened { store, identity, recovered, .. } =
        opened.expect("opening a store does not panic")?;
    let store: Arc<dyn Backend> = Arc::new(store);
    let recovery = Recovery::of(identity.node, &recovered)?;
    if go {
        recovery.carry_out(store.as_ref()).await?;
    }
    Ok(report(&recovery))
}

fn report(recovery: &Recovery) -> RecoveryReport {
    let state = &recovery.state;
    let named = |id: &NodeId| (*id, state.nodes().get(id).map(|node| node.name.clone()));
    RecoveryReport {
        node: named(&recovery.node),
        term: recovery.last.term,
        index: recovery.last.index,
        committed: recovery.committed.map(|at| at.index),
        generation: state.generation() + 1,
        forgotten: recovery.others.iter().map(named).collect(),
        shards: state.shards().len(),
        sessions: state.shards().values().filter(|shard| shard.session().is_some()).count(),
    }
}
