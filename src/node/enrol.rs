//! How a node that holds no authority's key becomes one that has a leaf.

use std::{net::SocketAddr, path::PathBuf};

use tokio::time::sleep;
use tracing::info;

use super::{NodeError, entry::Entry, member::RETRY};
use crate::cluster::{self, Waiting};
use crate::invite::{Admission, Enrol, EnrolError, Enrolled, Signer};
use crate::model::{ClusterId, NodeId};
use crate::raft::Handle;
use crate::store;
use crate::transport::{JoinToken, Kept, Protocol, Transport};

impl Entry {
    /// Shows the token until a member lets this node in, and keeps what it is given.
    pub(super) async fn enrol(
        &self,
        token: JoinToken,
        identity: &store::Identity,
    ) -> Result<Enrolled, NodeError> {
        let enrol = Enrol {
            token,
            node: identity.node,
            name: self.config.name.clone(),
            cluster: identity.cluster,
            candidates: self.candidates.clone(),
            waiting: self.waiting.clone(),
        };
        let enrolled = enrol.run(self.stop.clone()).await?;
        let directory = &self.config.data_dir;
        enrolled.kept.save(directory).map_err(|source| NodeError::Leaf { source })?;
        info!(leaf = %Kept::path(directory).display(), "the token is used up and needed no more");
        Ok(enrolled)
    }

    /// Members to be admitted by, for a node that was let in before and not admitted yet.
    pub(super) async fn find_members(
        &self,
        transport: &Transport,
    ) -> Result<Vec<(NodeId, SocketAddr)>, NodeError> {
        let found = async {
            loop {
                let name = &self.config.name;
                let found = cluster::members(transport, &self.candidates, name).await;
                if !found.is_empty() {
                    return found;
                }
                self.waiting.send_replace(Some(Waiting::Looking));
                sleep(RETRY).await;
            }
        };
        let found = self.stop.run_until_cancelled(found).await.ok_or(NodeError::Stopped);
        self.waiting.send_replace(None);
        found
    }
}

/// The leaf's cluster, if it is the directory's.
pub(super) fn cluster_of(kept: &Kept, known: Option<ClusterId>) -> Result<ClusterId, NodeError> {
    let token = kept.identity().cluster;
    match known.filter(|own| *own != token) {
        Some(own) => Err(EnrolError::OtherCluster { token, own }.into()),
        None => Ok(token),
    }
}

/// Serves removed nodes no more, whose certificates are good for a while. They may ask who is there, and are told by
/// Raft that they are no members.
pub(super) fn bar_removed(raft: &Handle, transport: &Transport) {
    let states = raft.states();
    transport.bar(move |node, protocol| {
        !matches!(protocol, Protocol::Raft | Protocol::Join) && states.borrow().is_gone(node)
    });
}

/// Signs for members that hold no key, and lets nodes in that show a token, if the authority is in `directory`.
pub(super) fn receive(raft: &Handle, transport: &Transport, directory: Option<PathBuf>) {
    let signer = Signer::new(raft.clone(), directory);
    signer.serve(transport);
    transport.open_door(Admission::new(raft.clone(), transport.clone(), signer));
}
