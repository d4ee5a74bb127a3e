//! Lets nodes in that show a token.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::{
    Signer,
    attempts::Attempts,
    wire::{self, Knock, Signed, Welcome},
};
use crate::model::{TokenId, UnixMillis};
use crate::raft::Handle;
use crate::state::{Command, Invitation, Outcome, TokenUse};
use crate::transport::{Authority, AuthorityError, Identity, JoinSecret, Porter, Transport};

/// How long this member may lag behind the one that has put the token on record.
const LAG: Duration = Duration::from_secs(1);

/// The longest name of a node, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// The most members that a joiner is told of.
const MEMBERS_MAX: usize = 64;

const TOO_MANY: &str = "too many wrong tokens came from this address; wait a minute";

/// The same for a token that nobody made and for a secret that is another's: a guess learns nothing.
const WRONG: &str = "there is no such token: copy all of it, or make another with `apolo token create`; it may have \
                     been revoked, have ended, or be another cluster's";

/// Answers at the door.
#[derive(Clone)]
pub struct Admission {
    raft: Handle,
    transport: Transport,
    signer: Signer,
    attempts: Arc<Mutex<Attempts>>,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("signer", &self.signer).finish_non_exhaustive()
    }
}

impl Porter for Admission {
    fn answer(&self, source: IpAddr, request: Bytes) -> BoxFuture<'static, Bytes> {
        let this = self.clone();
        async move {
            if !this.attempts(|attempts| attempts.may_try(source, Instant::now())) {
                // Said to the joiner alone: whoever guesses must not fill the log.
                debug!(%source, "too many wrong tokens");
                return wire::encode(&Welcome::Later { reason: TOO_MANY.to_owned() }).into();
            }
            let welcome = this.welcome(source, &request).await;
            if let Welcome::Refused { reason } | Welcome::Later { reason } = &welcome {
                warn!(%source, %reason, "a node was not let in");
            }
            wire::encode(&welcome).into()
        }
        .boxed()
    }
}

impl Admission {
    /// Signs with `signer`.
    #[must_use]
    pub fn new(raft: Handle, transport: Transport, signer: Signer) -> Self {
        Self { raft, transport, signer, attempts: Arc::default() }
    }

    async fn welcome(&self, source: IpAddr, request: &[u8]) -> Welcome {
        let authority = match self.signer.authority().await {
            Ok(Some(authority)) => authority,
            Ok(None) => return Welcome::NoKey { members: self.addresses() },
            Err(error) => return Welcome::Later { reason: error.to_string() },
        };
        let knock = match wire::decode::<Knock>(request) {
            Ok(knock) => knock,
            Err(error) => {
                self.attempts(|attempts| attempts.note(source, Instant::now()));
                return Welcome::Refused { reason: error.to_string() };
            }
        };
        if !self.knows(&knock).await {
            self.attempts(|attempts| attempts.note(source, Instant::now()));
            return Welcome::Refused { reason: WRONG.to_owned() };
        }
        self.admit(source, &authority, knock).await
    }

    /// Whether the token is on record, and its secret the right one.
    async fn knows(&self, knock: &Knock) -> bool {
        let token = self.invitation(knock.token).await;
        let secret = JoinSecret::from_bytes(knock.secret);
        token.is_some_and(|token| secret.is(&token.salt, &token.hash))
    }

    async fn invitation(&self, token: TokenId) -> Option<Invitation> {
        let mut states = self.raft.states();
        let known = states.wait_for(|state| state.tokens().contains_key(&token));
        let state = timeout(LAG, known).await.ok()?.ok()?;
        state.tokens().get(&token).cloned()
    }

    /// The leaf is made first and handed out last: what can't be signed uses up no token, and nobody has a leaf whose
    /// token another one has used.
    async fn admit(&self, source: IpAddr, authority: &Authority, knock: Knock) -> Welcome {
        let Knock { token, node, name, request, .. } = knock;
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Welcome::Refused { reason: "its name is none that a node can have".to_owned() };
        }
        let identity = Identity::server(self.transport.identity().cluster, node);
        let (signed, key) = match self.prepared(authority, &request, &identity) {
            Ok(prepared) => prepared,
            Err(error) => return Welcome::Refused { reason: error.to_string() },
        };
        let by = TokenUse { node, key, at: UnixMillis::now() };
        let used = Command::UseToken { token, name: name.clone(), by };
        match self.raft.propose(used).await {
            Ok(Outcome::Applied) => {
                info!(%token, %node, name, %source, "a node was let in with a token");
                let members = self.transport.connected();
                let members = members.into_iter().map(|peer| (peer.node, peer.address));
                Welcome::In { signed, members: members.take(MEMBERS_MAX).collect() }
            }
            Ok(Outcome::Stale | Outcome::User(_) | Outcome::Restored(_)) => {
                Welcome::Later { reason: "the state has changed".to_owned() }
            }
            Ok(Outcome::Refused(refusal)) => Welcome::Refused { reason: refusal.to_string() },
            Err(error) => Welcome::Later { reason: error.to_string() },
        }
    }

    fn prepared(
        &self,
        authority: &Authority,
        request: &[u8],
        identity: &Identity,
    ) -> Result<(Signed, [u8; 32]), AuthorityError> {
        let signed = self.signer.sign(authority, request, identity)?;
        Ok((signed, Authority::key_of(request)?))
    }

    fn addresses(&self) -> Vec<std::net::SocketAddr> {
        let peers = self.transport.connected().into_iter();
        peers.map(|peer| peer.address).take(MEMBERS_MAX).collect()
    }

    fn attempts<T>(&self, with: impl FnOnce(&mut Attempts) -> T) -> T {
        with(&mut self.attempts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
