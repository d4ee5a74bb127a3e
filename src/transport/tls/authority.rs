//! The cluster's authority: it makes the leaves that nodes know each other by.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType, SerialNumber, SigningKey as _,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::model::UnixMillis;

use super::{
    AuthorityError, Bundle, Identity, Pin, bundle::roots_of, certificate::millis, files,
    request::check_request, token::sha256,
};

/// A leaf's life. Short, since a stolen key can't be called back; long enough to survive a day without the authority.
pub const LEAF_LIFETIME: Duration = Duration::from_hours(24);

/// A leaf begins this long before now: clocks differ, and a node whose clock is behind must not refuse it.
const BACKDATE: Duration = Duration::from_mins(5);

/// An authority's own life, as it is created: ten years. Replacing it sooner is `apolo ca rotate`.
const AUTHORITY_LIFETIME: Duration = Duration::from_hours(24 * 365 * 10);

/// A node's certificate and its key. Its `Debug` keeps the key to itself.
pub struct Leaf {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    /// The authority that has signed it, which joiners are shown.
    pub(super) issuer: Option<CertificateDer<'static>>,
}

impl Clone for Leaf {
    fn clone(&self) -> Self {
        let Self { chain, key, issuer } = self;
        Self { chain: chain.clone(), key: key.clone_key(), issuer: issuer.clone() }
    }
}

