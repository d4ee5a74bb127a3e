//! TLS where a joiner has no certificate yet: it knows the authority's key by a token, and shows nothing of itself.

use std::sync::{Arc, OnceLock};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, ServerConfig,
    SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::verify_tls13_signature,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
    version::TLS13,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{
    AuthorityError, Credentials, Pin, Refusal, Role, bundle::roots_of, credentials::provider,
    inspect,
};

/// The protocol's name in the handshake. No connection that speaks it ever speaks `apolo/1`, nor the other way round.
const ALPN: &[u8] = b"apolo-join/1";

/// The accepting side: whoever knocks is asked for no certificate, and gets nothing else for it.
pub(in crate::transport) fn accepting(
    credentials: &Arc<Credentials>,
) -> Result<ServerConfig, AuthorityError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shown(credentials.clone())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// The leaf of the moment with its authority, by whose key the joiner knows it.
#[derive(Debug)]
struct Shown(Arc<Credentials>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.current().door.clone()
    }
}

/// The joiner's check: a chain that ends in the authority with this key, and a member's leaf at its other end.
#[derive(Debug)]
pub(in crate::transport) struct Pinned {
    pin: Pin,
    refused: OnceLock<Refusal>,
}

impl Pinned {
    pub(in crate::transport) const fn new(pin: Pin) -> Self {
        Self { pin, refused: OnceLock::new() }
    }

    /// What was wrong with whoever answered.
    pub(in crate::transport) fn refused(&self) -> Option<Refusal> {
        self.refused.get().copied()
    }

    /// The dialling side.
    pub(in crate::transport) fn client(self: &Arc<Self>) -> Result<ClientConfig, AuthorityError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(self.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        Ok(config)
    }

    /// The authority among `shown` whose key is the pinned one.
    pub(in crate::transport) fn authority<'a, 'b>(
        &self,
        shown: &'a [CertificateDer<'b>],
    ) -> Option<&'a CertificateDer<'b>> {
        shown.iter().find(|der| {
            X509Certificate::from_der(der).is_ok_and(|(_, found)| {
                found.is_ca() && Pin::of(found.public_key().raw) == self.pin
            })
        })
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        shown: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let refusal = |error: Error| Refusal::of(&error);
        let authority = self.authority(shown).ok_or(Refusal::UnknownAuthority)?;
        let roots = roots_of(&[authority.clone().into_owned()]);
        let roots = roots.map_err(|_| Refusal::UnknownAuthority)?;
        let parsed = ParsedCertificate::try_from(leaf).map_err(refusal)?;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &roots,
            &[],
            now,
            provider().signature_verification_algorithms.all,
        )
        .map_err(refusal)?;
        match inspect(leaf)?.identity.role {
            Role::Server => Ok(()),
            Role::Joiner => Err(Refusal::RoleNotAllowed),
        }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.check(end_entity, intermediates, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(refusal) => {
                let _first = self.refused.set(refusal);
                Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(
                    refusal,
                )))))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let provider = provider();
        verify_tls13_signature(message, cert, dss, &provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
