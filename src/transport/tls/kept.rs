//! A leaf that a node was given, kept in one file with its key and the trusted authorities: they are replaced together.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{
    AuthorityError, Credentials, Identity, Leaf, Refusal,
    bundle::{roots_of, vouches},
    files::{self, pem},
    inspect,
};

/// The file's name, in the data directory.
const FILE: &str = "leaf.pem";

/// What a node without the authority's key was given.
#[derive(Debug)]
pub struct Kept {
    leaf: Leaf,
    authorities: Vec<CertificateDer<'static>>,
    identity: Identity,
}

impl Kept {
    /// A leaf with those that are trusted, if one of them has signed it for `identity`.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::LeafRefused`], [`AuthorityError::LeafForeign`] or, where none has signed it,
    /// [`AuthorityError::BundleForeign`].
    pub fn new(
        leaf: Leaf,
        authorities: Vec<CertificateDer<'static>>,
    ) -> Result<Self, AuthorityError> {
        let own = leaf.chain.first().ok_or(AuthorityError::LeafRefused(Refusal::NoCertificate))?;
        let identity = inspect(own).map_err(AuthorityError::LeafRefused)?.identity;
        let issuer = authorities.iter().find(|authority| is_signed_by(own, authority));
        let issuer = issuer.ok_or(AuthorityError::BundleForeign)?.clone();
        Ok(Self { leaf: leaf.signed_by(issuer), authorities, identity })
    }

    /// What was kept in `directory`; nothing, if there is nothing.
    ///
    /// # Errors
    ///
    /// It can't be read, others can read it, or it is none of ours.
    pub fn load(directory: &Path) -> Result<Option<Self>, AuthorityError> {
        let path = Self::path(directory);
        let text = match files::read_key(&path) {
            Err(AuthorityError::File { reason, .. })
                if reason.kind() == io::ErrorKind::NotFound =>
            {
                return Ok(None);
            }
            text => text?,
        };
        let not_pem = |wanted| AuthorityError::NotPem { path: path.clone(), wanted };
        let key =
            PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| not_pem("private key"))?;
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        let mut certificates = certificates.map_err(|_| not_pem("certificate"))?;
        if certificates.len() < 2 {
            return Err(not_pem("leaf with its authority"));
        }
        let authorities = certificates.split_off(1);
        Self::new(Leaf::new(certificates, key), authorities).map(Some)
    }

    /// Where it is kept.
    #[must_use]
    pub fn path(directory: &Path) -> PathBuf {
        directory.join(FILE)
    }

    /// Writes it to `directory`, durably, in place of what was there.
    ///
    /// # Errors
    ///
    /// Whatever the file system says: what was there before stays.
    pub fn save(&self, directory: &Path) -> Result<(), AuthorityError> {
        let mut text = pem("PRIVATE KEY", self.leaf.key.secret_der());
        for certificate in self.leaf.chain.iter().take(1).chain(&self.authorities) {
            text += &pem("CERTIFICATE", certificate);
        }
        files::replace(directory, FILE, &text, files::KEY_MODE)
    }

    /// Whose it is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Those that are trusted.
    #[must_use]
    pub fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    /// The one of them that has signed the leaf.
    #[must_use]
    pub const fn issuer(&self) -> Option<&CertificateDer<'static>> {
        self.leaf.issuer.as_ref()
    }

    /// The same leaf with other authorities, of which its own must be one.
    ///
    /// # Errors
    ///
    /// As [`Kept::new`].
    pub fn trusting(
        &self,
        authorities: Vec<CertificateDer<'static>>,
    ) -> Result<Self, AuthorityError> {
        Self::new(self.leaf.clone(), authorities)
    }

    /// Credentials that begin with it.
    ///
    /// # Errors
    ///
    /// As [`Credentials::new`].
    pub fn credentials(&self) -> Result<Arc<Credentials>, AuthorityError> {
        Credentials::new(self.leaf.clone(), roots_of(&self.authorities)?)
    }

    /// Has `credentials` trust these authorities, and show this leaf.
    ///
    /// # Errors
    ///
    /// As [`Credentials::trust`] and [`Credentials::install`].
    pub fn install(&self, credentials: &Credentials) -> Result<(), AuthorityError> {
        self.trust(credentials)?;
        credentials.install(self.leaf.clone())
    }

    /// Has `credentials` trust these authorities.
    ///
    /// # Errors
    ///
    /// As [`Credentials::trust`].
    pub fn trust(&self, credentials: &Credentials) -> Result<(), AuthorityError> {
        credentials.trust(roots_of(&self.authorities)?)
    }
}

fn is_signed_by(leaf: &CertificateDer<'_>, authority: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(leaf).is_ok_and(|(_, leaf)| {
        vouches(authority, leaf.tbs_certificate.as_ref(), &leaf.signature_value.data)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::{
        model::{ClusterId, NodeId, UnixMillis},
        transport::{Authority, LEAF_LIFETIME, SigningRequest},
    };

    fn authority(directory: &Path) -> Authority {
        Authority::create(&directory.join("ca"), UnixMillis::now()).unwrap()
    }

    fn given(authority: &Authority) -> Kept {
        let identity = Identity::server(ClusterId(uuid::Uuid::from_u128(7)), NodeId(1));
        let request = SigningRequest::new(&identity).unwrap();
        let chain = authority.sign(request.der(), &identity, LEAF_LIFETIME, UnixMillis::now());
        Kept::new(request.accept(chain.unwrap()), authority.certificates().to_vec()).unwrap()
    }

    #[test]
    fn what_was_kept_is_there_again_and_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let kept = given(&authority(directory.path()));
        assert!(Kept::load(directory.path()).unwrap().is_none());

        for _ in 0..2 {
            kept.save(directory.path()).unwrap();
        }

        let again = Kept::load(directory.path()).unwrap().unwrap();
        assert_eq!(again.identity(), kept.identity());
        assert_eq!(again.authorities(), kept.authorities());
        assert_eq!(again.issuer(), kept.issuer());
        assert_eq!(again.credentials().unwrap().identity(), kept.identity());
        let mode = Kept::path(directory.path()).metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_leaf_that_none_of_the_authorities_has_signed_is_refused() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let kept = given(&authority(one.path()));

        let refused = kept.trusting(authority(two.path()).certificates().to_vec());

        assert!(matches!(refused, Err(AuthorityError::BundleForeign)), "{refused:?}");
    }
}
