//! Who this node is, and who else may speak: the cluster's authority and this node's certificate.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::info;

use super::NodeError;
use crate::config::Config;
use crate::model::UnixMillis;
use crate::transport::{Authority, AuthorityError, Credentials, Identity};

/// Where a node that was told of no authority keeps its own, in the data directory.
const OWN: &str = "ca";

/// The authority of this node's cluster.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    directory: PathBuf,
    authority: Arc<Authority>,
}

impl Trust {
    /// The authority that the operator named; where none was, one of this node's own, which others may be given.
    pub(super) fn open(config: &Config) -> Result<Self, NodeError> {
        let directory = match &config.ca_dir {
            Some(directory) => directory.clone(),
            None => own(&config.data_dir)?,
        };
        let authority = Authority::load(&directory, UnixMillis::now())
            .map_err(|source| NodeError::Authority { directory: directory.clone(), source })?;
        Ok(Self { directory, authority: Arc::new(authority) })
    }

    /// A new certificate for `identity`.
    pub(super) fn credentials(&self, identity: &Identity) -> Result<Arc<Credentials>, NodeError> {
        let minted = Credentials::from_authority(&self.authority, identity, UnixMillis::now());
        minted.map_err(|source| self.failed(source))
    }

    /// Where the authority's files are, which may be replaced while the node runs.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    fn failed(&self, source: AuthorityError) -> NodeError {
        NodeError::Authority { directory: self.directory.clone(), source }
    }
}

fn own(data_dir: &Path) -> Result<PathBuf, NodeError> {
    let directory = data_dir.join(OWN);
    if !directory.exists() {
        let made = Authority::create(&directory, UnixMillis::now());
        made.map_err(|source| NodeError::Authority { directory: directory.clone(), source })?;
        info!(directory = %directory.display(), "made an authority for this cluster; other nodes need a copy of it to join");
    }
    Ok(directory)
}
