//! The member's side of the door.

use std::{fmt, net::IpAddr, sync::Arc};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use quinn::{Connection, Incoming, ServerConfig, VarInt, crypto::rustls::QuicServerConfig};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::{ANSWER_MAX, KNOCK, REQUEST, REQUEST_MAX, TALK, transport};
use crate::transport::{
    Credentials, Refusal, StartError, StreamError,
    counters::Counters,
    frame::{FrameReader, FrameWriter},
    limits::HANDSHAKE,
    tls,
};

/// Joiners that are spoken with at once.
const KNOCKS_MAX: usize = 16;

/// Answers what joiners ask.
pub trait Porter: Send + Sync + 'static {
    /// The answer to a request that came from `source`, whose address is proven and nothing else.
    fn answer(&self, source: IpAddr, request: Bytes) -> BoxFuture<'static, Bytes>;
}

/// Where joiners knock. It is shut until there is a porter.
pub(in crate::transport) struct Door {
    config: Arc<ServerConfig>,
    porter: ArcSwapOption<Box<dyn Porter>>,
    places: Arc<Semaphore>,
    talks: TaskTracker,
    handshake: std::time::Duration,
    counters: Arc<Counters>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("open", &self.porter.load().is_some()).finish_non_exhaustive()
    }
}

impl Door {
    pub(in crate::transport) fn new(
        credentials: &Arc<Credentials>,
        counters: &Arc<Counters>,
        handshake: std::time::Duration,
    ) -> Result<Self, StartError> {
        let config = QuicServerConfig::try_from(tls::accepting(credentials)?)
            .map_err(|error| StartError::Quic(error.to_string()))?;
        let mut config = ServerConfig::with_crypto(Arc::new(config));
        config.transport_config(Arc::new(transport())).migration(false);
        Ok(Self {
            config: Arc::new(config),
            porter: ArcSwapOption::empty(),
            places: Arc::new(Semaphore::new(KNOCKS_MAX)),
            talks: TaskTracker::new(),
            handshake: handshake.min(HANDSHAKE),
            counters: counters.clone(),
        })
    }

    pub(in crate::transport) fn open(&self, porter: Box<dyn Porter>) {
        self.porter.store(Some(Arc::new(porter)));
    }

    /// Whether a first packet is a joiner's, by its own word.
    pub(in crate::transport) fn is_knock(incoming: &Incoming) -> bool {
        incoming.orig_dst_cid().starts_with(KNOCK)
    }

    /// Speaks with a joiner, apart from everything else. `half_open` is its place among the unfinished handshakes.
    pub(in crate::transport) fn answer(&self, incoming: Incoming, half_open: OwnedSemaphorePermit) {
        let Some(porter) = self.porter.load_full() else { return incoming.refuse() };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.counters.refuse(Refusal::TooMany);
            return incoming.refuse();
        };
        let (config, handshake) = (self.config.clone(), self.handshake);
        self.talks.spawn(async move {
            let _place = place;
            let Ok(connecting) = incoming.accept_with(config) else { return };
            let connection = match timeout(handshake, connecting).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => return debug!(%error, "a joiner's handshake failed"),
                Err(_) => return debug!("a joiner's handshake took too long"),
            };
            drop(half_open);
            let talked = tokio::select! {
                talked = timeout(TALK, talk(&connection, porter.as_ref().as_ref())) => talked,
                _ = connection.closed() => return,
            };
            if let Ok(Err(error)) = talked {
                debug!(%error, source = %connection.remote_address(), "no talk with a joiner");
            }
            connection.close(VarInt::from_u32(0), b"all was said");
        });
    }

    /// Waits for the talks that are under way. The endpoint is closed already.
    pub(in crate::transport) async fn closed(&self) {
        self.porter.store(None);
        self.talks.close();
        self.talks.wait().await;
    }
}

async fn talk(connection: &Connection, porter: &dyn Porter) -> Result<(), StreamError> {
    let accepted = timeout(REQUEST, connection.accept_bi()).await.map_err(|_| StreamError::Late)?;
    let (send, receive) = accepted.map_err(|error| crate::transport::quic::ended(&error))?;
    // QUIC would allow another one in place of each that is over.
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(0));
    let mut reader = FrameReader::new(Box::new(receive), REQUEST_MAX);
    let mut writer = FrameWriter::new(Box::new(send), None, ANSWER_MAX, 0);
    let request = reader.next(REQUEST).await?.ok_or(StreamError::Truncated)?;
    let answer = porter.answer(connection.remote_address().ip(), request).await;
    writer.send(&answer, REQUEST).await?;
    writer.finish();
    // The joiner closes once it has read: a close of ours could overtake the answer.
    connection.closed().await;
    Ok(())
}
