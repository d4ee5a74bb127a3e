//! Requests over Redis, as the seed had them: a message is published to the channel of the shard that it is for, and the
//! answer to the channel of the shard that has asked, where its id finds whoever waits.
//!
//! It is spared what the seed does besides: it remembers no ids, and sends nothing again.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use apolo::UnixMillis;
use futures_util::StreamExt as _;
use redis::{
    AsyncCommands as _, AsyncConnectionConfig, Client, IntoConnectionInfo as _,
    aio::MultiplexedConnection, io::tcp::TcpSettings,
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::load::Requester;
use crate::Failure;

/// The driver's half second would end a run of a thousand at once.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(10);

/// The seed's message.
#[derive(Debug, Serialize, Deserialize)]
struct Message {
    id: Uuid,
    #[serde(rename = "type")]
    kind: Kind,
    event: String,
    sender: u32,
    receiver: u32,
    data: String,
    timestamp: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Request,
    Response,
}

/// A shard's way to the others.
#[derive(Clone)]
pub(super) struct Redis {
    shard: u32,
    publisher: MultiplexedConnection,
    waiting: Arc<Mutex<BTreeMap<Uuid, oneshot::Sender<String>>>>,
}

impl Redis {
    /// Connects a shard, which answers whatever it is asked.
    pub(super) async fn connect(address: SocketAddr, shard: u32) -> Result<Self, Failure> {
        // As the seed's client does; without it a request takes 40 ms.
        let settings = TcpSettings::default().set_nodelay(true);
        let info = format!("redis://{address}").into_connection_info()?;
        let client = Client::open(info.set_tcp_settings(settings))?;
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(PUBLISHED_WITHIN));
        let publisher = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut subscriber = client.get_async_pubsub().await?;
        subscriber.subscribe(channel(shard)).await?;
        let own = Self { shard, publisher, waiting: Arc::default() };
        let hearing = own.clone();
        tokio::spawn(async move {
            let mut messages = subscriber.into_on_message();
            while let Some(message) = messages.next().await {
                if let Err(error) = hearing.hear(message.get_payload_bytes()) {
                    tracing::error!(%error, "a message of Redis can't be read");
                }
            }
        });
        Ok(own)
    }

    fn hear(&self, bytes: &[u8]) -> Result<(), serde_json::Error> {
        let message: Message = serde_json::from_slice(bytes)?;
        if message.kind == Kind::Response {
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(asked) = { waiting }.remove(&message.id) {
                // Whoever gave up does not want it.
                let _ = asked.send(message.data);
            }
            return Ok(());
        }
        let own = self.clone();
        // A handler takes as long as it likes.
        tokio::spawn(async move {
            let Message { id, event, sender, data, .. } = message;
            if let Err(error) = own.publish(Kind::Response, id, event, sender, data).await {
                tracing::error!(%error, "an answer was not published");
            }
        });
        Ok(())
    }

    async fn publish(
        &self,
        kind: Kind,
        id: Uuid,
        event: String,
        receiver: u32,
        data: String,
    ) -> Result<(), Failure> {
        let timestamp = UnixMillis::now().0;
        let message = Message { id, kind, event, sender: self.shard, receiver, data, timestamp };
        let message = serde_json::to_vec(&message)?;
        let heard: usize = self.publisher.clone().publish(channel(receiver), message).await?;
        if heard == 1 { Ok(()) } else { Err(format!("{heard} heard a message").into()) }
    }
}

/// Asks the shard after this one.
impl Requester for Redis {
    async fn request(&self, _: usize, data: &str) -> Result<String, Failure> {
        let id = Uuid::new_v4();
        let (told, answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, told);
        let receiver = self.shard + 1;
        self.publish(Kind::Request, id, "echo".to_owned(), receiver, data.to_owned()).await?;
        Ok(answer.await?)
    }
}

fn channel(shard: u32) -> String {
    format!("ipc:{shard}")
}
