//! Requests over NATS, with its own request and reply. The data is JSON, as a handler's is with apolo.

use std::net::SocketAddr;

use async_nats::{Client, Message};
use futures_util::StreamExt as _;

use super::load::Requester;
use crate::Failure;

/// The subject that the answering process serves.
const SUBJECT: &str = "ipc.echo";

/// A connection that asks.
#[derive(Clone)]
pub(super) struct Nats(Client);

impl Nats {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        Ok(Self(async_nats::connect(address.to_string()).await?))
    }

    /// Answers whatever is asked.
    pub(super) async fn answer(&self) -> Result<(), Failure> {
        let mut asked = self.0.subscribe(SUBJECT).await?;
        // The server knows of it before anybody asks.
        self.0.flush().await?;
        let client = self.0.clone();
        tokio::spawn(async move {
            while let Some(message) = asked.next().await {
                let client = client.clone();
                // A handler takes as long as it likes.
                tokio::spawn(async move {
                    if let Err(error) = echo(&client, message).await {
                        tracing::error!(%error, "a request of NATS was not answered");
                    }
                });
            }
        });
        Ok(())
    }
}

async fn echo(client: &Client, message: Message) -> Result<(), Failure> {
    let data: String = serde_json::from_slice(&message.payload)?;
    let reply = message.reply.ok_or("nobody waits for an answer")?;
    Ok(client.publish(reply, serde_json::to_vec(&data)?.into()).await?)
}

impl Requester for Nats {
    async fn request(&self, _: usize, data: &str) -> Result<String, Failure> {
        let answer = self.0.request(SUBJECT, serde_json::to_vec(data)?.into()).await?;
        Ok(serde_json::from_slice(&answer.payload)?)
    }
}
