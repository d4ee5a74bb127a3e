//! QUIC: one UDP socket for everything, both to dial and to be dialled.

use std::{fmt, net::SocketAddr, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt as _};
use quinn::{
    AckFrequencyConfig, ClientConfig, Endpoint, EndpointConfig, Incoming, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    CloseCode, Credentials, Ended, Porter, Refusal, StartError, Timings,
    counters::Counters,
    door::Door,
    limits::{
        CONNECTION_WINDOW, HALF_OPEN_MAX, HALF_OPEN_RETRY, INCOMING_BYTES, INCOMING_BYTES_TOTAL,
        INCOMING_MAX, INITIAL_ROUND_TRIP, SEND_WINDOW, STREAM_WINDOW, STREAMS_MAX,
    },
    network::{Arrival, Connected, Network, Target},
    quic::{QuicConnection, ended},
    socket, tls,
};

/// One node's place in a network of QUIC.
pub(super) struct QuicNetwork {
    endpoint: Endpoint,
    address: SocketAddr,
    client: ClientConfig,
    credentials: Arc<Credentials>,
    counters: Arc<Counters>,
    half_open: Arc<Semaphore>,
    door: Door,
}

impl fmt::Debug for QuicNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicNetwork").field("address", &self.address).finish_non_exhaustive()
    }
}

impl QuicNetwork {
    pub(super) fn start(
        address: SocketAddr,
        credentials: &Arc<Credentials>,
        counters: &Arc<Counters>,
        timings: &Timings,
        segmentation_offload: bool,
    ) -> Result<Self, StartError> {
        let unusable = |error: &dyn fmt::Display| StartError::Quic(error.to_string());
        let transport = Arc::new(transport(timings, segmentation_offload)?);
        let server = QuicServerConfig::try_from(tls::server(credentials, counters)?)
            .map_err(|error| unusable(&error))?;
        let mut server = ServerConfig::with_crypto(Arc::new(server));
        server
            .transport_config(transport.clone())
            // Nodes do not roam: a new address is a new connection.
            .migration(false)
            .max_incoming(INCOMING_MAX)
            .incoming_buffer_size(INCOMING_BYTES)
            .incoming_buffer_size_total(INCOMING_BYTES_TOTAL);
        let client = QuicClientConfig::try_from(tls::client(credentials, counters)?)
            .map_err(|error| unusable(&error))?;
        let mut client = ClientConfig::new(Arc::new(client));
        client.transport_config(transport);
        let bound = |reason| StartError::Bind { address, reason };
        let socket = socket::bind(address).map_err(bound)?;
        let address = socket.local_addr().map_err(bound)?;
        let endpoint =
            Endpoint::new(EndpointConfig::default(), Some(server), socket, Arc::new(TokioRuntime))
                .map_err(bound)?;
        Ok(Self {
            door: Door::new(credentials, counters, timings.handshake)?,
            endpoint,
            address,
            client,
            credentials: credentials.clone(),
            counters: counters.clone(),
            half_open: Arc::new(Semaphore::new(HALF_OPEN_MAX)),
        })
    }

    /// What becomes of a first packet: a place among the unfinished handshakes, a request to prove the address, or
    /// nothing.
    fn place(&self, incoming: Incoming) -> Option<(Incoming, OwnedSemaphorePermit)> {
        if self.half_open() >= HALF_OPEN_RETRY
            && incoming.may_retry()
            && !incoming.remote_address_validated()
        {
            self.counters.retry();
            // It can't fail: the address was asked for no proof yet.
            let _ = incoming.retry();
            return None;
        }
        match self.half_open.clone().try_acquire_owned() {
            Ok(place) => Some((incoming, place)),
            Err(_) => {
                self.counters.refuse(Refusal::TooMany);
                incoming.ignore();
                None
            }
        }
    }
}

fn transport(timings: &Timings, segmentation_offload: bool) -> Result<TransportConfig, StartError> {
    let idle = timings.idle.try_into();
    let idle = idle.map_err(|_| StartError::Quic("the idle timeout is too long".to_owned()))?;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(timings.keep_alive))
        .initial_rtt(INITIAL_ROUND_TRIP)
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        // Nothing of ours uses them, so nobody else may.
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .ack_frequency_config(None::<AckFrequencyConfig>)
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(SEND_WINDOW)
        .enable_segmentation_offload(segmentation_offload);
    Ok(transport)
}

impl Network for QuicNetwork {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn connect(&self, address: SocketAddr, target: Target) -> BoxFuture<'static, Connected> {
        let name = match target {
            Target::Node(node) => tls::name_of(self.credentials.identity().cluster, node),
            Target::Anyone => tls::MEET.to_owned(),
        };
        let connecting = self.endpoint.connect_with(self.client.clone(), address, &name);
        async move {
            let connecting =
                connecting.map_err(|error| Ended::Failed { reason: error.to_string() })?;
            QuicConnection::take(connecting.await.map_err(|error| ended(&error))?)
        }
        .boxed()
    }

    fn accept(&self) -> BoxFuture<'_, Option<Arrival>> {
        async move {
            loop {
                let incoming = self.endpoint.accept().await?;
                let Some((incoming, place)) = self.place(incoming) else { continue };
                if Door::is_knock(&incoming) {
                    self.door.answer(incoming, place);
                    continue;
                }
                let counters = self.counters.clone();
                let handshake = async move {
                    let connection = incoming.await.map_err(|error| {
                        if let Some(refusal) = refusal(&error) {
                            counters.refuse(refusal);
                        }
                        ended(&error)
                    })?;
                    QuicConnection::take(connection)
                };
                return Some(Arrival { handshake: handshake.boxed(), place });
            }
        }
        .boxed()
    }

    fn half_open(&self) -> usize {
        HALF_OPEN_MAX - self.half_open.available_permits()
    }

    fn open_door(&self, porter: Box<dyn Porter>) {
        self.door.open(porter);
    }

    fn close(&self, reason: &'static str) -> BoxFuture<'_, ()> {
        async move {
            self.endpoint.close(VarInt::from_u32(CloseCode::Stopping as u32), reason.as_bytes());
            self.door.closed().await;
            self.endpoint.wait_idle().await;
        }
        .boxed()
    }
}

/// Why a handshake failed on our side, where the certificate's check has not counted it already.
fn refusal(error: &quinn::ConnectionError) -> Option<Refusal> {
    /// TLS alerts (RFC 8446, 6) from `bad_certificate` to `certificate_unknown`, and `unknown_ca`.
    const CERTIFICATE: std::ops::RangeInclusive<u64> = 42..=48;
    const CERTIFICATE_REQUIRED: u64 = 116;
    const NO_APPLICATION_PROTOCOL: u64 = 120;
    /// QUIC carries an alert as an error of 0x100 and its number (RFC 9001, 4.8).
    const CRYPTO: u64 = 0x100;
    let quinn::ConnectionError::TransportError(error) = error else { return None };
    match u64::from(error.code).checked_sub(CRYPTO) {
        Some(CERTIFICATE_REQUIRED) => Some(Refusal::NoCertificate),
        Some(NO_APPLICATION_PROTOCOL) => Some(Refusal::OtherProtocol),
        Some(alert) if CERTIFICATE.contains(&alert) => None,
        _ => Some(Refusal::Handshake),
    }
}
