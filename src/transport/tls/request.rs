//! A joiner's request for a leaf. The key is made here and stays here.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{AuthorityError, Identity, Leaf, authority::names};

/// A key that waits for its certificate.
pub struct SigningRequest {
    key: KeyPair,
    der: Vec<u8>,
}

impl fmt::Debug for SigningRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningRequest").finish_non_exhaustive()
    }
}

impl SigningRequest {
    /// A new key, and the request that its holder be named `identity`.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Sign`].
    pub fn new(identity: &Identity) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names(identity)?;
        let der = params.serialize_request(&key)?.der().to_vec();
        Ok(Self { key, der })
    }

    /// What is sent to the authority. It holds the public key alone.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The leaf, once the authority has answered with its chain.
    #[must_use]
    pub fn accept(self, chain: Vec<CertificateDer<'static>>) -> Leaf {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        Leaf::new(chain, key)
    }
}

/// Refuses a request for anything but `identity`'s names: what it asks for would not be granted, and whoever asks is
/// not to be trusted.
pub(super) fn check_request(
    params: &CertificateParams,
    identity: &Identity,
) -> Result<(), AuthorityError> {
    let plain = params.is_ca == IsCa::NoCa || params.is_ca == IsCa::ExplicitNoCa;
    let usages = params.key_usages.is_empty() && params.extended_key_usages.is_empty();
    if params.subject_alt_names == names(identity)? && plain && usages {
        Ok(())
    } else {
        Err(AuthorityError::RequestForeign { granted: *identity })
    }
}
