//! The checks of a peer's certificate, the same in both directions: the chain first, then whose it is.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::verify_tls13_signature,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use crate::transport::counters::Counters;

use super::{Credentials, Identity, MEET, Refusal, Role, credentials::provider, inspect};

/// Checks peers' certificates with the roots of the moment, and counts what it refuses.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) credentials: Arc<Credentials>,
    pub(super) counters: Arc<Counters>,
}

impl Verifier {
    fn refuse(&self, refusal: Refusal) -> Error {
        self.counters.refuse(refusal);
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
    }

    fn check_client(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let current = self.credentials.current();
        let verified = current.chains.verify_client_cert(leaf, rest, now);
        verified.map_err(|error| Refusal::of(&error))?;
        admit(self.credentials.identity(), &inspect(leaf)?.identity)
    }

    fn check_server(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let refusal = |error: Error| Refusal::of(&error);
        let parsed = ParsedCertificate::try_from(leaf).map_err(refusal)?;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.credentials.current().roots,
            rest,
            now,
            provider().signature_verification_algorithms.all,
        )
        .map_err(refusal)?;
        let found = inspect(leaf)?.identity;
        admit(self.credentials.identity(), &found)?;
        if name.to_str() == MEET {
            return Ok(());
        }
        verify_server_name(&parsed, name).map_err(refusal)?;
        if name.to_str() == found.dns_name() { Ok(()) } else { Err(Refusal::OtherNode) }
    }
}

/// Whether a peer may be spoken with at all; what it may ask for then is [`allowed`](crate::transport::allowed)'s.
///
/// Members of two clusters never meet, even under one authority. A joiner meets members and other joiners.
pub(in crate::transport) fn admit(own: &Identity, peer: &Identity) -> Result<(), Refusal> {
    match (own.role, peer.role) {
        (Role::Server, Role::Server) if own.cluster != peer.cluster => Err(Refusal::OtherCluster),
        (Role::Server, Role::Server | Role::Joiner)
        | (Role::Joiner, Role::Server | Role::Joiner) => Ok(()),
    }
}

/// TLS 1.3 is the only version: a 1.2 signature has no business here.
fn no_tls12() -> Error {
    Error::General("TLS 1.2 is not spoken here".to_owned())
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check_client(end_entity, intermediates, now)
            .map(|()| ClientCertVerified::assertion())
            .map_err(|refusal| self.refuse(refusal))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
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

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check_server(end_entity, intermediates, server_name, now)
            .map(|()| ServerCertVerified::assertion())
            .map_err(|refusal| self.refuse(refusal))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
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
