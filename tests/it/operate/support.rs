//! Some whole nodes in this process, one simulator, and the commands as they are typed.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::PathBuf,
    process::{Command, Output},
    sync::{Arc, Mutex},
    time::Duration,
};

use apolo::{
    Node, NodeError, NodeId, ShardTotal, Token,
    bot::ClosureBot,
    config::Config,
    http::{Role, View},
    ipc::Ipc,
    kv::Kv,
    model::UnixMillis,
    node::Options,
    simulator::{self, Simulator},
    transport::Authority,
};
use futures_util::future::join_all;
use rand::random_range;
use tempfile::TempDir;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// For whatever must come about on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// Below what the system hands out by itself, so that a node that starts again finds its own free.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

pub(crate) struct Cluster {
    pub(crate) discord: Simulator,
    _directory: TempDir,
    pub(crate) places: Vec<Place>,
    shards: u32,
}

/// A node's command line, and the node while it runs.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) config: Config,
    pub(crate) id: Option<NodeId>,
    /// Its way to the other shards.
    pub(crate) ipc: Option<Ipc>,
    /// Its way to what the bot keeps.
    pub(crate) kv: Option<Kv>,
    running: Option<Running>,
}

struct Running {
    stop: CancellationToken,
    ended: JoinHandle<Result<(), NodeError>>,
}

impl Cluster {
    /// So many nodes that have formed a cluster and connected `shards` shards.
    pub(crate) async fn of(nodes: usize, shards: u32) -> Self {
        let options = simulator::Options {
            guilds: u64::from(shards) * 10,
            recommended_shards: ShardTotal::new(shards).expect("a valid total"),
            event_rate: f64::from(shards) * 20.0,
            max_concurrency: 16,
            ..simulator::Options::default()
        };
        let discord = Simulator::start(options).await.expect("the simulator starts");
        let directory = TempDir::new().expect("a directory");
        let ca = directory.path().join("ca");
        Authority::create(&ca, UnixMillis::now()).expect("an authority");
        let addresses: Vec<_> = (0..nodes).map(|_| free_address()).collect();
        let peers: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let place = |(nth, address): (usize, &SocketAddr)| {
            let name = format!("node-{}", nth + 1);
            let mut config = Config::default();
            config.name.clone_from(&name);
            config.data_dir = directory.path().join(&name);
            config.http_addr = free_address();
            config.quic_addr = *address;
            config.peers.clone_from(&peers);
            config.expect = nodes;
            config.ca_dir = Some(ca.clone());
            config.discord_api = discord.api_url().parse().expect("a URL");
            config.token = Token::parse("any");
            Place { name, config, id: None, ipc: None, kv: None, running: None }
        };
        let places = addresses.iter().enumerate().map(place).collect();
        let mut cluster = Self { discord, _directory: directory, places, shards };
        cluster.start((0..nodes).collect()).await;
        cluster.whole(nodes).await;
        cluster
    }

    /// Starts these nodes together.
    pub(crate) async fn start(&mut self, which: Vec<usize>) {
        let starts = which.iter().map(|nth| {
            let config = self.places[*nth].config.clone();
            Node::start(Options::new(config, Arc::new(ClosureBot::default())))
        });
        let nodes = timeout(DEADLINE, join_all(starts)).await.expect("they start");
        for (nth, node) in which.into_iter().zip(nodes) {
            let node = node.expect("it starts");
            let place = &mut self.places[nth];
            place.id = Some(node.id());
            place.ipc = Some(node.ipc().clone());
            place.kv = Some(node.kv().clone());
            let stop = CancellationToken::new();
            let ended = tokio::spawn(node.run(stop.clone()));
            place.running = Some(Running { stop, ended });
        }
    }

    /// Starts a node that may be refused.
    pub(crate) async fn try_start(&self, nth: usize) -> Result<Node, NodeError> {
        let config = self.places[nth].config.clone();
        let start = Node::start(Options::new(config, Arc::new(ClosureBot::default())));
        timeout(DEADLINE, start).await.expect("there is an answer")
    }

