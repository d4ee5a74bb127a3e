//! The port of the bots in other languages.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tracing::info;

use super::NodeError;
use crate::config::Config;
use crate::consumer::{self, Consumers, Hub, PATH, Server, TOKEN_FILE};
use crate::http::{self, Port};
use crate::model::Token;

/// The port, and who is let in.
#[derive(Debug)]
pub(super) struct BotPort {
    pub(super) address: SocketAddr,
    pub(super) server: Server,
    pub(super) consumers: Consumers,
}

/// What is shown of it.
#[derive(Clone, Debug)]
pub(super) struct ShownPort {
    address: SocketAddr,
    consumers: Consumers,
}

/// Listens, if there is anybody to listen for.
pub(super) async fn listen(
    consumers: Option<Consumers>,
    bound: Option<TcpListener>,
    config: &Config,
) -> Result<Option<BotPort>, NodeError> {
    let Some((consumers, address)) = consumers.zip(config.bot_addr) else { return Ok(None) };
    let listener = match bound {
        Some(listener) => listener,
        None => http::bind(Port::Bot, address).await?,
    };
    let address = listener.local_addr().map_err(NodeError::Socket)?;
    Ok(Some(BotPort { address, server: Server::start(listener), consumers }))
}

/// What consumers show. The directory is this node's by now.
pub(super) fn token(config: &Config) -> Result<Token, NodeError> {
    match &config.bot_token {
        Some(token) => Ok(token.clone()),
        None => Ok(consumer::token(&config.data_dir)?),
    }
}

impl BotPort {
    /// Lets consumers in.
    pub(super) fn open(&self, config: &Config, hub: Hub) {
        let shown = match &config.bot_token {
            Some(_) => "APOLO_BOT_TOKEN".to_owned(),
            None => config.data_dir.join(TOKEN_FILE).display().to_string(),
        };
        let waits_for = config.wait_for.join(", ");
        info!(
            url = self.shown().url(),
            token = shown,
            waits_for,
            "bots in any language connect here"
        );
        self.server.open(hub);
    }

    pub(super) fn shown(&self) -> ShownPort {
        ShownPort { address: self.address, consumers: self.consumers.clone() }
    }
}

impl ShownPort {
    fn url(&self) -> String {
        format!("ws://{}{PATH}", self.address)
    }

    /// Sets the gauges to how things are.
    pub(super) fn publish(&self) {
        self.consumers.publish();
    }

    pub(super) fn view(&self) -> http::Consumers {
        http::Consumers { url: self.url(), groups: self.consumers.groups() }
    }
}
