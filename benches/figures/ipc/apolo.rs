//! A whole node in the child process, its shards, and what they say to each other.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use apolo::{
    Node, NodeId, ShardId, ShardTotal, Token,
    bot::ClosureBot,
    config::Config,
    ipc::{Answers, Call, Ipc, Receiver, Target},
    node::Options,
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, interval_at, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    load::{Load, Requester, Took},
    stamps::{Sight, Stamps, monotonic},
};
use crate::Failure;

const ECHO: &str = "echo";
const NODE: &str = "node";
const STAMP: &str = "stamp";

/// A shard that has just become ready may be on its way to another node.
const LEARN_WITHIN: Duration = Duration::from_secs(30);

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A shard that comes to the node that asks is asked without a network: such a turn does not count. On a machine so busy
/// that this happens again and again nothing is to be measured.
const TURNS_MAX: usize = 5;

/// Which shards are asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Spread {
    All,
    One,
}

/// A node's place in its cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) data: PathBuf,
    pub(super) authority: PathBuf,
    pub(super) discord: String,
    pub(super) http: SocketAddr,
    pub(super) quic: SocketAddr,
    pub(super) peers: Vec<SocketAddr>,
    pub(super) shards: u32,
}

/// A node that runs until its process ends.
pub(super) struct Member {
    id: NodeId,
    ipc: Ipc,
    /// Requests that have been answered here.
    echoes: Arc<AtomicU64>,
    stamps: Stamps,
}

impl Member {
    pub(super) async fn start(place: &Place) -> Result<Self, Failure> {
        let mut config = Config::default();
        config.name.clone_from(&place.name);
        config.data_dir.clone_from(&place.data);
        config.http_addr = place.http;
        config.quic_addr = place.quic;
        config.peers = place.peers.iter().map(ToString::to_string).collect();
        config.expect = place.peers.len();
        config.ca_dir = Some(place.authority.clone());
        config.discord_api = place.discord.parse()?;
        config.token = Token::parse("a.benchmark.token");
        config.total_shards = Some(ShardTotal::new(place.shards)?);
        let node = Node::start(Options::new(config, Arc::new(ClosureBot::default()))).await?;
        let (id, ipc) = (node.id(), node.ipc().clone());
        let stamps = Stamps::default();
        let echoes = Arc::new(AtomicU64::new(0));
        let echoed = Arc::clone(&echoes);
        ipc.register_handler(ECHO, move |_: Call, data: String| {
            echoed.fetch_add(1, Relaxed);
            async move { Ok(data) }
        });
        ipc.register_handler(NODE, move |_: Call, (): ()| async move { Ok(id) });
        let stamped = stamps.clone();
        ipc.register_handler(STAMP, move |call: Call, broadcast: u32| {
            stamped.stamp(&call, broadcast);
            async { Ok(()) }
        });
        tokio::spawn(async move {
            let ended = node.run(CancellationToken::new()).await;
            tracing::error!(?ended, "the node has ended");
            // Whoever asks next is told, and shown the log.
            process::exit(1);
        });
        Ok(Self { id, ipc, echoes, stamps })
    }

    /// Asks shards of other nodes: all of them by turns, or one.
    pub(super) async fn load(&self, load: Load, of: Spread) -> Result<Took, Failure> {
        for _ in 0..TURNS_MAX {
            let mut shards = self.others().await?;
            if of == Spread::One {
                shards.shards = shards.shards.iter().copied().take(1).collect();
            }
            let before = self.echoes.load(Relaxed);
            let took = load.run(shards).await?;
            if self.echoes.load(Relaxed) == before {
                return Ok(took);
            }
            tracing::warn!("a shard came to this node during the turn, which is repeated");
        }
        Err("shards do not stay where they are".into())
    }

    /// The way to shards of other nodes.
    async fn others(&self) -> Result<Shards, Failure> {
        let deadline = Instant::now() + LEARN_WITHIN;
        loop {
            let all: Answers<NodeId> = self.ipc.broadcast_request(NODE, &()).await?;
            let others = all.answers.into_iter().filter(|(_, node)| *node != self.id);
            let others = others.filter_map(|(receiver, _)| match receiver {
                Receiver::Shard(shard) => Some(shard),
                Receiver::Node(_) => None,
            });
            let shards: Arc<[ShardId]> = others.collect();
            if all.failed.is_empty() && !shards.is_empty() {
                return Ok(Shards { ipc: self.ipc.clone(), shards });
            }
            if Instant::now() >= deadline {
                return Err(format!("no shard is elsewhere, or: {:?}", all.failed).into());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Broadcasts these, one after the other, whatever becomes of them. When each of them began.
    pub(super) async fn broadcast(
        &self,
        first: u32,
        count: u32,
        every: Duration,
    ) -> Result<BTreeMap<u32, u64>, Failure> {
        let mut ticks = interval_at(Instant::now() + every, every);
        let mut began = BTreeMap::new();
        for broadcast in first..first + count {
            ticks.tick().await;
            began.insert(broadcast, monotonic());
            self.ipc.broadcast(STAMP, &broadcast)?;
        }
        Ok(began)
    }

    pub(super) fn seen(&self) -> Sight {
        self.stamps.sight()
    }
}

/// Shards of other nodes.
#[derive(Clone)]
struct Shards {
    ipc: Ipc,
    shards: Arc<[ShardId]>,
}

impl Requester for Shards {
    async fn request(&self, nth: usize, data: &str) -> Result<String, Failure> {
        let target = Target::Shard(self.shards[nth % self.shards.len()]);
        Ok(self.ipc.request(target, ECHO, &data).await?)
    }
}
