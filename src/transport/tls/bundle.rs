//! The trusted authorities as nodes without the authority's key get them: with the word of one that they trust already.
//!
//! Without that word a member that holds no key could have others trust an authority of its own.

use std::{sync::Arc, time::Duration};

use rustls::{RootCertStore, pki_types::CertificateDer};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::model::UnixMillis;

use super::{AuthorityError, credentials::provider, token::sha256};

/// What is signed begins with this, so that it is nothing else.
const PURPOSE: &[u8] = b"apolo authorities 1";

/// The most authorities: two while one replaces the other, and as many again.
const AUTHORITIES_MAX: usize = 4;

/// A bundle that was made longer ago may be one of an authority that was dropped since. Clocks may differ as much as
/// leaves are backdated.
const FRESH: Duration = Duration::from_mins(5);

/// All trusted authorities, and the word of the one that signs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    pub(super) certificates: Vec<Vec<u8>>,
    pub(super) made_at: UnixMillis,
    pub(super) proof: Vec<u8>,
}

impl Bundle {
    /// What the word is given for.
    pub(super) fn message(certificates: &[Vec<u8>], made_at: UnixMillis) -> Vec<u8> {
        let hashes = certificates.iter().flat_map(|certificate| sha256(&[certificate]));
        PURPOSE.iter().copied().chain(made_at.0.to_be_bytes()).chain(hashes).collect()
    }

    /// The authorities and which of them vouches, if that is one of `trusted`.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::BundleForeign`] where none does, or the bundle is no fresh one.
    pub fn check(
        &self,
        trusted: &[CertificateDer<'_>],
        now: UnixMillis,
    ) -> Result<(Vec<CertificateDer<'static>>, CertificateDer<'static>), AuthorityError> {
        let foreign = AuthorityError::BundleForeign;
        let age = now.since(self.made_at).max(self.made_at.since(now));
        if self.certificates.is_empty() || self.certificates.len() > AUTHORITIES_MAX || age > FRESH
        {
            return Err(foreign);
        }
        let message = Self::message(&self.certificates, self.made_at);
        let all: Vec<_> =
            self.certificates.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let by = all.iter().filter(|authority| trusted.contains(authority));
        let by = by.clone().find(|authority| vouches(authority, &message, &self.proof));
        let by = by.ok_or(foreign)?.clone();
        Ok((all, by))
    }
}

/// Whether `authority` has signed `message`.
pub(super) fn vouches(authority: &CertificateDer<'_>, message: &[u8], signature: &[u8]) -> bool {
    let Ok((_, authority)) = X509Certificate::from_der(authority) else { return false };
    let key = &authority.public_key().subject_public_key.data;
    // Each takes keys of its own kind alone.
    let mut kinds = provider().signature_verification_algorithms.all.iter();
    authority.is_ca() && kinds.any(|kind| kind.verify_signature(key, message, signature).is_ok())
}

/// The certificates as trust anchors.
///
/// # Errors
///
/// [`AuthorityError::Tls`] for one that can't be.
pub(super) fn roots_of(
    certificates: &[CertificateDer<'static>],
) -> Result<Arc<RootCertStore>, AuthorityError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone())?;
    }
    Ok(Arc::new(roots))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Authority;

    const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

    fn authority() -> (Authority, Vec<CertificateDer<'static>>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca");
        let authority = Authority::create(&path, NOW).unwrap();
        let certificates = authority.certificates().to_vec();
        (authority, certificates)
    }

    #[test]
    fn a_bundle_counts_by_the_word_of_a_trusted_authority_and_as_long_as_it_is_fresh() {
        let ((own, trusted), (_, others)) = (authority(), authority());
        let bundle = own.bundle(NOW).unwrap();

        assert_eq!(bundle.check(&trusted, NOW).unwrap(), (trusted.clone(), trusted[0].clone()));
        assert!(bundle.check(&trusted, NOW.plus(FRESH)).is_ok());
        for (trusted, now) in [
            (&others, NOW),
            (&trusted, NOW.plus(FRESH + Duration::from_millis(1))),
            (&trusted, UnixMillis(NOW.0 - 300_001)),
        ] {
            let refused = bundle.check(trusted, now);
            assert!(matches!(refused, Err(AuthorityError::BundleForeign)), "{refused:?}");
        }
    }

    #[test]
    fn a_bundle_with_another_authority_slipped_in_is_refused() {
        let ((own, trusted), (_, others)) = (authority(), authority());
        let mut bundle = own.bundle(NOW).unwrap();

        bundle.certificates.push(others[0].to_vec());

        assert!(bundle.check(&trusted, NOW).is_err());
    }
}
