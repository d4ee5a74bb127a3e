//! A certificate's end ends its connections, though TLS looks at it only once.

use std::time::Duration;

use apolo::{
    model::{BootEpoch, NodeId, UnixMillis},
    transport::{Options, Refusal},
};

use super::support::{
    CLUSTER, anywhere, ask, ca, calm, connected,
    raw::{self, names},
    server, start, until, within,
};

#[tokio::test]
async fn a_live_connection_is_closed_within_a_second_of_its_certificates_end() {
    let ca = ca();
    let one = ca.node(1, 1);
    let lifetime = Duration::from_secs(8);
    let ends = UnixMillis::now().plus(lifetime);
    let credentials = ca.credentials(&server(2), lifetime);
    // A certificate counts whole seconds.
    assert!(ends.since(credentials.validity().1) < Duration::from_secs(1));
    let ends = credentials.validity().1;
    let mut options = Options::quic(anywhere(), credentials, BootEpoch(1));
    options.timings = calm();
    let two = start(options);
    two.peer(NodeId(1), one.address());
    connected(&one, 2, |_| true).await;
    ask(&two, 1).await.unwrap();

    until("the connection is closed", || one.connected().is_empty()).await;
    let closed = UnixMillis::now();

    assert!(closed >= ends, "{closed:?} and {ends:?}");
    // One second is the promise; the rest is for a machine that builds something else meanwhile.
    assert!(closed.since(ends) < Duration::from_secs(5), "{:?}", closed.since(ends));
    until("it is refused", || one.counters().refusals(Refusal::Expired) > 0).await;
    assert!(one.connected().is_empty());
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_peer_that_does_not_watch_its_own_end_is_closed_all_the_same() {
    let ca = ca();
    let one = ca.node(1, 1);
    let pair = raw::forge(&ca.path(), names(&server(2)), |params| {
        params.not_after =
            params.not_before.max(time::OffsetDateTime::now_utc()) + Duration::from_secs(6);
    });
    let endpoint = raw::client(Some(pair), b"apolo/1");
    let hello = raw::hello(CLUSTER, NodeId(2), BootEpoch(1), 0);
    let connection = raw::greeted(&endpoint, one.address(), &hello).await.unwrap();

    let error = within("it is closed", connection.closed()).await;

    let quinn::ConnectionError::ApplicationClosed(close) = error else { panic!("{error}") };
    assert_eq!(close.error_code.into_inner(), 7);
    assert_eq!(&close.reason[..], b"the certificate has ended");
    one.stop().await;
}
