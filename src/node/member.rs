//! A node's place in its cluster: an open store, and Raft upon it.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{NodeError, commit};
use crate::config::Config;
use crate::model::{ClusterId, NodeId};
use crate::raft::{self, Handle, Leadership, ProposeError, RaftFailure};
use crate::state::Command;
use crate::store::{self, Backend, Write};

/// How long a started node may take to lead its cluster of one, and to learn what it committed before.
const LEAD_WITHIN: Duration = Duration::from_secs(30);

/// How long Raft's tasks may take to let go of the store after Raft has stopped.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);

/// Between two looks at whether they have.
const RELEASE_EVERY: Duration = Duration::from_millis(5);

/// A member of a cluster.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) me: NodeId,
    pub(super) raft: Handle,
    store: Weak<dyn Backend>,
}

impl Member {
    /// Opens the store and leads a cluster of one: the one that the directory knows, or a new one.
    pub(super) async fn alone(config: &Config) -> Result<Self, NodeError> {
        let directory = config.data_dir.clone();
        let opened =
            spawn_blocking(move || store::open(&directory, &store::Options::default())).await;
        let opened = opened.expect("opening a store does not panic")?;
        let identity = opened.identity.clone();
        for repair in &opened.repairs {
            warn!(?repair, "the data directory was repaired");
        }
        let store: Arc<dyn Backend> = Arc::new(opened.store);
        let raft = Handle::start(raft::Options {
            node: identity.node,
            store: Arc::clone(&store),
            recovered: opened.recovered,
        })
        .await?;
        let member = Self { me: identity.node, raft, store: Arc::downgrade(&store) };
        match member.found(config, &identity, store).await {
            Ok(()) => Ok(member),
            Err(error) => {
                member.leave().await;
                Err(error)
            }
        }
    }

    /// Leads, and commits that this node is here.
    async fn found(
        &self,
        config: &Config,
        identity: &store::Identity,
        store: Arc<dyn Backend>,
    ) -> Result<(), NodeError> {
        let raft = &self.raft;
        let cluster = identity.cluster.unwrap_or_else(ClusterId::mint);
        if identity.cluster.is_none() {
            // First of all: a directory that loses its log must still know which cluster that was.
            name_cluster(store.as_ref(), cluster).await?;
        }
        if !raft.is_formed().await? {
            raft.form().await?;
        }
        lead(raft).await?;
        commit(raft, Command::Form { cluster }).await?;
        let (node, boot) = (identity.node, identity.boot);
        commit(raft, Command::StartNode { node, name: config.name.clone(), boot }).await?;
        info!(%cluster, %node, %boot, data_dir = %config.data_dir.display(), "the node leads");
        Ok(())
    }

    /// Stops Raft and gives the data directory free.
    pub(super) async fn leave(self) {
        let Self { raft, store, .. } = self;
        raft.shutdown().await;
        drop(raft);
        let released = async {
            while store.strong_count() > 0 {
                sleep(RELEASE_EVERY).await;
            }
        };
        if timeout(RELEASE_WITHIN, released).await.is_err() {
            warn!("the data directory stays locked until the process ends");
        }
    }
}

/// Writes into the data directory whose it is.
async fn name_cluster(store: &dyn Backend, cluster: ClusterId) -> Result<(), NodeError> {
    let (done, written) = oneshot::channel();
    store.submit(Write::Cluster(cluster), Box::new(move |result| drop(done.send(result))));
    match written.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(NodeError::Failed(RaftFailure::Store(error))),
        Err(_) => Err(NodeError::Ended("the store's writer")),
    }
}

async fn lead(raft: &Handle) -> Result<(), NodeError> {
    let mut leadership = raft.leadership();
    let leads = leadership.wait_for(|seen| matches!(seen, Leadership::Leading { .. }));
    match timeout(LEAD_WITHIN, leads).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(NodeError::Failed(raft.fatal().await)),
        Err(_) => Err(NodeError::Propose(ProposeError::NotLeader { leader: None })),
    }
}
