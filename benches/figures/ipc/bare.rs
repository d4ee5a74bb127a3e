//! Requests over bare quinn: mutual TLS, a stream for each request, a length and that many bytes each way. What lies
//! between this and apolo is apolo's own.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, RecvStream, SendStream, ServerConfig,
    TokioRuntime, TransportConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::{
    RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use super::load::Requester;
use crate::Failure;

const NAME: &str = "localhost";

/// As many streams as the largest number of requests at once.
const STREAMS_MAX: u32 = 1_024;

/// The buffers that apolo's socket asks for: with the usual ones a burst is lost on loopback, and that would be
/// compared.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// While the other contenders have their turn.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// The largest message that is read.
const FRAME_MAX: usize = 64 * 1024;

/// Who both sides are, and where one of them listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    address: SocketAddr,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Place {
    pub(super) fn new(address: SocketAddr) -> Result<Self, Failure> {
        let own = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let key = own.signing_key.serialize_der();
        Ok(Self { address, certificate: own.cert.der().to_vec(), key })
    }

    /// Answers whatever is asked.
    pub(super) fn answer(&self) -> Result<(), Failure> {
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::new(self.roots()?),
            Arc::new(ring::default_provider()),
        );
        let (chain, key) = self.own();
        let tls = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier.build()?)
            .with_single_cert(chain, key)?;
        let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
        server.transport_config(transport());
        let endpoint = endpoint(self.address, Some(server))?;
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                if let Ok(connection) = incoming.await {
                    tokio::spawn(serve(connection));
                }
            }
        });
        Ok(())
    }

    pub(super) async fn connect(&self) -> Result<Bare, Failure> {
        let (chain, key) = self.own();
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(chain, key)?;
        let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        client.transport_config(transport());
        let endpoint = endpoint(SocketAddr::from(([127, 0, 0, 1], 0)), None)?;
        Ok(Bare(endpoint.connect_with(client, self.address, NAME)?.await?))
    }

    fn own(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = PrivatePkcs8KeyDer::from(self.key.clone());
        (vec![self.certificate.clone().into()], key.into())
    }

    fn roots(&self) -> Result<RootCertStore, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone().into())?;
        Ok(roots)
    }
}

fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(STREAMS_MAX.into()).keep_alive_interval(Some(KEEP_ALIVE));
    Arc::new(transport)
}

fn endpoint(address: SocketAddr, server: Option<ServerConfig>) -> Result<Endpoint, Failure> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // A kernel that grants less grants apolo no more.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    Ok(Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime))?)
}

async fn serve(connection: Connection) {
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        tokio::spawn(async move {
            let echoed = async { write(&mut send, &read(&mut receive).await?).await };
            if let Err(error) = echoed.await {
                tracing::error!(%error, "a request over quinn was not answered");
            }
        });
    }
}

async fn write(send: &mut SendStream, data: &[u8]) -> Result<(), Failure> {
    let length = u32::try_from(data.len())?.to_be_bytes();
    send.write_all(&[&length, data].concat()).await?;
    Ok(send.finish()?)
}

async fn read(receive: &mut RecvStream) -> Result<Vec<u8>, Failure> {
    let frame = receive.read_to_end(FRAME_MAX).await?;
    let (length, data) = frame.split_first_chunk().ok_or("no length")?;
    let whole = u32::from_be_bytes(*length) as usize == data.len();
    if whole { Ok(data.to_vec()) } else { Err("a part of a message".into()) }
}

/// A connection that asks.
#[derive(Clone)]
pub(super) struct Bare(Connection);

impl Requester for Bare {
    async fn request(&self, _: usize, data: &str) -> Result<String, Failure> {
        let (mut send, mut receive) = self.0.open_bi().await?;
        write(&mut send, data.as_bytes()).await?;
        Ok(String::from_utf8(read(&mut receive).await?)?)
    }
}
