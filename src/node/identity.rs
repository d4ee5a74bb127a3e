//! Who this node is, and who else may speak: the cluster's authority and this node's certificate.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_util::sync::CancellationToken;
use tracing::info;

use super::NodeError;
use crate::config::Config;
use crate::invite::Renewing;
use crate::model::{NodeId, UnixMillis};
use crate::transport::{
    Authority, AuthorityError, Credentials, Identity, JoinToken, JoinTokenError, Kept, Renewal,
    Transport, renew,
};

/// Where a node that was told of no authority keeps its own, in the data directory.
const OWN: &str = "ca";

/// A token has about 110 bytes; more is a wrong file.
const TOKEN_BYTES_MAX: u64 = 4096;

/// What a node begins with.
#[derive(Debug)]
pub(super) enum Trust {
    /// It can prove who it is.
    Proof(Proof),
    /// It has a token to be given a leaf.
    Invited(Box<JoinToken>),
}

/// What a node proves itself by.
#[derive(Debug)]
pub(super) enum Proof {
    /// It holds the authority's key.
    Held(Held),
    /// It was given a leaf.
    Given(Box<Kept>),
}

/// The authority of this node's cluster.
#[derive(Clone, Debug)]
pub(super) struct Held {
    directory: PathBuf,
    authority: Arc<Authority>,
}

impl Trust {
    /// The authority that the operator named or this node made before; a leaf that it was given; a token; and where
    /// there is none of these, an authority of this node's own, which others may be given.
    pub(super) fn open(config: &Config, node: NodeId) -> Result<Self, NodeError> {
        let own = config.data_dir.join(OWN);
        match &config.ca_dir {
            Some(directory) => return Held::load(directory).map(Self::held),
            None if own.exists() => return Held::load(&own).map(Self::held),
            None => {}
        }
        match (given(config, node)?, &config.join_token_file) {
            (Some(Ok(kept)), _) => Ok(Self::Proof(Proof::Given(Box::new(kept)))),
            (_, Some(path)) => Ok(Self::Invited(Box::new(token(path)?))),
            (Some(Err(useless)), None) => Err(useless),
            (None, None) => Held::make(&own).map(Self::held),
        }
    }

    const fn held(held: Held) -> Self {
        Self::Proof(Proof::Held(held))
    }
}

impl Proof {
    /// The authority's files, where its key is held. They may be replaced while the node runs.
    pub(super) fn directory(&self) -> Option<PathBuf> {
        match self {
            Self::Held(held) => Some(held.directory.clone()),
            Self::Given(_) => None,
        }
    }

    /// What `identity` shows and trusts.
    pub(super) fn credentials(&self, identity: &Identity) -> Result<Arc<Credentials>, NodeError> {
        match self {
            Self::Held(held) => held.credentials(identity),
            Self::Given(kept) => kept.credentials().map_err(|source| NodeError::Leaf { source }),
        }
    }

    /// Renews the certificate before it ends, and trusts a new authority once its files are there, or once a member
    /// that has them says so.
    pub(super) async fn look_after(
        self,
        credentials: Arc<Credentials>,
        transport: Transport,
        data_dir: PathBuf,
        stop: CancellationToken,
    ) {
        match self {
            Self::Held(held) => renew(Renewal::new(held.directory), credentials, stop).await,
            Self::Given(kept) => {
                Renewing::new(transport, credentials, *kept, data_dir).run(stop).await;
            }
        }
    }
}

impl Held {
    fn load(directory: &Path) -> Result<Self, NodeError> {
        let authority = Authority::load(directory, UnixMillis::now());
        let authority = authority.map_err(|source| failed(directory, source))?;
        Ok(Self { directory: directory.to_owned(), authority: Arc::new(authority) })
    }

    fn make(directory: &Path) -> Result<Self, NodeError> {
        Authority::create(directory, UnixMillis::now())
            .map_err(|source| failed(directory, source))?;
        info!(directory = %directory.display(), "made an authority for this cluster; other nodes join with a copy of it, or with a token");
        Self::load(directory)
    }

    /// A new certificate for `identity`.
    pub(super) fn credentials(&self, identity: &Identity) -> Result<Arc<Credentials>, NodeError> {
        let minted = Credentials::from_authority(&self.authority, identity, UnixMillis::now());
        minted.map_err(|source| failed(&self.directory, source))
    }
}

/// Whether a data directory holds an authority, or a leaf that its node was given.
#[must_use]
pub fn has_proof(data_dir: &Path) -> bool {
    data_dir.join(OWN).exists() || Kept::path(data_dir).exists()
}

fn failed(directory: &Path, source: AuthorityError) -> NodeError {
    NodeError::Authority { directory: directory.to_owned(), source }
}

/// The leaf that was kept, and why it is of no use where it isn't.
fn given(config: &Config, node: NodeId) -> Result<Option<Result<Kept, NodeError>>, NodeError> {
    let directory = &config.data_dir;
    let leaf = |source| NodeError::Leaf { source };
    let Some(kept) = Kept::load(directory).map_err(leaf)? else { return Ok(None) };
    let credentials = kept.credentials().map_err(leaf)?;
    let (_, not_after) = credentials.validity();
    let problem = if kept.identity().node != node {
        "this leaf is of a node that has lost its data"
    } else if not_after <= UnixMillis::now() {
        "this leaf has ended while the node was off"
    } else {
        return Ok(Some(Ok(kept)));
    };
    Ok(Some(Err(NodeError::LeafUseless {
        path: Kept::path(directory),
        problem: problem.to_owned(),
        name: config.name.clone(),
    })))
}

fn token(path: &Path) -> Result<JoinToken, NodeError> {
    let wrong = |problem: String| NodeError::JoinToken { path: path.to_owned(), problem };
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| wrong(format!("it can't be read: {error}")));
    read?;
    text.trim().parse().map_err(|error: JoinTokenError| wrong(error.to_string()))
}
