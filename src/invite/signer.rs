//! A member that holds the authority's key signs for those that do not.

use std::{fmt, path::PathBuf, time::Duration};

use bytes::Bytes;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::wire::{self, Ask, Reply, Signed};
use crate::model::{NodeId, UnixMillis};
use crate::raft::Handle;
use crate::transport::{
    self, Authority, AuthorityError, Identity, LEAF_LIFETIME, Peer, Protocol, Refused, Transport,
};

/// Signs leaves, where the authority's key is at hand.
#[derive(Clone)]
pub struct Signer {
    raft: Handle,
    directory: Option<PathBuf>,
    lifetime: Duration,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Signer {
    /// With the authority in `directory`; without one it says so to whoever asks.
    #[must_use]
    pub const fn new(raft: Handle, directory: Option<PathBuf>) -> Self {
        Self { raft, directory, lifetime: LEAF_LIFETIME }
    }

    /// With leaves of another life.
    #[must_use]
    pub const fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Answers members from now on.
    pub fn serve(&self, transport: &Transport) {
        let (signer, cluster) = (self.clone(), transport.identity().cluster);
        transport.register(
            Protocol::Sign,
            transport::answer(move |peer: Peer, request: Bytes| {
                let signer = signer.clone();
                let identity = Identity::server(cluster, peer.node);
                async move { signer.answer(&identity, &request).await }
            }),
        );
    }

    /// `identity` is what the peer has proven to be: it gets a leaf for that and nothing else.
    async fn answer(&self, identity: &Identity, request: &[u8]) -> Result<Bytes, Refused> {
        let ask: Ask = wire::decode(request).map_err(|error| {
            warn!(%identity, %error, "a question about leaves is not understood");
            Refused::Failed
        })?;
        let reply = if self.is_member(identity.node) {
            self.reply(identity, ask).await
        } else {
            // A leaf that is not renewed is what ends a removed node's.
            Reply::Refused { reason: "it is no member".to_owned() }
        };
        if let Reply::Refused { reason } = &reply {
            warn!(%identity, %reason, "no leaf for a member");
        }
        Ok(wire::encode(&reply).into())
    }

    fn is_member(&self, node: NodeId) -> bool {
        self.raft.members().borrow().contains(node)
    }

    async fn reply(&self, identity: &Identity, ask: Ask) -> Reply {
        let done = match self.authority().await {
            Ok(None) => return Reply::NoKey,
            Ok(Some(authority)) => match ask {
                Ask::Authorities => authority.bundle(UnixMillis::now()).map(Reply::Authorities),
                Ask::Leaf { request } => {
                    info!(%identity, "renews a member's leaf");
                    self.sign(&authority, &request, identity).map(Reply::Leaf)
                }
            },
            Err(error) => Err(error),
        };
        done.unwrap_or_else(|error| Reply::Refused { reason: error.to_string() })
    }

    /// The authority of the moment: its files may be replaced at any time.
    pub(super) async fn authority(&self) -> Result<Option<Authority>, AuthorityError> {
        let Some(directory) = self.directory.clone() else { return Ok(None) };
        let loading = spawn_blocking(move || Authority::load(&directory, UnixMillis::now()));
        loading.await.expect("reading files does not panic").map(Some)
    }

    pub(super) fn sign(
        &self,
        authority: &Authority,
        request: &[u8],
        identity: &Identity,
    ) -> Result<Signed, AuthorityError> {
        let now = UnixMillis::now();
        let chain = authority.sign(request, identity, self.lifetime, now)?;
        let chain = chain.iter().map(|der| der.to_vec()).collect();
        Ok(Signed { chain, authorities: authority.bundle(now)? })
    }
}
