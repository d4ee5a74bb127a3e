//! The simulated twin, on a paused clock: whole stories in milliseconds, the same each time.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use apolo::{
    model::{BootEpoch, NodeId},
    transport::{
        CloseCode, Identity, Options, Protocol, Role, SimulatedNetwork, StreamError, Timings,
        Transport, TransportError, Weather, limits,
    },
};
use tokio::time::{Instant, sleep};

use super::support::{ask, connected, server, start, until};

fn address(node: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(node).expect("few nodes")], 7400))
}

fn node(network: &SimulatedNetwork, id: u64, boot: u64) -> Transport {
    let socket = network.join(address(id), server(id));
    let mut options = Options::simulated(socket, BootEpoch(boot));
    options.seed = Some(id);
    start(options)
}

fn mesh(network: &SimulatedNetwork, count: u64) -> Vec<Transport> {
    let nodes: Vec<_> = (1..=count).map(|id| node(network, id, 1)).collect();
    for (nth, node) in (1..).zip(&nodes) {
        for other in (1..=count).filter(|other| *other != nth) {
            node.peer(NodeId(other), address(other));
        }
    }
    nodes
}

#[tokio::test(start_paused = true)]
async fn the_twin_answers_as_quic_does() {
    let network = SimulatedNetwork::new(1);
    let nodes = mesh(&network, 3);
    let largest = vec![9; Protocol::Raft.frame_max()];

    for (from, to) in [(0, 2), (0, 3), (1, 1), (1, 3), (2, 1), (2, 2)] {
        let answer = nodes[from].request(NodeId(to), Protocol::Raft, &largest, limits::FRAME).await;
        assert_eq!(answer.unwrap(), largest);
    }

    let other = network.join(address(9), server(9));
    let stranger = start(Options::simulated(other, BootEpoch(1)));
    let meeting = stranger.meet(address(1), limits::FRAME).await.unwrap();
    assert_eq!(meeting.identity(), server(1));
    assert_eq!(meeting.ask(b"x", limits::FRAME).await.unwrap(), "x");
}

#[tokio::test(start_paused = true)]
async fn a_dial_from_both_sides_at_one_instant_leaves_one_connection() {
    let network = SimulatedNetwork::new(1);
    network.set_weather_everywhere(Weather {
        delay: Duration::from_millis(50),
        jitter: Duration::ZERO,
        loss: 0.0,
    });
    let nodes = mesh(&network, 2);

    connected(&nodes[0], 2, |_| true).await;
    connected(&nodes[1], 1, |_| true).await;
    until("both dials have come through", || {
        nodes.iter().all(|node| node.counters().connections() == 2)
    })
    .await;
    until("one is left", || nodes.iter().all(|node| node.counters().connections() == 1)).await;

    assert!(nodes.iter().all(|node| node.counters().dials() == 1));
    assert_eq!(ask(&nodes[0], 2).await.unwrap(), "hello");
    assert_eq!(ask(&nodes[1], 1).await.unwrap(), "hello");
    assert!(nodes.iter().all(|node| node.counters().connections() == 1));
}

