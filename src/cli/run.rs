//! `apolo run`.

use std::{io, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{Failure, configure::configure};
use crate::config::{Config, NodeFlags};
use crate::consumer::{Consumers, Group};
use crate::node::{Node, NodeError, Options, shutdown_requested};
use crate::telemetry;

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Go through with a change of --total-shards or --intents, although it drops every session and spends identifies
    #[arg(long)]
    reshard: bool,
    #[command(flatten)]
    flags: NodeFlags,
}

const EXAMPLES: &str = "\
Examples:
  DISCORD_TOKEN=… apolo run                         against Discord, with ./apolo-data
  DISCORD_TOKEN_FILE=/run/secrets/token apolo run --data-dir /var/lib/apolo
  DISCORD_TOKEN=any apolo run --discord-api http://127.0.0.1:9900/api/v10   against `apolo simulate`
  apolo run --total-shards 32 --reshard             change the number of shards; says first what it costs

SIGTERM and SIGINT end it in good order within 30 s; the next start resumes every session.";

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    node(configure(arguments.flags)?, arguments.reshard).await
}

/// Runs a node whose handlers are consumers until it is told to stop.
pub(super) async fn node(config: Config, reshard: bool) -> Result<(), Failure> {
    config.require_token()?;
    telemetry::start_logs(&config, io::stderr)
        .map_err(|error| Failure::failed(error.to_string()))?;
    let metrics =
        telemetry::Metrics::start().map_err(|error| Failure::failed(error.to_string()))?;
    let consumers = consumers(&config);
    let options = Options {
        consumers: Some(consumers.clone()),
        metrics: Some(metrics),
        reshard,
        ..Options::new(config, Arc::new(consumers))
    };
    let stop = CancellationToken::new();
    tokio::spawn(shutdown_requested(stop.clone()));
    let node = tokio::select! {
        node = Node::start(options) => node?,
        () = stop.cancelled() => return Ok(()),
    };
    tracing::info!(http = %node.http_addr(), "serving /health, /ready, /metrics and /api/v1");
    node.run(stop).await?;
    tracing::info!("every session can be resumed");
    Ok(())
}

/// Nobody is waited for where nobody can connect.
pub(super) fn consumers(config: &Config) -> Consumers {
    let required = config.bot_addr.map(|_| config.wait_for.iter()).into_iter().flatten();
    Consumers::new(required.filter_map(|name| Group::new(name).ok()).collect())
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Config(error) => error.into(),
            NodeError::Http(error) => Self::failed(error.to_string()).help(error.advice()),
            error if error.is_usage() => Self::usage(error.to_string()),
            error => Self::failed(error.to_string()),
        }
    }
}
