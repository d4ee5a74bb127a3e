//! The joiner's side of the door.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use quinn::{ClientConfig, Connection, Endpoint, VarInt, crypto::rustls::QuicClientConfig};
use rustls::pki_types::CertificateDer;
use thiserror::Error;
use tokio::time::timeout;

use super::{ANSWER_MAX, REQUEST_MAX, knocking, transport};
use crate::transport::{
    AuthorityError, Identity, Pin, Refusal, StreamError,
    frame::{FrameReader, FrameWriter},
    tls::{self, Pinned},
};

/// Why a joiner got no answer. It has sent no secret, but where it says so.
#[derive(Debug, Error)]
pub enum KnockError {
    /// Nobody answered.
    #[error("no answer")]
    Silent,
    /// Somebody answered who is no member under the authority that the token names.
    #[error("whoever is there is no member of the token's cluster ({0})")]
    Foreign(Refusal),
    /// Somebody answered who lets nobody in this way: no member, or none any more.
    #[error("it lets nobody in with a token: {0}")]
    Shut(String),
    /// There is no port to ask from, or TLS can't be set up.
    #[error("can't ask: {0}")]
    Unable(String),
    /// The member was asked, and no answer came.
    #[error("it was asked, and did not answer: {0}")]
    Unanswered(StreamError),
}

impl From<AuthorityError> for KnockError {
    fn from(error: AuthorityError) -> Self {
        Self::Unable(error.to_string())
    }
}

/// A connection to a member that has proven to be one. Nothing has been sent to it.
#[derive(Debug)]
pub struct Doorstep {
    connection: Connection,
    member: Identity,
    authority: CertificateDer<'static>,
    /// Its port is this connection's alone.
    _endpoint: Endpoint,
}

impl Doorstep {
    /// Goes to whoever is at `address`, if that is a member under the authority whose key is `pin`'s.
    ///
    /// # Errors
    ///
    /// [`KnockError`]. Nothing but a handshake has been sent.
    pub async fn at(address: SocketAddr, pin: Pin, within: Duration) -> Result<Self, KnockError> {
        let unable = |error: &dyn std::fmt::Display| KnockError::Unable(error.to_string());
        let pinned = Arc::new(Pinned::new(pin));
        let crypto =
            QuicClientConfig::try_from(pinned.client()?).map_err(|error| unable(&error))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport()));
        config.initial_dst_cid_provider(Arc::new(knocking));
        let any: SocketAddr =
            if address.is_ipv6() { ([0_u16; 8], 0).into() } else { ([0_u8; 4], 0).into() };
        let endpoint = Endpoint::client(any).map_err(|error| unable(&error))?;
        let connecting = endpoint.connect_with(config, address, tls::MEET);
        let connecting = connecting.map_err(|error| unable(&error))?;
        let connection = match timeout(within, connecting).await {
            Err(_) => return Err(KnockError::Silent),
            Ok(Err(error)) => {
                return Err(match (pinned.refused(), error) {
                    (Some(refusal), _) => KnockError::Foreign(refusal),
                    (None, quinn::ConnectionError::TimedOut) => KnockError::Silent,
                    (None, error) => KnockError::Shut(error.to_string()),
                });
            }
            Ok(Ok(connection)) => connection,
        };
        let chain = connection.peer_identity();
        let chain = chain.and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
        let chain = chain.ok_or(KnockError::Foreign(Refusal::NoCertificate))?;
        let (leaf, shown) =
            chain.split_first().ok_or(KnockError::Foreign(Refusal::NoCertificate))?;
        let member = tls::inspect(leaf).map_err(KnockError::Foreign)?.identity;
        let authority = pinned.authority(shown);
        let authority = authority.ok_or(KnockError::Foreign(Refusal::UnknownAuthority))?.clone();
        Ok(Self { connection, member, authority, _endpoint: endpoint })
    }

    /// The member, as its certificate says.
    #[must_use]
    pub const fn member(&self) -> &Identity {
        &self.member
    }

    /// The authority that the token names.
    #[must_use]
    pub const fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }

    /// Asks, once.
    ///
    /// # Errors
    ///
    /// [`KnockError::Unanswered`].
    pub async fn ask(self, request: &[u8], within: Duration) -> Result<Bytes, KnockError> {
        let asked = async {
            let opened = self.connection.open_bi().await;
            let (send, receive) = opened.map_err(|error| crate::transport::quic::ended(&error))?;
            let mut writer = FrameWriter::new(Box::new(send), None, REQUEST_MAX, 0);
            let mut reader = FrameReader::new(Box::new(receive), ANSWER_MAX);
            writer.send(request, within).await?;
            writer.finish();
            reader.next(within).await?.ok_or(StreamError::Truncated)
        };
        let answered = timeout(within, asked).await.unwrap_or(Err(StreamError::Late));
        answered.map_err(KnockError::Unanswered)
    }
}

impl Drop for Doorstep {
    fn drop(&mut self) {
        self.connection.close(VarInt::from_u32(0), b"all was said");
    }
}