#[tokio::test(start_paused = true)]
async fn a_partition_is_noticed_after_the_idle_span_and_heals_within_the_back_off() {
    let network = SimulatedNetwork::new(2);
    let nodes = mesh(&network, 3);
    until("all are connected once", || {
        nodes.iter().all(|node| node.connected().len() == 2 && node.counters().connections() == 2)
    })
    .await;

    network.partition(address(1), address(2));
    let began = Instant::now();
    let late = nodes[0]
        .request(NodeId(2), Protocol::Raft, b"x", Duration::from_millis(500))
        .await
        .unwrap_err();
    assert!(matches!(late, TransportError::Late { .. }), "{late}");
    let sees = |from: usize, to: u64| nodes[from].connected().iter().any(|p| p.node == NodeId(to));
    until("both notice", || !sees(0, 2) && !sees(1, 1)).await;
    let noticed = began.elapsed();
    assert!(noticed >= limits::IDLE && noticed < limits::IDLE * 2, "{noticed:?}");
    assert_eq!(ask(&nodes[0], 3).await.unwrap(), "hello", "the third is not concerned");

    sleep(Duration::from_secs(30)).await;
    network.heal(address(1), address(2));
    let healed = Instant::now();
    assert_eq!(ask(&nodes[0], 2).await.unwrap(), "hello");
    assert!(healed.elapsed() <= limits::BACKOFF_MAX + limits::CONNECT, "{:?}", healed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_short_block_delays_and_loses_nothing() {
    let network = SimulatedNetwork::new(3);
    let nodes = mesh(&network, 2);
    ask(&nodes[0], 2).await.unwrap();
    let began = Instant::now();

    network.block(address(2), address(1));
    let asked = tokio::spawn({
        let one = nodes[0].clone();
        async move { ask(&one, 2).await }
    });
    sleep(limits::IDLE / 2).await;
    network.heal_all();

    assert_eq!(asked.await.unwrap().unwrap(), "hello");
    assert!(began.elapsed() >= limits::IDLE / 2 && began.elapsed() < limits::IDLE);
}

#[tokio::test(start_paused = true)]
async fn loss_and_delay_cost_time_and_no_answer() {
    let network = SimulatedNetwork::new(4);
    network.set_weather_everywhere(Weather {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(10),
        loss: 0.2,
    });
    let nodes = mesh(&network, 2);
    ask(&nodes[0], 2).await.unwrap();

    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(ask(&nodes[0], 2).await.unwrap(), "hello");
    }

    let each = began.elapsed() / 100;
    assert!(each >= Duration::from_millis(40) && each < Duration::from_millis(200), "{each:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cut_connection_ends_at_once_and_is_made_again() {
    let network = SimulatedNetwork::new(5);
    let nodes = mesh(&network, 2);
    let mut stream = {
        connected(&nodes[0], 2, |_| true).await;
        sleep(limits::RETIRE_QUIET * 3).await;
        nodes[0].open(NodeId(2), Protocol::Raft, limits::FRAME).await.unwrap()
    };
    let began = Instant::now();

    network.cut(address(1), address(2));
    let ended = stream.receive(limits::FRAME).await;

    assert!(matches!(ended, Err(StreamError::Ended(_))), "{ended:?}");
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(ask(&nodes[0], 2).await.unwrap(), "hello");
}

#[tokio::test(start_paused = true)]
async fn a_killed_node_is_replaced_by_its_next_start() {
    let network = SimulatedNetwork::new(6);
    let mut nodes = mesh(&network, 2);
    ask(&nodes[0], 2).await.unwrap();

    network.kill(address(2));
    let dead = nodes.pop().unwrap();
    let again = node(&network, 2, 2);
    again.peer(NodeId(1), address(1));
    let began = Instant::now();
    connected(&nodes[0], 2, |peer| peer.boot == BootEpoch(2)).await;

    assert!(began.elapsed() < limits::IDLE / 2, "{:?}", began.elapsed());
    assert_eq!(ask(&nodes[0], 2).await.unwrap(), "hello");
    drop(dead);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_peer_is_dialled_no_faster_than_the_back_off() {
    let network = SimulatedNetwork::new(7);
    let one = node(&network, 1, 1);

    one.peer(NodeId(2), address(2));
    sleep(Duration::from_secs(60)).await;

    // Each attempt takes 0.3 s and, once backed off, waits another 0.5 to 1 s.
    let dials = one.counters().dials();
    assert!((46..=80).contains(&dials), "{dials}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_accepts_and_closes_is_backed_off_from_too() {
    let network = SimulatedNetwork::new(8);
    let nodes = mesh(&network, 2);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        network.cut(address(1), address(2));
        sleep(Duration::from_millis(2)).await;
    }

    let dials: u64 = nodes.iter().map(|node| node.counters().dials()).sum();
    assert!(dials < 400, "{dials}");
}

/// What happened, and when.
async fn story(seed: u64) -> String {
    let network = SimulatedNetwork::new(seed);
    network.set_weather_everywhere(Weather {
        delay: Duration::from_millis(5),
        jitter: Duration::from_millis(20),
        loss: 0.1,
    });
    let nodes = mesh(&network, 4);
    let began = Instant::now();
    let mut told = String::new();
    for round in 0..40_u64 {
        let (from, to) = (round % 4, (round * 7 + 1) % 4);
        match round {
            10 => network.partition(address(1), address(2)),
            15 => network.block(address(3), address(4)),
            20 => network.cut(address(2), address(3)),
            25 => network.heal_all(),
            _ => {}
        }
        if from != to {
            let within = Duration::from_millis(400);
            let from = usize::try_from(from).expect("small");
            let answer = nodes[from].request(NodeId(to + 1), Protocol::Ipc, b"x", within).await;
            let _ = write!(told, "{round} {} {:?}; ", answer.is_ok(), began.elapsed());
        }
        sleep(Duration::from_millis(100)).await;
    }
    for node in &nodes {
        let _ = write!(told, "{} ", node.counters().dials());
        node.stop().await;
    }
    told
}

#[test]
fn one_seed_is_one_story() {
    let run = |seed| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(story(seed))
    };

    let first = run(11);

    assert_eq!(first, run(11));
    assert_ne!(first, run(12));
    assert!(first.contains("true") && first.contains("false"), "{first}");
}

#[tokio::test(start_paused = true)]
async fn twenty_four_hours_of_ageing_lose_no_request() {
    let network = SimulatedNetwork::new(9);
    let [one, two] = [1, 2].map(|id| {
        let mut options = Options::simulated(network.join(address(id), server(id)), BootEpoch(1));
        options.timings = Timings { idle: Duration::from_secs(5), ..Timings::default() };
        options.seed = Some(id);
        start(options)
    });
    one.peer(NodeId(2), address(2));
    two.peer(NodeId(1), address(1));
    let began = Instant::now();

    while began.elapsed() < Duration::from_hours(25) {
        assert_eq!(ask(&one, 2).await.unwrap(), "hello");
        sleep(Duration::from_secs(60)).await;
    }

    let dials = one.counters().dials() + two.counters().dials();
    assert!((4..=6).contains(&dials), "{dials}");
}

#[tokio::test(start_paused = true)]
async fn a_joiner_meets_joiners_and_members_and_learns_when_it_has_met_itself() {
    for seed in 0..20 {
        let network = SimulatedNetwork::new(seed);
        let joiner = |id| {
            let socket = network.join(address(id), Identity::joiner(NodeId(id)));
            start(Options::simulated(socket, BootEpoch(1)))
        };
        let (one, two, member) = (joiner(1), joiner(2), node(&network, 3, 1));

        for (other, role) in [(2, Role::Joiner), (3, Role::Server)] {
            let meeting = one.meet(address(other), limits::FRAME).await.unwrap();
            assert_eq!(meeting.peer().role, role);
            assert_eq!(meeting.ask(b"x", limits::FRAME).await.unwrap(), "x");
        }
        let itself = one.meet(address(1), limits::FRAME).await.unwrap_err();

        assert!(itself.is(CloseCode::Myself), "seed {seed}: {itself}");
        drop((two, member));
    }
}