impl Leaf {
    /// A leaf from its parts: the chain, the node's own certificate first, and its key.
    #[must_use]
    pub const fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self { chain, key, issuer: None }
    }

    /// With the authority that has signed it: a node whose leaf has one can be joined with a token.
    #[must_use]
    pub fn signed_by(mut self, issuer: CertificateDer<'static>) -> Self {
        self.issuer = Some(issuer);
        self
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// The authority's key, its certificate, and all certificates that are trusted beside it.
///
/// While an authority is replaced there are two: `ca.crt` holds the old and the new one, and `ca.key` says which of
/// them signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    issuer_der: CertificateDer<'static>,
    trusted: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("trusted", &self.trusted.len()).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new authority and writes it to `directory` as `ca.crt` and `ca.key` (0600).
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Exists`] where there is one already, and whatever the file system says.
    pub fn create(directory: &Path, now: UnixMillis) -> Result<Self, AuthorityError> {
        let (certificate, key) = Self::generate(now)?;
        files::create(directory, &certificate, &key)?;
        Self::load(directory, now)
    }

    /// A new authority's certificate and key in PEM form, for whoever keeps them elsewhere than in a directory.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Sign`].
    pub fn generate(now: UnixMillis) -> Result<(String, String), AuthorityError> {
        let key = KeyPair::generate()?;
        let serial = random_serial();
        let mut name = DistinguishedName::new();
        // Two authorities of one cluster are told apart by their names.
        name.push(DnType::CommonName, format!("apolo cluster CA {serial}"));
        let mut params = CertificateParams::default();
        params.distinguished_name = name;
        params.serial_number = Some(serial);
        // It signs leaves and no other authority.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = at(UnixMillis(now.0.saturating_sub(as_millis(BACKDATE))));
        params.not_after = at(now.plus(AUTHORITY_LIFETIME));
        let certificate = params.self_signed(&key)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// Reads `ca.crt` and `ca.key` from `directory`.
    ///
    /// # Errors
    ///
    /// A file is missing, exposed, unreadable or no PEM; a certificate is no authority; the key belongs to none of
    /// them; or the one it belongs to has ended.
    pub fn load(directory: &Path, now: UnixMillis) -> Result<Self, AuthorityError> {
        let certificates = directory.join(files::CERTIFICATES);
        let key_path = directory.join(files::KEY);
        let trusted = files::read_certificates(&certificates)?;
        let key = KeyPair::from_pem(&files::read_key(&key_path)?).map_err(|_| {
            AuthorityError::NotPem { path: key_path.clone(), wanted: "private key" }
        })?;
        let public = key.subject_public_key_info();
        let mut own = None;
        for (nth, der) in trusted.iter().enumerate() {
            let not_an_authority =
                || AuthorityError::NotAnAuthority { path: certificates.clone(), nth: nth + 1 };
            let (_, parsed) = X509Certificate::from_der(der).map_err(|_| not_an_authority())?;
            if !parsed.is_ca() {
                return Err(not_an_authority());
            }
            if parsed.public_key().raw == public {
                own = Some((der.clone(), millis(parsed.validity().not_after.timestamp())));
            }
        }
        let Some((issuer_der, ended)) = own else {
            return Err(AuthorityError::Mismatch { key: key_path, certificates });
        };
        if ended <= now {
            return Err(AuthorityError::Ended { path: certificates, ended });
        }
        let issuer = Issuer::from_ca_cert_der(&issuer_der, key)?;
        Ok(Self { issuer, issuer_der, trusted })
    }

    /// What nodes trust: every certificate in `ca.crt`.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Tls`] for a certificate that can't be a trust anchor.
    pub fn roots(&self) -> Result<Arc<RootCertStore>, AuthorityError> {
        roots_of(&self.trusted)
    }

    /// The certificates in `ca.crt`.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.trusted
    }

    /// The one of them that signs.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.issuer_der
    }

    /// What its key is known by in join tokens.
    #[must_use]
    pub fn pin(&self) -> Pin {
        Pin::of(&self.issuer.key().subject_public_key_info())
    }

    /// The trusted certificates for nodes that hold no key, with this authority's word for them.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Sign`].
    pub fn bundle(&self, now: UnixMillis) -> Result<Bundle, AuthorityError> {
        let certificates: Vec<_> = self.trusted.iter().map(|der| der.to_vec()).collect();
        let proof = self.issuer.key().sign(&Bundle::message(&certificates, now))?;
        Ok(Bundle { certificates, made_at: now, proof })
    }

    /// Makes a leaf for `identity` that ends `lifetime` after `now`.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Sign`].
    pub fn mint(
        &self,
        identity: &Identity,
        lifetime: Duration,
        now: UnixMillis,
    ) -> Result<Leaf, AuthorityError> {
        let key = KeyPair::generate()?;
        let certificate = self.certify(&key, identity, lifetime, now)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Leaf::new(vec![certificate], key).signed_by(self.issuer_der.clone()))
    }

    /// Signs a joiner's request: the key is the joiner's and never leaves it, and everything else comes from
    /// `identity`, whatever the request says.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::RequestMalformed`], or [`AuthorityError::RequestForeign`] where the request asks for another
    /// role, another node or any further name.
    pub fn sign(
        &self,
        request: &[u8],
        identity: &Identity,
        lifetime: Duration,
        now: UnixMillis,
    ) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
        let request = CertificateSigningRequestDer::from(request);
        let request = CertificateSigningRequestParams::from_der(&request)
            .map_err(|_| AuthorityError::RequestMalformed)?;
        check_request(&request.params, identity)?;
        Ok(vec![self.certify(&request.public_key, identity, lifetime, now)?])
    }

    /// What the public key of a request is known by. The request's signature proves that its sender holds the key.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::RequestMalformed`].
    pub fn key_of(request: &[u8]) -> Result<[u8; 32], AuthorityError> {
        let request = CertificateSigningRequestDer::from(request);
        let request = CertificateSigningRequestParams::from_der(&request)
            .map_err(|_| AuthorityError::RequestMalformed)?;
        Ok(sha256(&[&request.public_key.subject_public_key_info()]))
    }

    fn certify(
        &self,
        key: &impl PublicKeyData,
        identity: &Identity,
        lifetime: Duration,
        now: UnixMillis,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(random_serial());
        params.subject_alt_names = names(identity)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = at(UnixMillis(now.0.saturating_sub(as_millis(BACKDATE))));
        params.not_after = at(now.plus(lifetime));
        Ok(params.signed_by(key, &self.issuer)?.der().clone())
    }

    /// Whether both sign with the same certificate and trust the same ones.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.issuer_der == other.issuer_der && self.trusted == other.trusted
    }
}

/// The names in a certificate of `identity`, and the only ones.
pub(super) fn names(identity: &Identity) -> Result<Vec<SanType>, AuthorityError> {
    Ok(vec![
        SanType::URI(identity.uri().try_into()?),
        SanType::DnsName(identity.dns_name().try_into()?),
    ])
}

fn random_serial() -> SerialNumber {
    let mut bytes: [u8; 16] = rand::random();
    // A serial number is positive (RFC 5280, 4.1.2.2).
    bytes[0] &= 0x7f;
    SerialNumber::from_slice(&bytes)
}

/// A certificate counts whole seconds.
fn at(time: UnixMillis) -> OffsetDateTime {
    let seconds = i64::try_from(time.0 / 1000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn as_millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
