//! The joiner: from a token to a leaf.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use rustls::pki_types::CertificateDer;
use thiserror::Error;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::wire::{self, Knock, Signed, Welcome};
use crate::cluster::{Candidates, Waiting};
use crate::model::{ClusterId, NodeId, UnixMillis};
use crate::transport::{
    AuthorityError, Doorstep, Identity, JoinToken, Kept, KnockError, SigningRequest,
};

/// How long a member has to prove itself.
const MEET_WITHIN: Duration = Duration::from_secs(2);

/// How long it has to answer: it commits that the token is used.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Between two rounds.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Members that others have named, at most.
const LEARNT_MAX: usize = 256;

/// What a joiner needs.
#[derive(Debug)]
pub struct Enrol {
    /// What lets it in.
    pub token: JoinToken,
    /// Its id, which belongs to its data directory.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// The cluster that it must be, where the directory belongs to one.
    pub cluster: Option<ClusterId>,
    /// Where members may be.
    pub candidates: Candidates,
    /// Shows what is waited for.
    pub waiting: watch::Sender<Option<Waiting>>,
}

/// What it got.
#[derive(Debug)]
pub struct Enrolled {
    /// Its leaf, and whom it trusts.
    pub kept: Kept,
    /// Members, and where they are.
    pub members: Vec<(NodeId, SocketAddr)>,
}

/// Why it got nothing.
#[derive(Debug, Error)]
pub enum EnrolError {
    /// It was told to stop.
    #[error("stopped before this node was let in")]
    Stopped,
    /// A member has said no.
    #[error("{address} does not let this node in: {reason}")]
    Refused {
        /// Where it is.
        address: SocketAddr,
        /// In its words.
        reason: String,
    },
    /// The token is another cluster's than the data directory.
    #[error(
        "the token is of cluster {token}, and the data directory of {own}: make a token there, or start with a new --data-dir"
    )]
    OtherCluster {
        /// The token's.
        token: ClusterId,
        /// The directory's.
        own: ClusterId,
    },
    /// What was signed can't be used.
    #[error("the leaf can't be used: {0}")]
    Leaf(#[from] AuthorityError),
}

/// A key that waits for its leaf. It is made once for a cluster, so that whoever has lost the answer can ask again.
struct Pending {
    identity: Identity,
    request: SigningRequest,
}

impl Enrol {
    /// Asks whoever may be a member, again and again, until one lets this node in or refuses to.
    ///
    /// # Errors
    ///
    /// [`EnrolError`].
    pub async fn run(self, stop: CancellationToken) -> Result<Enrolled, EnrolError> {
        let waiting = self.waiting.clone();
        let run = Enrolling { enrol: self, pending: None, learnt: BTreeSet::new() }.run();
        let enrolled = stop.run_until_cancelled(run).await.unwrap_or(Err(EnrolError::Stopped));
        waiting.send_replace(None);
        enrolled
    }
}

struct Enrolling {
    enrol: Enrol,
    pending: Option<Pending>,
    learnt: BTreeSet<SocketAddr>,
}

impl Enrolling {
    async fn run(mut self) -> Result<Enrolled, EnrolError> {
        loop {
            let resolution = self.enrol.candidates.resolve().await;
            let addresses: BTreeSet<_> =
                resolution.addresses.union(&self.learnt).copied().collect();
            let mut reasons: BTreeMap<String, String> =
                resolution.failures.iter().cloned().collect();
            for address in addresses {
                match self.try_at(address).await? {
                    Ok(enrolled) => return Ok(enrolled),
                    Err(reason) => drop(reasons.insert(address.to_string(), reason)),
                }
            }
            self.tell(Waiting::Invited { reasons });
            sleep(AGAIN_AFTER).await;
        }
    }

    /// The inner error is a reason to ask others, and this one again later.
    async fn try_at(
        &mut self,
        address: SocketAddr,
    ) -> Result<Result<Enrolled, String>, EnrolError> {
        let met = Doorstep::at(address, self.enrol.token.pin, MEET_WITHIN).await;
        let doorstep = match met {
            Ok(doorstep) => doorstep,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let (member, authority) = (*doorstep.member(), doorstep.authority().clone());
        let knock = self.knock(member.cluster)?;
        let answer = doorstep.ask(&wire::encode(&knock), ANSWER_WITHIN).await;
        let answer = answer.map_err(|error: KnockError| error.to_string());
        let welcome = answer.and_then(|answer| {
            wire::decode(&answer).map_err(|error| format!("its answer: {error}"))
        });
        match welcome {
            Ok(Welcome::In { signed, mut members }) => {
                members.insert(0, (member.node, address));
                info!(cluster = %member.cluster, by = %member.node, "let in with a token");
                self.accept(signed, &authority).map(|kept| Ok(Enrolled { kept, members }))
            }
            Ok(Welcome::Refused { reason }) => Err(EnrolError::Refused { address, reason }),
            Ok(Welcome::NoKey { members }) => {
                self.learnt.extend(members);
                while self.learnt.len() > LEARNT_MAX {
                    self.learnt.pop_last();
                }
                Ok(Err("it holds no authority's key".to_owned()))
            }
            Ok(Welcome::Later { reason }) | Err(reason) => Ok(Err(reason)),
        }
    }

    fn knock(&mut self, cluster: ClusterId) -> Result<Knock, EnrolError> {
        if let Some(own) = self.enrol.cluster.filter(|own| *own != cluster) {
            return Err(EnrolError::OtherCluster { token: cluster, own });
        }
        let identity = Identity::server(cluster, self.enrol.node);
        if self.pending.as_ref().is_none_or(|pending| pending.identity != identity) {
            self.pending = Some(Pending { identity, request: SigningRequest::new(&identity)? });
        }
        let request = self.pending.as_ref().map(|pending| pending.request.der().to_vec());
        Ok(Knock {
            token: self.enrol.token.id,
            secret: *self.enrol.token.secret.expose(),
            node: self.enrol.node,
            name: self.enrol.name.clone(),
            request: request.unwrap_or_default(),
        })
    }

    fn accept(
        &mut self,
        signed: Signed,
        authority: &CertificateDer<'static>,
    ) -> Result<Kept, EnrolError> {
        let trusted = std::slice::from_ref(authority);
        let (authorities, _) = signed.authorities.check(trusted, UnixMillis::now())?;
        let pending = self.pending.take().ok_or(AuthorityError::LeafMismatch)?;
        let chain = signed.chain.into_iter().map(CertificateDer::from).collect();
        let kept = Kept::new(pending.request.accept(chain), authorities)?;
        if *kept.identity() != pending.identity {
            let (found, own) = (*kept.identity(), pending.identity);
            return Err(AuthorityError::LeafForeign { found, own }.into());
        }
        // That the key is the leaf's.
        kept.credentials()?;
        Ok(kept)
    }

    /// An operator is told once for each reason.
    fn tell(&self, waiting: Waiting) {
        self.enrol.waiting.send_if_modified(|told| {
            if told.as_ref() == Some(&waiting) {
                debug!(reason = %waiting, "still not let in");
                return false;
            }
            info!(reason = %waiting, "not let in yet");
            *told = Some(waiting);
            true
        });
    }
}
