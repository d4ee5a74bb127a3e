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

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_by_the_shards_owner_wherever_that_is() {
    let world = World::of(3);
    world.greeters();
    let ipc = world.ipc(1);
    let guild = GuildId(5 << 22);

    for (target, owner) in [
        (shard(0), "shard 0 on 1"),
        (shard(3), "shard 3 on 2"),
        (Target::Guild(guild), "shard 5 on 3"),
        (Target::Node(NodeId(2)), "node 0000000000000002 on 2"),
    ] {
        let greeting: String = ipc.request(target, "greet", &"hello").await.unwrap();
        assert_eq!(greeting, format!("hello, {owner}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_learns_who_asks_and_what() {
    let world = World::of(2);
    let seen = Arc::new(Mutex::new(None));
    let told = Arc::clone(&seen);
    world.ipc(2).register_handler("ask", move |call: Call, (): ()| {
        *told.lock().unwrap() = Some(call);
        async { Ok(()) }
    });

    let asking = world.ipc(1).of_shard(ShardId(1));
    let () = asking.request(shard(2), "ask", &()).await.unwrap();

    let call = seen.lock().unwrap().clone().unwrap();
    assert_eq!(call.sender, Sender { node: NodeId(1), shard: Some(ShardId(1)) });
    assert_eq!(call.receiver, Receiver::Shard(ShardId(2)));
    assert_eq!((call.kind, &*call.event), (MessageKind::Request, "ask"));
    assert!(!call.cancelled.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_has_an_error_of_its_own_at_once() {
    let world = World::of(2);
    for node in [1, 2] {
        let ipc = world.ipc(node);
        ipc.register_handler("fail", |_, (): ()| async { Err::<(), _>("no such user".into()) });
        ipc.register_handler("panic", |_, (): ()| async {
            if true {
                panic!("on purpose");
            }
            Ok(())
        });
        ipc.register_handler("long", |_, (): ()| async { Ok("x".repeat(DATA_MAX)) });
        ipc.register_handler("number", |_, n: u64| async move { Ok(n) });
    }
    let began = tokio::time::Instant::now();
    let ask = async |target, event: &str, data: serde_json::Value| {
        world.ipc(1).request::<u64>(target, event, &data).await.unwrap_err()
    };
    let null = serde_json::Value::Null;
    for near_or_far in [0, 2] {
        let target = shard(near_or_far);
        let none = ask(target, "none", null.clone()).await;
        assert_eq!(none, IpcError::NoHandler { event: "none".into() });
        let failed = ask(target, "fail", null.clone()).await;
        assert_eq!(failed, IpcError::HandlerFailed { message: "no such user".into() });
        assert_eq!(ask(target, "panic", null.clone()).await, IpcError::HandlerPanicked);
        let long = ask(target, "long", null.clone()).await;
        assert_eq!(long, IpcError::TooLarge { bytes: DATA_MAX + 2 });
        let text = ask(target, "number", "seven".into()).await;
        assert!(matches!(text, IpcError::Undecodable(_)), "{text}");
    }
    let large = ask(shard(2), "number", "x".repeat(DATA_MAX).into()).await;
    assert_eq!(large, IpcError::TooLarge { bytes: DATA_MAX + 2 });
    assert_eq!(ask(shard(99), "number", null.clone()).await, IpcError::UnknownShard(ShardId(99)));
    let nobody = ask(Target::Node(NodeId(9)), "number", null).await;
    assert_eq!(nobody, IpcError::UnknownNode(NodeId(9)));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_request_follows_its_shard_to_the_next_owner() {
    let mut world = World::of(3);
    let ran = world.greeters();
    world.resting.lock().unwrap().insert(ShardId(2));
    let ipc = world.ipc(1).clone();
    let asked =
        tokio::spawn(async move { ipc.request::<String>(shard(2), "greet", &"hello").await });
    // It is turned away by an owner that does not run the shard yet, and then by nobody.
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.take(ShardId(2));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!asked.is_finished());

    world.give(ShardId(2), NodeId(3));
    world.resting.lock().unwrap().clear();

    assert_eq!(asked.await.unwrap().unwrap(), "hello, shard 2 on 3");
    assert_eq!(ran.load(Ordering::SeqCst), 1);
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

#[tokio::test(start_paused = true)]
async fn a_message_that_is_sent_again_does_not_run_again_and_finds_its_answer() {
    let world = World::of(2);
    let (ran, go) = held(world.ipc(2), false);
    let ipc = world.ipc(1).clone();
    let asked = tokio::spawn(async move { ipc.request::<u64>(shard(2), "wait", &()).await });
    until("it runs", || ran.load(Ordering::SeqCst) == 1).await;

    // While it runs, and once more between its end and its answer.
    world.network.cut(address(NodeId(1)), address(NodeId(2)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.network.partition(address(NodeId(1)), address(NodeId(2)));
    go.notify_one();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!asked.is_finished());
    world.network.heal_all();

    assert_eq!(asked.await.unwrap(), Ok(7));
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_owner_is_told_unless_the_message_may_run_twice() {
    for idempotent in [false, true] {
        let mut world = World::of(3);
        let (ran, _never) = held(world.ipc(2), idempotent);
        let (again, go) = held(world.ipc(3), idempotent);
        // Whether it may run twice is what its sender's handler says.
        let _ = held(world.ipc(1), idempotent);
        go.notify_one();
        let ipc = world.ipc(1).clone();
        let asked = tokio::spawn(async move { ipc.request::<u64>(shard(2), "wait", &()).await });
        until("it runs", || ran.load(Ordering::SeqCst) == 1).await;

        world.network.kill(address(NodeId(2)));
        // What is left of it in this process must not dial anybody.
        world.nodes[&NodeId(2)].1.stop().await;
        world.lose(NodeId(2));
        world.give(ShardId(2), NodeId(3));

        let answer = asked.await.unwrap();
        if idempotent {
            assert_eq!((answer, again.load(Ordering::SeqCst)), (Ok(7), 1));
        } else {
            assert_eq!(answer, Err(IpcError::OwnerLost { may_have_run: true }));
            assert_eq!(again.load(Ordering::SeqCst), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_answer_is_an_error_by_the_deadline_that_says_whether_the_handler_may_have_run() {
    let mut world = World::of(2);
    let (_ran, _never) = held(world.ipc(2), false);
    let options = RequestOptions { timeout: Duration::from_secs(3) };
    let ask = async |world: &World| {
        let began = tokio::time::Instant::now();
        let answer = world.ipc(1).request_with::<u64>(options, shard(2), "wait", &()).await;
        assert_eq!(began.elapsed().as_secs(), 3);
        answer
    };

    assert_eq!(ask(&world).await, Err(IpcError::TimedOut { may_have_run: true }));
    world.take(ShardId(2));
    assert_eq!(ask(&world).await, Err(IpcError::TimedOut { may_have_run: false }));
}

#[tokio::test(start_paused = true)]
async fn without_a_quorum_a_shard_without_an_owner_is_not_waited_for() {
    let mut world = World::of(2);
    world.greeters();
    world.take(ShardId(2));
    world.quorum.store(false, Ordering::SeqCst);
    let began = tokio::time::Instant::now();

    let answer = world.ipc(1).request::<String>(shard(2), "greet", &"hello").await;

    assert_eq!(answer, Err(IpcError::NoQuorum));
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_told_that_nobody_waits_for_it_any_more() {
    let world = World::of(2);
    let (sent, mut seen) = tokio::sync::mpsc::unbounded_channel();
    for node in [1, 2] {
        let sent = sent.clone();
        world.ipc(node).register_handler("wait", move |call: Call, (): ()| {
            sent.send(call).unwrap();
            std::future::pending::<Result<(), _>>()
        });
    }
    for near_or_far in [0, 2] {
        let ipc = world.ipc(1).clone();
        let asked =
            tokio::spawn(async move { ipc.request::<()>(shard(near_or_far), "wait", &()).await });
        let call = seen.recv().await.unwrap();
        assert!(!call.cancelled.is_cancelled());

        asked.abort();

        timeout(PATIENCE, call.cancelled.cancelled()).await.expect("it is told");
    }
}

#[tokio::test(start_paused = true)]
async fn all_shards_answer_a_request_to_all_and_those_that_did_not_are_named() {
    let world = World::of(3);
    for (ipc, _) in world.nodes.values() {
        ipc.register_handler("id", |call: Call, (): ()| async move {
            match call.receiver {
                Receiver::Shard(ShardId(4)) => Err("not today".into()),
                receiver => Ok(receiver),
            }
        });
    }

    let all = world.ipc(2).broadcast_request::<Receiver>("id", &()).await.unwrap();

    assert_eq!(all.answers.len(), 5);
    assert!(all.answers.iter().all(|(asked, answered)| asked == answered));
    let failed: Vec<_> = all.failed.into_iter().collect();
    let error = IpcError::HandlerFailed { message: "not today".into() };
    assert_eq!(failed, [(Receiver::Shard(ShardId(4)), error)]);
    let options = RequestOptions::default();
    let nodes =
        world.ipc(2).broadcast_request_to::<Receiver>(Everyone::Nodes, options, "id", &()).await;
    assert_eq!(nodes.unwrap().answers.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_runs_once_for_each_shard_though_one_is_on_its_way_and_a_link_breaks() {
    let mut world = World::of(3);
    let ran: Arc<Mutex<BTreeMap<Receiver, usize>>> = Arc::default();
    for (ipc, _) in world.nodes.values() {
        let ran = Arc::clone(&ran);
        ipc.register_handler("count", move |call: Call, (): ()| {
            *ran.lock().unwrap().entry(call.receiver).or_default() += 1;
            async { Ok(()) }
        });
    }
    world.take(ShardId(3));
    world.ipc(1).broadcast("count", &()).unwrap();
    world.network.cut(address(NodeId(1)), address(NodeId(3)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!ran.lock().unwrap().contains_key(&Receiver::Shard(ShardId(3))));

    world.give(ShardId(3), NodeId(3));

    until("all have run", || ran.lock().unwrap().len() == 6).await;
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(ran.lock().unwrap().values().all(|times| *times == 1), "{ran:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_to_all_crosses_a_link_once_for_a_node() {
    let world = World::of(2);
    let ran = world.greeters();
    let served = || world.nodes[&NodeId(2)].1.counters().served();
    let _: String = world.ipc(1).request(shard(2), "greet", &"hello").await.unwrap();
    let before = served();

    let all = world.ipc(1).broadcast_request::<String>("greet", &"hello").await.unwrap();

    assert_eq!((all.answers.len(), ran.load(Ordering::SeqCst)), (4, 5));
    assert_eq!(served() - before, 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_receiver_slows_whoever_asks_it_and_nobody_else() {
    let world = World::of(2);
    let (ran, _never) = held(world.ipc(2), false);
    let _ran = world.greeters();
    let slow: Vec<_> = (0..200)
        .map(|_| {
            let ipc = world.ipc(1).clone();
            tokio::spawn(async move { ipc.request::<u64>(shard(2), "wait", &()).await })
        })
        .collect();
    until("as many run as may", || ran.load(Ordering::SeqCst) == 32).await;

    let greeting: String = world.ipc(1).request(shard(3), "greet", &"hello").await.unwrap();

    assert_eq!(greeting, "hello, shard 3 on 2");
    assert_eq!(ran.load(Ordering::SeqCst), 32);
    slow.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn hostile_bytes_end_their_stream_and_nothing_else() {
    let world = World::of(2);
    world.greeters();
    let transport = &world.nodes[&NodeId(1)].1;
    let mut letter = wire::encode(&"none of ours");
    for bytes in [vec![], vec![0xff; 64], vec![1; 100_000], std::mem::take(&mut letter)] {
        let answer = transport.request(NodeId(2), Protocol::Ipc, &bytes, PATIENCE).await;
        assert!(answer.is_err(), "{bytes:?}");
    }

    let greeting: String = world.ipc(1).request(shard(2), "greet", &"hello").await.unwrap();
    assert_eq!(greeting, "hello, shard 2 on 2");
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_is_not_remembered() {
    let world = World::of(2);
    world.greeters();
    for _ in 0..100 {
        let _: String = world.ipc(1).request(shard(2), "greet", &"hello").await.unwrap();
        let _: String = world.ipc(2).request(shard(2), "greet", &"hello").await.unwrap();
    }
    let all = world.ipc(1).broadcast_request::<String>("greet", &"hello").await.unwrap();
    assert_eq!(all.answers.len(), 4);

    until("nothing is remembered", || world.remembered() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_error_that_says_too_much_is_cut_short() {
    let world = World::of(2);
    let long = "é".repeat(2_000_000);
    world.ipc(2).register_handler("fail", move |_, (): ()| {
        let error = long.clone().into();
        async move { Err::<(), _>(error) }
    });

    let failed = world.ipc(1).request::<()>(shard(2), "fail", &()).await;

    let said = match failed {
        Err(IpcError::HandlerFailed { message }) => message,
        other => panic!("{other:?}"),
    };
    assert_eq!(said.chars().count(), 2_048);
}

/// Its window is empty, and only its sender can know that it may have run.
#[tokio::test(start_paused = true)]
async fn an_owner_that_has_started_again_does_not_run_what_was_sent_to_it_before() {
    let world = World::of(2);
    let ran = world.greeters();
    let late = route::Tenure::Shard(Epoch::default());
    let letter = wire::Letter {
        id: MessageId(Uuid::from_u128(7)),
        kind: MessageKind::Request,
        event: "greet".to_owned(),
        sender: None,
        sent_at: crate::model::UnixMillis(0),
        left_ms: 1_000,
        receivers: vec![(Receiver::Shard(ShardId(2)), late)],
        data: b"null".to_vec(),
    };
    let transport = world.nodes[&NodeId(1)].1.clone();

    let mut stream = transport.open(NodeId(2), Protocol::Ipc, PATIENCE).await.unwrap();
    stream.send(&wire::encode(&letter), PATIENCE).await.unwrap();
    let frame = stream.receive(PATIENCE).await.unwrap().unwrap();

    let reply: wire::Reply = wire::decode(&frame).unwrap();
    assert_eq!(reply.answer, Err(wire::Failure::Moved));
    assert_eq!(ran.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_delivered_is_tried_again_now_and_then_and_not_in_a_loop() {
    let world = World::of(2);
    world.greeters();
    world.resting.lock().unwrap().insert(ShardId(2));
    let served = || world.nodes[&NodeId(2)].1.counters().served();
    let before = served();
    let options = RequestOptions { timeout: Duration::from_secs(1) };

    let answer = world.ipc(1).request_with::<String>(options, shard(2), "greet", &"hello").await;

    // The last attempt may be on its way.
    assert!(matches!(answer, Err(IpcError::TimedOut { .. })), "{answer:?}");
    assert!((10..=41).contains(&(served() - before)), "{}", served() - before);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_takes_no_more_messages_and_lets_go_of_its_transport() {
    let world = World::of(2);
    let ran = world.greeters();
    let (hangs, _never) = held(world.ipc(2), false);
    let ipc = world.ipc(1).clone();
    let asked = tokio::spawn(async move { ipc.request::<u64>(shard(2), "wait", &()).await });
    until("a handler hangs", || hangs.load(Ordering::SeqCst) == 1).await;

    let closed = timeout(Duration::from_millis(250), world.ipc(2).close()).await;

    assert!(closed.is_err() && !world.ipc(2).holds_transport());
    asked.abort();
    let options = RequestOptions { timeout: Duration::from_secs(1) };

    let answer = world.ipc(1).request_with::<String>(options, shard(2), "greet", &"hello").await;

    // The last attempt may be on its way.
    assert!(matches!(answer, Err(IpcError::TimedOut { .. })), "{answer:?}");
    assert_eq!(ran.load(Ordering::SeqCst), 0);
    let own = world.ipc(2).request_with::<String>(options, shard(0), "greet", &"hello").await;
    assert!(own.is_err());
}
