//! A node that is no member yet: it may ask to join, and nothing else.

use std::time::Duration;

use apolo::{
    model::{BootEpoch, ClusterId, NodeId},
    transport::{Identity, Options, Protocol, Role, Transport, TransportError},
};
use uuid::Uuid;

use super::support::{CLUSTER, HOUR, PATIENCE, anywhere, ca, calm, raw, server, start};

fn joiner(ca: &super::support::Ca, node: u64) -> Transport {
    let credentials = ca.credentials(&Identity::joiner(NodeId(node)), HOUR);
    let mut options = Options::quic(anywhere(), credentials, BootEpoch(1));
    options.timings = calm();
    start(options)
}

#[tokio::test]
async fn a_joiner_learns_who_is_at_an_address_and_asks_to_join() {
    let ca = ca();
    let (one, new) = (ca.node(1, 1), joiner(&ca, 9));

    let meeting = new.meet(one.address(), PATIENCE).await.unwrap();

    assert_eq!(meeting.identity(), server(1));
    assert_eq!(meeting.peer().boot, BootEpoch(1));
    assert_eq!(meeting.ask(b"may I", PATIENCE).await.unwrap(), "may I");
    assert!(one.connected().is_empty(), "a joiner is no peer");
    one.stop().await;
    new.stop().await;
}

#[tokio::test]
async fn two_joiners_meet() {
    let ca = ca();
    let [one, two] = [joiner(&ca, 1), joiner(&ca, 2)];

    let meeting = one.meet(two.address(), PATIENCE).await.unwrap();

    assert_eq!(meeting.peer().role, Role::Joiner);
    assert_eq!(meeting.ask(b"are you empty?", PATIENCE).await.unwrap(), "are you empty?");
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_node_that_meets_itself_is_told_so() {
    let ca = ca();
    let one = ca.node(1, 1);

    let error = one.meet(one.address(), PATIENCE).await.unwrap_err();

    assert!(error.to_string().contains("dialled itself"), "{error}");
    one.stop().await;
}

#[tokio::test]
async fn a_joiner_does_not_even_ask_for_what_is_not_its_business() {
    let ca = ca();
    let new = joiner(&ca, 9);

    let error = new.request(NodeId(1), Protocol::Raft, b"vote", Duration::from_secs(1)).await;

    assert!(matches!(error, Err(TransportError::NotAllowed { .. })), "{error:?}");
    new.stop().await;
}

/// The shape of Consul's CVE-2021-37219: a valid certificate of the same authority, in the wrong role.
#[tokio::test]
async fn a_joiner_that_opens_other_streams_is_refused_each_of_them() {
    let ca = ca();
    let one = ca.node(1, 1);
    let identity = Identity::joiner(NodeId(9));
    let endpoint =
        raw::client(Some(raw::forge(&ca.path(), raw::names(&identity), |_| {})), b"apolo/1");
    let meet = raw::hello(identity.cluster, NodeId(9), BootEpoch(1), 1);
    let connection = raw::greeted(&endpoint, one.address(), &meet).await.unwrap();

    for byte in 0..=u8::MAX {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&[byte, 0, 0, 0, 1, 42]).await.unwrap();
        let answer = receive.read_to_end(64).await;

        if byte == Protocol::Join as u8 {
            assert_eq!(answer.unwrap(), [0, 0, 0, 1, 42]);
            continue;
        }
        let code = match answer {
            Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(code))) => code.into_inner(),
            other => panic!("{byte}: {other:?}"),
        };
        let known = Protocol::ALL.iter().any(|protocol| *protocol as u8 == byte);
        assert_eq!(code, if known { 1 } else { 2 }, "{byte}");
    }
    assert_eq!(one.counters().served(), 1);
    one.stop().await;
}

#[tokio::test]
async fn a_joiner_that_calls_itself_a_peer_is_refused() {
    let ca = ca();
    let one = ca.node(1, 1);
    let identity = Identity::joiner(NodeId(9));
    let endpoint =
        raw::client(Some(raw::forge(&ca.path(), raw::names(&identity), |_| {})), b"apolo/1");

    for (cluster, code) in [(ClusterId(Uuid::nil()), 9), (CLUSTER, 4)] {
        let hello = raw::hello(cluster, NodeId(9), BootEpoch(1), 0);
        let error = raw::greeted(&endpoint, one.address(), &hello).await.unwrap_err();

        let quinn::ConnectionError::ApplicationClosed(close) = error else { panic!("{error}") };
        assert_eq!(close.error_code.into_inner(), code);
    }
    assert!(one.connected().is_empty());
    one.stop().await;
}
