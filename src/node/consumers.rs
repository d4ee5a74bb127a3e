//! The port of the bots in other languages.

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, sync::watch};
use tracing::info;

use super::NodeError;
use crate::agent::Board;
use crate::config::Config;
use crate::consumer::{self, Consumers, Hub, PATH, Server, TOKEN_FILE};
use crate::http::{self, Port, Source};
use crate::ipc::{Handlers, Ipc};
use crate::model::Token;
use crate::state::State;

/// The port, and who is let in.
#[derive(Debug)]
pub(super) struct BotPort {
    pub(super) address: SocketAddr,
    pub(super) server: Server,
    consumers: Consumers,
}

/// What consumers reach through this node.
pub(super) struct Reached {
    pub(super) ipc: Ipc,
    pub(super) board: Board,
    pub(super) source: Arc<dyn Source>,
    pub(super) handlers: Handlers,
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
    pub(super) fn open(
        &self,
        config: &Config,
        token: Token,
        reached: Reached,
        states: watch::Receiver<Arc<State>>,
    ) {
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
        let Reached { ipc, board, source, handlers } = reached;
        let consumers = self.consumers.clone();
        self.server.open(Hub { consumers, ipc, board, source, states, handlers, token });
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
