//! A QUIC client that keeps none of our rules.

use std::{net::SocketAddr, sync::Arc};

use apolo::{
    model::{BootEpoch, ClusterId, NodeId},
    transport::Identity,
};
use quinn::{ClientConfig, Connection, Endpoint, crypto::rustls::QuicClientConfig};
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType,
};
use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
};

use super::anywhere;

/// A certificate and its key.
pub(crate) type Pair = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// A certificate with `names`, changed by `change`, and signed by the authority in `path`.
pub(crate) fn forge(
    path: &std::path::Path,
    names: Vec<SanType>,
    change: impl FnOnce(&mut CertificateParams),
) -> Pair {
    let read = |name: &str| std::fs::read_to_string(path.join(name)).expect("the file is there");
    let issuer = KeyPair::from_pem(&read("ca.key")).expect("a key");
    let issuer = Issuer::from_ca_cert_pem(&read("ca.crt"), issuer).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = params(names, change);
    let certificate = params.signed_by(&key, &issuer).expect("signed").der().clone();
    (certificate, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
}

pub(crate) fn self_signed(names: Vec<SanType>) -> Pair {
    let key = KeyPair::generate().expect("a key");
    let certificate = params(names, |_| {}).self_signed(&key).expect("signed").der().clone();
    (certificate, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
}

fn params(names: Vec<SanType>, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names;
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    params
}

pub(crate) fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().expect("ASCII"))
}

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("ASCII"))
}

pub(crate) fn names(identity: &Identity) -> Vec<SanType> {
    vec![uri(&identity.uri()), dns(&identity.dns_name())]
}

/// An endpoint that shows `pair`, or nothing, and trusts everyone.
pub(crate) fn client(pair: Option<Pair>, alpn: &[u8]) -> Endpoint {
    let mut endpoint = Endpoint::client(anywhere()).expect("a port");
    endpoint.set_default_client_config(config(pair, alpn));
    endpoint
}

/// What such an endpoint dials with.
pub(crate) fn config(pair: Option<Pair>, alpn: &[u8]) -> ClientConfig {
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous));
    let mut config = match pair {
        Some((certificate, key)) => {
            builder.with_client_auth_cert(vec![certificate], key).expect("a pair")
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).expect("QUIC")))
}

/// What becomes of a connection: TLS 1.3 lets the client think that it is connected before the server has looked at
/// its certificate.
pub(crate) async fn fate(endpoint: &Endpoint, to: SocketAddr) -> quinn::ConnectionError {
    match endpoint.connect(to, "meet.apolo").expect("a name").await {
        Ok(connection) => {
            let opened = connection.open_bi().await;
            if let Ok((mut send, _receive)) = opened {
                let _ = send.write_all(&[1, 0, 0, 0, 1, 9]).await;
                return connection.closed().await;
            }
            connection.closed().await
        }
        Err(error) => error,
    }
}

/// A hello with `node` in it, as the wire has it.
pub(crate) fn hello(cluster: ClusterId, node: NodeId, boot: BootEpoch, purpose: u8) -> Vec<u8> {
    let body = (
        *b"apol",
        (1_u16, 1_u16),
        (cluster, node, boot),
        purpose,
        1_u64,
        (0_u64, 0_u64, 0_u64, 0_u64),
        "raw",
    );
    let body = postcard::to_stdvec(&body).expect("it fits");
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(body.len()).expect("short").to_be_bytes());
    frame.extend_from_slice(&body);
    frame
}

/// Connects as `identity` would and says hello.
pub(crate) async fn greeted(
    endpoint: &Endpoint,
    to: SocketAddr,
    hello: &[u8],
) -> Result<Connection, quinn::ConnectionError> {
    let connection = endpoint.connect(to, "meet.apolo").expect("a name").await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(hello).await.expect("the hello leaves");
    let _ = send.finish();
    match receive.read_to_end(4096).await {
        Ok(_) => Ok(connection),
        Err(_) => Err(connection.closed().await),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("no TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
