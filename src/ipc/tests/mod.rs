//! Nodes that talk over a network in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use uuid::Uuid;

use super::*;
use crate::model::{
    ApplicationId, BootEpoch, ClusterId, Epoch, GuildId, LogIndex, NodeId, ShardId, ShardTotal,
};
use crate::state::{Command, Facts, Loss, Move, Outcome, ShardReport, State};
use crate::transport::{
    Identity, Options as TransportOptions, Protocol, SimulatedNetwork, Transport,
};

use std::sync::Arc;

mod bounds;
mod everyone;
mod once;
mod requests;

const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster whose state the test writes, and whose every node runs what it owns.
struct World {
    network: SimulatedNetwork,
    states: watch::Sender<Arc<State>>,
    index: u64,
    nodes: BTreeMap<NodeId, (Ipc, Transport)>,
    quorum: Arc<AtomicBool>,
    /// Shards that have an owner but do not run yet.
    resting: Arc<Mutex<BTreeSet<ShardId>>>,
}

struct Here {
    me: NodeId,
    states: watch::Receiver<Arc<State>>,
    quorum: Arc<AtomicBool>,
    resting: Arc<Mutex<BTreeSet<ShardId>>>,
}

impl Residents for Here {
    fn runs(&self, shard: ShardId) -> Option<Epoch> {
        let held = self.states.borrow().shards().get(&shard)?.assignment()?;
        let rests = self.resting.lock().unwrap().contains(&shard);
        (held.node == self.me && !rests).then_some(held.epoch)
    }

    fn has_quorum(&self) -> bool {
        self.quorum.load(Ordering::SeqCst)
    }
}

fn address(node: NodeId) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(node.0).unwrap()], 7400))
}

impl World {
    /// So many nodes with two shards each: node 1 has the shards 0 and 1.
    fn of(nodes: u64) -> Self {
        let network = SimulatedNetwork::new(3);
        let cluster = ClusterId(Uuid::from_u128(1));
        let states = watch::Sender::new(Arc::default());
        let (quorum, resting) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let mut world = Self { network, states, index: 0, nodes: BTreeMap::new(), quorum, resting };
        let total = ShardTotal::new(u32::try_from(nodes).unwrap() * 2).unwrap();
        let ids = (1..=nodes).map(NodeId);
        world.apply(Command::Form { cluster });
        for node in ids.clone() {
            world.apply(Command::StartNode { node, name: node.to_string(), boot: BootEpoch(1) });
        }
        let application = ApplicationId(1);
        world.apply(Command::FixFacts(Facts { application, total, intents: 0 }));
        for shard in total.shards() {
            world.give(shard, NodeId(u64::from(shard.0) / 2 + 1));
        }
        for node in ids.clone() {
            let socket = world.network.join(address(node), Identity::server(cluster, node));
            let transport = TransportOptions::simulated(socket, BootEpoch(1));
            let transport = Transport::start(transport).unwrap();
            for peer in ids.clone().filter(|peer| *peer != node) {
                transport.peer(peer, address(peer));
            }
            let ipc = Ipc::new(Options {
                me: node,
                boot: BootEpoch(1),
                handlers: Handlers::default(),
                residents: Arc::new(Here {
                    me: node,
                    states: world.states.subscribe(),
                    quorum: Arc::clone(&world.quorum),
                    resting: Arc::clone(&world.resting),
                }),
                states: world.states.subscribe(),
                transport: Some(transport.clone()),
            });
            world.nodes.insert(node, (ipc, transport));
        }
        world
    }

    fn apply(&mut self, command: Command) {
        self.index += 1;
        let mut state = State::clone(&self.states.borrow());
        assert_eq!(state.apply(LogIndex(self.index), command), Outcome::Applied);
        self.states.send_replace(Arc::new(state));
    }

    fn give(&mut self, shard: ShardId, to: NodeId) {
        self.apply(Command::Assign(vec![Move { shard, from: None, to }]));
    }

    fn take(&mut self, shard: ShardId) {
        let epoch = self.states.borrow().shards()[&shard].epoch().unwrap();
        self.apply(Command::Release(vec![ShardReport::new(shard, epoch)]));
    }

    fn lose(&mut self, node: NodeId) {
        let loss = Loss { node, boot: BootEpoch(1), losses: 0 };
        self.apply(Command::LoseNode { loss, reports: vec![], moves: vec![] });
    }

    fn ipc(&self, node: u64) -> &Ipc {
        &self.nodes[&NodeId(node)].0
    }

    /// Messages that any node remembers.
    fn remembered(&self) -> usize {
        self.nodes.values().map(|(ipc, _)| ipc.remembered()).sum()
    }

    /// Every node says who it is, and counts.
    fn greeters(&self) -> Arc<AtomicUsize> {
        let ran = Arc::new(AtomicUsize::new(0));
        for (node, (ipc, _)) in &self.nodes {
            let (node, ran) = (node.0, Arc::clone(&ran));
            ipc.register_handler("greet", move |call: Call, name: String| {
                ran.fetch_add(1, Ordering::SeqCst);
                let greeting = format!("{name}, {} on {node}", call.receiver);
                async move { Ok(greeting) }
            });
        }
        ran
    }
}

const fn shard(shard: u32) -> Target {
    Target::Shard(ShardId(shard))
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, held).await.unwrap_or_else(|_| panic!("waited too long for {what}"));
}

/// A handler that waits until it is let go.
fn held(ipc: &Ipc, idempotent: bool) -> (Arc<AtomicUsize>, Arc<Notify>) {
    let (ran, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (counted, waits) = (Arc::clone(&ran), Arc::clone(&go));
    let handler = move |_: Call, (): ()| {
        counted.fetch_add(1, Ordering::SeqCst);
        let waits = Arc::clone(&waits);
        async move {
            waits.notified().await;
            Ok(7_u64)
        }
    };
    if idempotent {
        ipc.register_idempotent_handler("wait", handler);
    } else {
        ipc.register_handler("wait", handler);
    }
    (ran, go)
}
