//! What one peer can make a node hold.

use std::time::Duration;

use apolo::{
    model::{BootEpoch, NodeId},
    transport::{Protocol, Refused, StreamError, Transport, TransportError, limits},
};
use quinn::{Connection, Endpoint, ReadError};

use super::support::{
    CLUSTER, Ca, PATIENCE, ask, ca, introduce,
    raw::{self, names},
    server, until, within,
};

/// A member that keeps no rules. The endpoint has to live as long as the connection.
async fn rogue(ca: &Ca, node: &Transport) -> (Endpoint, Connection) {
    let pair = raw::forge(&ca.path(), names(&server(66)), |_| {});
    let endpoint = raw::client(Some(pair), b"apolo/1");
    let hello = raw::hello(CLUSTER, NodeId(66), BootEpoch(1), 0);
    let connection = raw::greeted(&endpoint, node.address(), &hello).await.expect("it is a member");
    (endpoint, connection)
}

#[tokio::test]
async fn a_hostile_length_is_refused_before_anything_is_allocated() {
    let ca = ca();
    let one = ca.node(1, 1);
    let (_endpoint, connection) = rogue(&ca, &one).await;
    for (protocol, length) in [
        (Protocol::Raft, u32::MAX),
        (Protocol::Raft, 1024 * 1024 + 1),
        (Protocol::Snapshot, 256 * 1024 + 1),
    ] {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        let mut bytes = vec![protocol as u8];
        bytes.extend_from_slice(&length.to_be_bytes());
        send.write_all(&bytes).await.unwrap();

        let stopped = within("it is stopped", send.stopped()).await.unwrap();
        assert_eq!(stopped.map(quinn::VarInt::into_inner), Some(Refused::TooLarge as u64));
        assert!(receive.read_to_end(16).await.is_err());
    }
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&[1, 0, 0, 0, 1, 7]).await.unwrap();
    assert_eq!(receive.read_to_end(16).await.unwrap(), [0, 0, 0, 1, 7], "the others go on");
    one.stop().await;
}

#[tokio::test]
async fn the_largest_frame_passes_and_the_next_is_not_sent() {
    let ca = ca();
    let [one, two] = [ca.node(1, 1), ca.node(2, 1)];
    introduce((&one, 1), (&two, 2));
    for protocol in [Protocol::Raft, Protocol::Snapshot] {
        let largest = vec![7; protocol.frame_max()];
        let larger = vec![7; protocol.frame_max() + 1];

        let back = one.request(NodeId(2), protocol, &largest, PATIENCE).await.unwrap();
        let error = one.request(NodeId(2), protocol, &larger, PATIENCE).await.unwrap_err();

        assert_eq!(back, largest);
        assert!(matches!(error, TransportError::TooLarge { .. }), "{error}");
    }
    one.stop().await;
    two.stop().await;
}

