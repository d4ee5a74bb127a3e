//! Finding each other, losing each other, and being found again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use apolo::{
    model::{BootEpoch, NodeId},
    transport::{
        Addresses, Local, Protocol, Refused, Role, Standing, StreamError, Timings, TransportError,
        answer,
    },
};
use bytes::Bytes;
use tokio::time::Instant;

use super::support::{
    PATIENCE, anywhere, ask, ca, calm, connected, introduce, relay::Relay, start, until, within,
};

#[tokio::test]
async fn a_request_is_answered_by_the_node_that_was_asked() {
    let ca = ca();
    let [one, two] = [ca.node(1, 7), ca.node(2, 9)];
    two.register(
        Protocol::Lease,
        answer(|peer: apolo::transport::Peer, request: Bytes| async move {
            assert_eq!(&request[..], b"renew");
            assert_eq!(peer.role, Role::Server);
            Ok(Bytes::from(format!("{} at boot {}", peer.node, peer.boot)))
        }),
    );
    introduce((&one, 1), (&two, 2));

    let answer = one.request(NodeId(2), Protocol::Lease, b"renew", PATIENCE).await.unwrap();

    assert_eq!(answer, "0000000000000001 at boot 7");
    assert_eq!(connected(&one, 2, |_| true).await.boot, BootEpoch(9));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn one_side_that_knows_the_other_is_enough() {
    let ca = ca();
    let [one, two] = [ca.node(1, 1), ca.node(2, 1)];

    one.peer(NodeId(2), two.address());
    connected(&two, 1, |_| true).await;

    assert_eq!(ask(&two, 1).await.unwrap(), "hello");
    assert!(matches!(ask(&two, 3).await, Err(TransportError::Unknown { .. })));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_long_stream_carries_frames_both_ways_until_it_is_finished() {
    let ca = ca();
    let [one, two] = [ca.node(1, 1), ca.node(2, 1)];
    two.register(Protocol::Raft, |_, _, mut stream: apolo::transport::Stream| async move {
        while let Ok(Some(frame)) = stream.receive(PATIENCE).await {
            stream.send(&[&frame[..], b"!"].concat(), PATIENCE).await.expect("sent");
        }
        stream.finish();
    });
    introduce((&one, 1), (&two, 2));

    let mut stream = one.open(NodeId(2), Protocol::Raft, PATIENCE).await.unwrap();
    for word in ["a", "", "bc"] {
        stream.send(word.as_bytes(), PATIENCE).await.unwrap();
        let back = stream.receive(PATIENCE).await.unwrap().unwrap();
        assert_eq!(back, format!("{word}!"));
    }
    stream.finish();

    assert_eq!(stream.receive(PATIENCE).await, Ok(None));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn an_abandoned_stream_never_looks_finished() {
    let ca = ca();
    let [one, two] = [ca.node(1, 1), ca.node(2, 1)];
    let (told, mut heard) = tokio::sync::mpsc::channel(1);
    two.register(Protocol::Raft, move |_, _, mut stream: apolo::transport::Stream| {
        let told = told.clone();
        async move {
            let mut last = stream.receive(PATIENCE).await;
            while let Ok(Some(_)) = last {
                stream.send(b"so far", PATIENCE).await.expect("sent");
                last = stream.receive(PATIENCE).await;
            }
            told.send(last).await.expect("the test listens");
        }
    });
    introduce((&one, 1), (&two, 2));

    let mut stream = one.open(NodeId(2), Protocol::Raft, PATIENCE).await.unwrap();
    stream.send(b"half of it", PATIENCE).await.unwrap();
    assert_eq!(stream.receive(PATIENCE).await.unwrap().unwrap(), "so far");
    drop(stream);

    let last = within("the stream's end", heard.recv()).await.unwrap();
    assert_eq!(last, Err(StreamError::Refused(Refused::GivenUp)));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_peer_that_is_started_again_takes_over_at_once() {
    let ca = ca();
    let one = ca.node(1, 1);
    let old = ca.node(2, 4);
    let relay = Relay::to(old.address()).await;
    one.peer(NodeId(2), relay.address);
    connected(&one, 2, |peer| peer.boot == BootEpoch(4)).await;
    // The old process is dead, and nobody has said so: without the new one this would take the idle span, 30 s here.
    relay.cut(true);
    let before = relay.seen.load(SeqCst);
    let unanswered = tokio::spawn({
        let one = one.clone();
        async move { one.request(NodeId(2), Protocol::Raft, b"lost", PATIENCE).await }
    });
    until("the request is under way", || relay.seen.load(SeqCst) > before).await;

    let began = Instant::now();
    let new = ca.node(2, 5);
    new.peer(NodeId(1), one.address());
    connected(&one, 2, |peer| peer.boot == BootEpoch(5)).await;
    let unanswered = within("the old request ends", unanswered).await.unwrap();

    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(matches!(unanswered, Err(TransportError::Lost { .. })), "{unanswered:?}");
    assert_eq!(ask(&one, 2).await.unwrap(), "hello");
    for node in [one, old, new] {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_process_older_than_the_known_one_is_refused() {
    let ca = ca();
    let one = ca.node(1, 1);
    let new = ca.node(2, 5);
    new.peer(NodeId(1), one.address());
    connected(&one, 2, |_| true).await;

    let old = ca.node(2, 4);
    old.peer(NodeId(1), one.address());
    let error = old.request(NodeId(1), Protocol::Raft, b"x", Duration::from_secs(3)).await;

    let error = error.unwrap_err();
    assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("has been started since"), "{error}");
    assert_eq!(connected(&one, 2, |_| true).await.boot, BootEpoch(5));
    for node in [one, old, new] {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_dead_peers_request_ends_by_its_deadline() {
    let ca = ca();
    let [one, two] = [ca.node(1, 1), ca.node(2, 1)];
    let relay = Relay::to(two.address()).await;
    one.peer(NodeId(2), relay.address);
    ask(&one, 2).await.unwrap();
    relay.cut(true);

    let began = Instant::now();
    let deadline = Duration::from_millis(200);
    let error = one.request(NodeId(2), Protocol::Raft, b"x", deadline).await.unwrap_err();

    assert!(matches!(error, TransportError::Late { .. }), "{error}");
    assert!(error.may_have_happened());
    assert!(began.elapsed() >= deadline && began.elapsed() < Duration::from_secs(20));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn silence_ends_a_connection_and_a_healed_wire_brings_it_back() {
    let ca = ca();
    let mut options = ca.options(1, 1);
    options.timings = Timings { connect: Duration::from_secs(2), ..Timings::default() };
    let one = start(options);
    let two = ca.node(2, 1);
    let relay = Relay::to(two.address()).await;
    one.peer(NodeId(2), relay.address);
    connected(&one, 2, |_| true).await;

    relay.cut(true);
    until("the silence is noticed", || one.connected().is_empty()).await;
    relay.cut(false);

    assert_eq!(ask(&one, 2).await.unwrap(), "hello");
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_stop_is_told_to_the_peers_at_once() {
    let ca = ca();
    let [one, two] = [ca.node(1, 1), ca.node(2, 1)];
    introduce((&one, 1), (&two, 2));
    connected(&one, 2, |_| true).await;
    let before = Instant::now();

    two.stop().await;
    until("the peer is gone", || one.connected().is_empty()).await;

    // The idle span is 30 s here.
    assert!(before.elapsed() < Duration::from_secs(20));
    assert!(matches!(ask(&two, 1).await, Err(TransportError::Stopping)));
    one.stop().await;
}

#[tokio::test]
async fn addresses_are_asked_for_before_every_attempt() {
    let ca = ca();
    let [one, two] = [ca.node(1, 1), ca.node(2, 1)];
    let nobody = std::net::UdpSocket::bind(anywhere()).unwrap();
    let (nowhere, there) = (nobody.local_addr().unwrap(), two.address());
    let asked = Arc::new(AtomicUsize::new(0));
    let mut options = ca.options(3, 1);
    options.timings.connect = Duration::from_millis(100);
    let three = start(options);

    let asking = asked.clone();
    three.peer(
        NodeId(2),
        Addresses::resolved_by(move || {
            let nth = asking.fetch_add(1, SeqCst);
            async move {
                match nth {
                    0 => vec![],
                    1 => vec![nowhere],
                    _ => vec![nowhere, there, there],
                }
            }
        }),
    );

    assert_eq!(ask(&three, 2).await.unwrap(), "hello");
    assert!(asked.load(SeqCst) >= 3);
    for node in [one, two, three] {
        node.stop().await;
    }
}

/// Refuses one node, and stands somewhere.
struct Doorkeeper;

impl Local for Doorkeeper {
    fn standing(&self) -> Standing {
        Standing { vote_term: 3, vote_node: 1, last_term: 2, last_index: 70 }
    }

    fn admit(&self, node: NodeId, _process: u64, standing: Standing) -> Result<(), String> {
        if standing.last_index < 10 {
            return Err(format!("node {node} once acknowledged more than it remembers"));
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_node_that_remembers_too_little_is_told_why_it_is_not_admitted() {
    let ca = ca();
    let mut options = ca.options(1, 1);
    options.local = Arc::new(Doorkeeper);
    let one = start(options);
    let two = ca.node(2, 1);
    two.peer(NodeId(1), one.address());

    let error = two.request(NodeId(1), Protocol::Raft, b"x", Duration::from_secs(3)).await;

    let error = error.unwrap_err().to_string();
    assert!(error.contains("once acknowledged more than it remembers"), "{error}");
    let mut options = ca.options(3, 1);
    options.local = Arc::new(Doorkeeper);
    let three = start(options);
    three.peer(NodeId(1), one.address());
    assert_eq!(connected(&three, 1, |_| true).await.standing.last_index, 70);
    for node in [one, two, three] {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_forgotten_peer_is_let_go_and_can_be_named_again() {
    let ca = ca();
    let [one, two] = [ca.node(1, 1), ca.node(2, 1)];
    one.peer(NodeId(2), two.address());
    connected(&one, 2, |_| true).await;

    one.forget(NodeId(2));
    until("it is let go", || one.connected().is_empty() && two.connected().is_empty()).await;
    one.peer(NodeId(2), two.address());

    assert_eq!(ask(&one, 2).await.unwrap(), "hello");
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_peer_that_can_not_be_reached_is_tried_at_a_bounded_rate() {
    let ca = ca();
    let nobody = std::net::UdpSocket::bind(anywhere()).unwrap();
    let mut options = ca.options(1, 1);
    options.timings = Timings { connect: Duration::from_millis(20), ..calm() };
    let one = start(options);
    let began = Instant::now();
    one.peer(NodeId(2), nobody.local_addr().unwrap());

    until("some attempts were made", || one.counters().dials() >= 6).await;
    let took = began.elapsed();

    // At the least: half of 50, 100, 200, 400 and 800 ms between six attempts.
    assert!(took >= Duration::from_millis(775), "{took:?}");
    let error = one.request(NodeId(2), Protocol::Raft, b"x", Duration::from_millis(50)).await;
    let error = error.unwrap_err();
    assert!(!error.may_have_happened() && error.is_retryable(), "{error}");
    assert!(error.to_string().contains("no answer from"), "{error}");
    one.stop().await;
}