    /// What SIGTERM does.
    pub(crate) async fn stop(&mut self, nth: usize) {
        let running = self.places[nth].running.take().expect("it runs");
        running.stop.cancel();
        self.places[nth].running = Some(running);
        self.ended(nth).await.expect("it ends in good order");
    }

    /// What SIGTERM for several at once does. How they end is [`Self::ended`]'s to tell.
    pub(crate) fn ask_to_stop(&self, which: &[usize]) {
        for nth in which {
            self.places[*nth].running.as_ref().expect("it runs").stop.cancel();
        }
    }

    /// What SIGTERM for all at once does.
    pub(crate) async fn stop_all(&mut self) -> Vec<(usize, Result<(), NodeError>)> {
        for place in &self.places {
            if let Some(running) = &place.running {
                running.stop.cancel();
            }
        }
        let mut ends = Vec::new();
        for nth in self.running() {
            ends.push((nth, self.ended(nth).await));
        }
        ends
    }

    /// How it has ended, by itself.
    pub(crate) async fn ended(&mut self, nth: usize) -> Result<(), NodeError> {
        let running = self.places[nth].running.take().expect("it runs");
        timeout(DEADLINE, running.ended).await.expect("it ends").expect("it does not panic")
    }

    /// Waits until so many nodes are there and every shard is connected.
    pub(crate) async fn whole(&self, nodes: usize) -> View {
        let shards = self.shards;
        self.sees("every shard connected", |view| {
            let present = view.nodes.iter().filter(|node| !node.lost).count();
            let ready = view.health.as_ref().map_or(0, |health| health.ready_shards);
            present == nodes && ready == shards && view.leader.is_some()
        })
        .await
    }

    /// Waits until the first node that answers sees what is wanted.
    pub(crate) async fn sees(&self, what: &str, wanted: impl Fn(&View) -> bool) -> View {
        let waited = async {
            loop {
                for nth in self.running() {
                    if let Some(view) = self.view(nth).await
                        && wanted(&view)
                    {
                        return view;
                    }
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        match timeout(DEADLINE, waited).await {
            Ok(view) => view,
            Err(_) => panic!("never came: {what}"),
        }
    }

    pub(crate) fn running(&self) -> Vec<usize> {
        let runs = |nth: &usize| self.places[*nth].running.is_some();
        (0..self.places.len()).filter(runs).collect()
    }

    pub(crate) async fn view(&self, nth: usize) -> Option<View> {
        let output = self.apolo(nth, &["status", "--json"]).await;
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    /// Runs a command against a node's socket.
    pub(crate) async fn apolo(&self, nth: usize, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_apolo"));
        command.args(words).env_clear().arg("--data-dir").arg(self.data_dir(nth));
        let output = spawn_blocking(move || command.output()).await;
        output.expect("it does not panic").expect("the binary was built for this test")
    }

    pub(crate) fn data_dir(&self, nth: usize) -> PathBuf {
        self.places[nth].config.data_dir.clone()
    }

    pub(crate) fn index_of(&self, name: &str) -> usize {
        self.places.iter().position(|place| place.name == name).expect("a node of this cluster")
    }
}

/// An address whose port is free for HTTP and QUIC, and stays so while the node that has it is stopped: no other test of
/// this process is given it.
pub(crate) fn free_address() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], random_range(PORTS)));
        let new = GIVEN.lock().expect("nobody panics with it").insert(address.port());
        if new && TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// Everything that a command said, on one line.
pub(crate) fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8(both).expect("it is text");
    let words = text.split_whitespace().filter(|word| *word != "│");
    words.collect::<Vec<_>>().join(" ")
}

/// The names of the nodes that have this part.
pub(crate) fn with_role(view: &View, role: Role) -> Vec<String> {
    view.nodes.iter().filter(|node| node.role == role).map(|node| node.name.clone()).collect()
}