/// Whatever its certificate allows: what a removed node is told.
#[tokio::test]
async fn a_barred_node_opens_what_is_left_to_it_and_nothing_else() {
    let ca = ca();
    let [one, two, three] = [ca.node(1, 1), ca.node(2, 1), ca.node(3, 1)];
    introduce((&one, 1), (&two, 2));
    introduce((&one, 1), (&three, 3));
    assert_eq!(ask(&two, 1).await.unwrap(), "hello");
    one.bar(|node, protocol| node == NodeId(2) && protocol != Protocol::Join);

    for protocol in Protocol::ALL {
        let barred = two.request(NodeId(1), protocol, b"hello", PATIENCE).await;
        let other = three.request(NodeId(1), protocol, b"hello", PATIENCE).await;

        assert_eq!(other.unwrap(), "hello", "{protocol}");
        match protocol {
            Protocol::Join => assert_eq!(barred.unwrap(), "hello"),
            _ => assert!(
                matches!(barred, Err(TransportError::Refused { reason: Refused::NotAllowed, .. })),
                "{protocol}: {barred:?}"
            ),
        }
    }
    for node in [one, two, three] {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_stream_that_never_names_its_protocol_is_turned_away() {
    let ca = ca();
    let one = ca.node(1, 1);
    let (_endpoint, connection) = rogue(&ca, &one).await;
    // QUIC shows a stream to the other side with its first frame, and an empty one is enough.
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(&[1, 0, 0, 0, 9]).await.unwrap();

    let stopped = within("it is stopped", send.stopped()).await.unwrap();

    assert_eq!(stopped.map(quinn::VarInt::into_inner), Some(Refused::Late as u64));
    one.stop().await;
}

#[tokio::test]
async fn streams_beyond_their_class_wait_and_those_of_the_other_pass() {
    let ca = ca();
    let [one, two] = [ca.node(1, 1), ca.node(2, 1)];
    let (hold, held) = tokio::sync::watch::channel(true);
    two.register(Protocol::Ipc, move |_, _, mut stream: apolo::transport::Stream| {
        let mut held = held.clone();
        async move {
            let request = stream.receive(PATIENCE).await.expect("it comes").expect("a frame");
            held.wait_for(|held| !held).await.expect("the test goes on");
            let _ = stream.send(&request, PATIENCE).await;
            stream.finish();
        }
    });
    introduce((&one, 1), (&two, 2));
    ask(&one, 2).await.unwrap();
    let served = two.counters().served();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..limits::MESSAGE_STREAMS_MAX + 50 {
        let one = one.clone();
        waiting.spawn(async move { one.request(NodeId(2), Protocol::Ipc, b"x", PATIENCE).await });
    }
    until("bulk is full", || {
        two.counters().served() - served == limits::MESSAGE_STREAMS_MAX as u64
    })
    .await;

    assert_eq!(ask(&one, 2).await.unwrap(), "hello", "control is not held up");
    assert_eq!(two.counters().served() - served, limits::MESSAGE_STREAMS_MAX as u64 + 1);
    hold.send(false).unwrap();

    while let Some(answer) = waiting.join_next().await {
        assert_eq!(answer.unwrap().unwrap(), "x");
    }
    assert_eq!(two.counters().turned_away(), 0);
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_peer_that_takes_more_than_its_places_is_turned_away() {
    let ca = ca();
    let one = ca.node(1, 1);
    one.register(Protocol::Lease, |_, _, stream: apolo::transport::Stream| async move {
        // Never answers, and never lets go.
        std::future::pending::<()>().await;
        drop(stream);
    });
    let (_endpoint, connection) = rogue(&ca, &one).await;
    let mut streams = Vec::new();
    for _ in 0..limits::CONTROL_STREAMS_MAX {
        let (mut send, receive) = connection.open_bi().await.unwrap();
        send.write_all(&[Protocol::Lease as u8]).await.unwrap();
        streams.push((send, receive));
    }
    until("its places are taken", || one.counters().served() == limits::CONTROL_STREAMS_MAX as u64)
        .await;

    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&[Protocol::Lease as u8]).await.unwrap();
    let refused = receive.read(&mut [0; 1]).await;

    let Err(ReadError::Reset(code)) = refused else { panic!("{refused:?}") };
    assert_eq!(code.into_inner(), Refused::Busy as u64);
    one.stop().await;
}

#[tokio::test]
async fn a_flood_of_streams_ends_the_connection_and_nothing_else() {
    let ca = ca();
    let [one, two] = [ca.node(1, 1), ca.node(2, 1)];
    introduce((&one, 1), (&two, 2));
    ask(&one, 2).await.unwrap();
    let identity = apolo::transport::Identity::joiner(NodeId(66));
    let pair = raw::forge(&ca.path(), names(&identity), |_| {});
    let endpoint = raw::client(Some(pair), b"apolo/1");
    let hello = raw::hello(identity.cluster, NodeId(66), BootEpoch(1), 1);
    let connection = raw::greeted(&endpoint, one.address(), &hello).await.unwrap();

    let mut opened = 0_u32;
    let flood = async {
        while let Ok((mut send, _receive)) = connection.open_bi().await {
            let _ = send.write_all(&[Protocol::Raft as u8]).await;
            opened += 1;
        }
        connection.closed().await
    };
    let error = within("the flood is over", flood).await;

    let quinn::ConnectionError::ApplicationClosed(close) = error else { panic!("{error}") };
    assert_eq!(close.error_code.into_inner(), 11);
    assert!(opened < 100_000, "{opened}");
    assert_eq!(ask(&two, 1).await.unwrap(), "hello");
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn an_unserved_protocol_and_a_failed_handler_are_told_apart() {
    let ca = ca();
    let one = ca.node(1, 1);
    let bare = Transport::start(ca.options(2, 1)).unwrap();
    one.peer(NodeId(2), bare.address());

    let error = ask(&one, 2).await.unwrap_err();
    assert!(matches!(error, TransportError::Refused { reason: Refused::NotServed, .. }), "{error}");
    assert!(!error.may_have_happened() && error.is_retryable());
    bare.register(Protocol::Raft, apolo::transport::answer(|_, _| async { Err(Refused::Failed) }));
    let error = ask(&one, 2).await.unwrap_err();
    assert!(matches!(error, TransportError::Refused { reason: Refused::Failed, .. }), "{error}");
    assert!(error.may_have_happened());
    one.stop().await;
    bare.stop().await;
}

#[tokio::test]
async fn a_handler_that_panics_costs_its_stream() {
    let ca = ca();
    let [one, two] = [ca.node(1, 1), ca.node(2, 1)];
    two.register(Protocol::Permit, |_, _, _stream: apolo::transport::Stream| async {
        panic!("on purpose");
    });
    introduce((&one, 1), (&two, 2));

    let error = one.request(NodeId(2), Protocol::Permit, b"x", PATIENCE).await.unwrap_err();

    assert!(matches!(error, TransportError::Refused { reason: Refused::GivenUp, .. }), "{error}");
    assert_eq!(ask(&one, 2).await.unwrap(), "hello");
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_frame_that_is_not_sent_in_time_breaks_its_stream_alone() {
    let ca = ca();
    let [one, two] = [ca.node(1, 1), ca.node(2, 1)];
    two.register(Protocol::Snapshot, |_, _, stream: apolo::transport::Stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    introduce((&one, 1), (&two, 2));
    let mut stream = one.open(NodeId(2), Protocol::Snapshot, PATIENCE).await.unwrap();

    let chunk = vec![0; limits::SNAPSHOT_FRAME_MAX];
    let error = loop {
        if let Err(error) = stream.send(&chunk, Duration::from_millis(500)).await {
            break error;
        }
    };

    assert_eq!(error, StreamError::Late);
    assert_eq!(ask(&one, 2).await.unwrap(), "hello");
    one.stop().await;
    two.stop().await;
}
