//! Bots in other languages, beside nodes against the simulator.

mod client;
mod events;
mod hostile;
mod messages;
mod survive;

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use apolo::{
    Node, ShardTotal, Token,
    config::Config,
    consumer::{Consumers, Group},
    node::Options,
    simulator::{self, Simulator},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use client::{Consumer, TOKEN};

/// For whatever must come about on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);

async fn discord(shards: u32, event_rate: f64) -> Simulator {
    let options = simulator::Options {
        guilds: u64::from(shards) * 10,
        recommended_shards: ShardTotal::new(shards).expect("a valid total"),
        max_concurrency: 16,
        event_rate,
        ..simulator::Options::default()
    };
    Simulator::start(options).await.expect("the simulator starts")
}

/// A node in this process whose events wait for these groups.
struct Beside {
    node: Node,
    address: SocketAddr,
    directory: TempDir,
}

impl Beside {
    async fn start(discord: &Simulator, wait_for: &[&str]) -> Self {
        let directory = TempDir::new().expect("a directory");
        let mut config = Config::default();
        config.data_dir = directory.path().join("data");
        config.http_addr = ([127, 0, 0, 1], 0).into();
        config.quic_addr = ([127, 0, 0, 1], 0).into();
        config.bot_addr = Some(([127, 0, 0, 1], 0).into());
        config.bot_token = Token::parse(TOKEN);
        config.discord_api = discord.api_url().parse().expect("a URL");
        config.token = Token::parse("any");
        Self::start_with(config, wait_for, directory).await
    }

    async fn start_with(config: Config, wait_for: &[&str], directory: TempDir) -> Self {
        let groups: BTreeSet<_> =
            wait_for.iter().map(|name| Group::new(name).expect("a name")).collect();
        let consumers = Consumers::new(groups);
        let options = Options {
            consumers: Some(consumers.clone()),
            ..Options::new(config, Arc::new(consumers))
        };
        let node = timeout(DEADLINE, Node::start(options)).await.expect("in time");
        let node = node.expect("it starts");
        let address = node.bot_addr().expect("it listens");
        Self { node, address, directory }
    }

    /// Waits until every shard is connected.
    async fn whole(&self, shards: u32) {
        let ready = || self.node.system_health().map_or(0, |health| health.ready_shards);
        until("every shard connected", || ready() == shards).await;
    }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waited = async {
        while !done() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, waited).await.unwrap_or_else(|_| panic!("never came: {what}"));
}

fn ack(event: &Value) -> Value {
    json!({ "type": "ack", "delivery": event["delivery"] })
}

fn is_event(told: &Value) -> bool {
    told["type"] == "event"
}
