//! What comes to the port without being a node.

use std::{net::UdpSocket, sync::atomic::Ordering::SeqCst, time::Duration};

use apolo::{
    model::NodeId,
    transport::{Refusal, limits},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::task::JoinSet;

use super::support::{
    PATIENCE, anywhere, ask, ca,
    raw::{self, fate, names},
    relay::Relay,
    server, until, within,
};

#[tokio::test]
async fn another_protocol_is_refused() {
    let ca = ca();
    let node = ca.node(1, 1);
    for alpn in [&b"h3"[..], b"apolo/2", b"apolo"] {
        let before = node.counters().refusals(Refusal::OtherProtocol);
        let pair = raw::forge(&ca.path(), names(&server(2)), |_| {});
        let endpoint = raw::client(Some(pair), alpn);

        within("it ends", fate(&endpoint, node.address())).await;

        until("it is counted", || node.counters().refusals(Refusal::OtherProtocol) == before + 1)
            .await;
    }
    assert_eq!(node.counters().served(), 0);
    node.stop().await;
}

#[tokio::test]
async fn garbage_is_ignored_and_not_amplified() {
    let ca = ca();
    let [one, two] = [ca.node(1, 1), ca.node(2, 1)];
    let socket = UdpSocket::bind(anywhere()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut random = StdRng::seed_from_u64(7);
    let (mut sent, mut received) = (0, 0);
    let mut buffer = [0; 65536];

    for _ in 0..2000 {
        let mut datagram = vec![0; random.random_range(1..1500)];
        random.fill(&mut datagram[..]);
        sent += socket.send_to(&datagram, one.address()).unwrap_or(0);
        while let Ok(length) = socket.recv(&mut buffer) {
            received += length;
        }
    }
    one.peer(NodeId(2), two.address());
    two.peer(NodeId(1), one.address());
    ask(&one, 2).await.unwrap();
    ask(&two, 1).await.unwrap();
    while let Ok(length) = socket.recv(&mut buffer) {
        received += length;
    }

    assert!(received <= 3 * sent, "{received} bytes for {sent}");
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_handshakes_are_bounded_and_honest_nodes_get_through() {
    const FLOOD: usize = 400;
    let ca = ca();
    let one = ca.node(1, 1);
    // Whoever forges its address never sees an answer.
    let relay = Relay::to(one.address()).await;
    relay.mute.store(true, SeqCst);
    let mut attackers = JoinSet::new();
    let endpoints: Vec<_> = (0..8).map(|_| raw::client(None, b"apolo/1")).collect();
    for nth in 0..FLOOD {
        let (endpoint, to) = (endpoints[nth % endpoints.len()].clone(), relay.address);
        attackers.spawn(async move { fate(&endpoint, to).await });
    }
    until("addresses have to be proven", || one.counters().retries() > 0).await;

    let two = ca.node(2, 1);
    two.peer(NodeId(1), one.address());
    let answered = two.request(NodeId(1), apolo::transport::Protocol::Raft, b"x", PATIENCE).await;

    assert_eq!(answered.unwrap(), "x");
    assert_eq!(one.counters().refusals(Refusal::TooMany), 0, "retries keep places free");
    assert!(one.half_open() <= limits::HALF_OPEN_RETRY + 2, "{}", one.half_open());
    attackers.abort_all();
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_connection_without_a_hello_is_closed_in_time() {
    let ca = ca();
    let mut options = ca.options(1, 1);
    options.timings.handshake = Duration::from_millis(500);
    let one = super::support::start(options);
    let pair = raw::forge(&ca.path(), names(&server(2)), |_| {});
    let endpoint = raw::client(Some(pair), b"apolo/1");

    let connection = endpoint.connect(one.address(), "meet.apolo").unwrap().await.unwrap();
    let error = within("it is closed", connection.closed()).await;

    let quinn::ConnectionError::ApplicationClosed(close) = error else { panic!("{error}") };
    assert_eq!(close.error_code.into_inner(), 8);
    until("its place is free", || one.half_open() == 0).await;
    one.stop().await;
}

#[tokio::test]
async fn a_first_stream_that_is_no_hello_is_answered_with_a_reason() {
    let ca = ca();
    let one = ca.node(1, 1);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0xff, 0xff, 0xff, 0xff], &[0, 0, 0, 0, 0]]
    {
        let pair = raw::forge(&ca.path(), names(&server(2)), |_| {});
        let endpoint = raw::client(Some(pair), b"apolo/1");

        let error = raw::greeted(&endpoint, one.address(), garbage).await.unwrap_err();

        let quinn::ConnectionError::ApplicationClosed(close) = error else { panic!("{error}") };
        assert_eq!(close.error_code.into_inner(), 2);
    }
    assert_eq!(one.counters().served(), 0);
    one.stop().await;
}
