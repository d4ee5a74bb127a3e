//! What this node shows and whom it trusts, replaceable while connections live.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore,
    client::ResolvesClientCert,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, UnixTime},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};
use tokio::sync::watch;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::model::UnixMillis;

use super::{Authority, AuthorityError, Identity, Leaf, Pin, Refusal, inspect};

/// A node's own leaf and the roots it trusts. Both may be replaced at any time; what is refused leaves the old ones.
pub struct Credentials {
    identity: Identity,
    current: ArcSwap<Current>,
    changed: watch::Sender<u64>,
}

/// One state of the credentials.
#[derive(Debug)]
pub(in crate::transport) struct Current {
    /// Grows with every new leaf.
    pub(in crate::transport) leaf_number: u64,
    pub(super) key: Arc<CertifiedKey>,
    /// What joiners are shown: the authority that has signed the leaf, too. None where it is not known.
    pub(super) door: Option<Arc<CertifiedKey>>,
    not_before: UnixMillis,
    not_after: UnixMillis,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) chains: Arc<dyn ClientCertVerifier>,
}

impl Current {
    /// Whether a peer's chain would still be accepted. TLS asks only during the handshake.
    pub(in crate::transport) fn check_chain(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        let (leaf, rest) = chain.split_first().ok_or(Refusal::NoCertificate)?;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_millis(now.0));
        let verified = self.chains.verify_client_cert(leaf, rest, now);
        verified.map(drop).map_err(|error| Refusal::of(&error))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.current.load();
        f.debug_struct("Credentials")
            .field("identity", &self.identity)
            .field("leaf_number", &current.leaf_number)
            .field("not_after", &current.not_after)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Credentials that begin with `leaf` and trust `roots`.
    ///
    /// # Errors
    ///
    /// The leaf is not in our form, its key is another's, or there are no roots.
    pub fn new(leaf: Leaf, roots: Arc<RootCertStore>) -> Result<Arc<Self>, AuthorityError> {
        let own = leaf.chain.first().ok_or(Refusal::NoCertificate);
        let own = own.and_then(inspect).map_err(AuthorityError::LeafRefused)?;
        let chains = chains(&roots)?;
        let (key, door) = certified(leaf)?;
        let current = Current {
            leaf_number: 1,
            key,
            door,
            not_before: own.not_before,
            not_after: own.not_after,
            roots,
            chains,
        };
        Ok(Arc::new(Self {
            identity: own.identity,
            current: ArcSwap::from_pointee(current),
            changed: watch::Sender::new(0),
        }))
    }

    /// Credentials of a node that holds the authority's key: a leaf of the usual lifetime.
    ///
    /// # Errors
    ///
    /// As [`Authority::mint`] and [`Credentials::new`].
    pub fn from_authority(
        authority: &Authority,
        identity: &Identity,
        now: UnixMillis,
    ) -> Result<Arc<Self>, AuthorityError> {
        Self::new(authority.mint(identity, super::LEAF_LIFETIME, now)?, authority.roots()?)
    }

    /// Who this node is. It does not change; another identity is another transport.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The first and the last instant of the present leaf.
    #[must_use]
    pub fn validity(&self) -> (UnixMillis, UnixMillis) {
        let current = self.current.load();
        (current.not_before, current.not_after)
    }

    /// What the key of the authority is known by that has signed the present leaf, where that is known.
    #[must_use]
    pub fn pin(&self) -> Option<Pin> {
        let current = self.current.load();
        let issuer = current.door.as_ref()?.cert.last()?;
        let (_, issuer) = X509Certificate::from_der(issuer).ok()?;
        Some(Pin::of(issuer.public_key().raw))
    }

    /// Shows `leaf` from now on. Connections that were made with the old one are replaced by new ones, without losing
    /// a request.
    ///
    /// # Errors
    ///
    /// The leaf is someone else's, or its key does not fit: the old one stays.
    pub fn install(&self, leaf: Leaf) -> Result<(), AuthorityError> {
        let found = leaf.chain.first().ok_or(Refusal::NoCertificate);
        let found = found.and_then(inspect).map_err(AuthorityError::LeafRefused)?;
        if found.identity != self.identity {
            return Err(AuthorityError::LeafForeign { found: found.identity, own: self.identity });
        }
        let (key, door) = certified(leaf)?;
        self.swap(|old| Current {
            leaf_number: old.leaf_number + 1,
            key: key.clone(),
            door: door.clone(),
            not_before: found.not_before,
            not_after: found.not_after,
            roots: old.roots.clone(),
            chains: old.chains.clone(),
        });
        Ok(())
    }

    /// Trusts `roots` from now on, and closes connections to peers that they do not vouch for.
    ///
    /// # Errors
    ///
    /// There are none: the old ones stay.
    pub fn trust(&self, roots: Arc<RootCertStore>) -> Result<(), AuthorityError> {
        let chains = chains(&roots)?;
        self.swap(|old| Current {
            leaf_number: old.leaf_number,
            key: old.key.clone(),
            door: old.door.clone(),
            not_before: old.not_before,
            not_after: old.not_after,
            roots: roots.clone(),
            chains: chains.clone(),
        });
        Ok(())
    }

    fn swap(&self, next: impl Fn(&Current) -> Current) {
        self.current.rcu(|old| next(old));
        self.changed.send_modify(|count| *count += 1);
    }

    pub(in crate::transport) fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// Wakes whenever the leaf or the roots were replaced.
    pub(in crate::transport) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

type Certified = (Arc<CertifiedKey>, Option<Arc<CertifiedKey>>);

/// What peers are shown, and what joiners are.
fn certified(leaf: Leaf) -> Result<Certified, AuthorityError> {
    let key = provider().key_provider.load_private_key(leaf.key)?;
    let door = leaf.issuer.map(|issuer| {
        let chain = leaf.chain.iter().cloned().chain([issuer]).collect();
        Arc::new(CertifiedKey::new(chain, Arc::clone(&key)))
    });
    let certified = CertifiedKey::new(leaf.chain, key);
    certified.keys_match().map_err(|_| AuthorityError::LeafMismatch)?;
    Ok((Arc::new(certified), door))
}

fn chains(roots: &Arc<RootCertStore>) -> Result<Arc<dyn ClientCertVerifier>, AuthorityError> {
    WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
        .build()
        .map_err(|error| AuthorityError::Tls(rustls::Error::General(error.to_string())))
}

/// The only provider of cryptography, whatever the process has installed.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Hands rustls the leaf of the moment.
#[derive(Debug)]
pub(super) struct Resolver(pub(super) Arc<Credentials>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current.load().key.clone())
    }
}

impl ResolvesClientCert for Resolver {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current.load().key.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
