//! Joiners that have no certificate: they get one answer, and nothing else; and tell nobody else what they know.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use apolo::{
    model::{BootEpoch, NodeId, UnixMillis},
    transport::{
        Authority, Credentials, Doorstep, Identity, KnockError, Leaf, Options, Pin, Porter,
        Protocol, Refusal, StreamError, Transport, door,
    },
};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use quinn::{ConnectionError, ConnectionId, Endpoint};

use super::support::{
    Ca, HOUR, PATIENCE, anywhere, ca, calm,
    raw::{self, names},
    server, until, within,
};

/// Answers with what it was asked, and notes it.
#[derive(Clone, Default)]
struct Echo(Arc<Mutex<Vec<Bytes>>>);

impl Porter for Echo {
    fn answer(&self, _source: IpAddr, request: Bytes) -> BoxFuture<'static, Bytes> {
        self.0.lock().expect("no panic").push(request.clone());
        async move { request }.boxed()
    }
}

impl Echo {
    fn heard(&self) -> Vec<Bytes> {
        self.0.lock().expect("no panic").clone()
    }
}

/// A member whose door is open.
fn member(ca: &Ca, node: u64) -> (Transport, Echo) {
    let echo = Echo::default();
    let transport = ca.node(node, 1);
    transport.open_door(echo.clone());
    (transport, echo)
}

/// A client without a certificate whose first packet says that it is a joiner's.
fn knocking(alpn: &[u8]) -> Endpoint {
    let mut endpoint = raw::client(None, alpn);
    let mut config = raw::config(None, alpn);
    config.initial_dst_cid_provider(Arc::new(|| {
        let mut id = *b"apolo-join0123456789";
        rand::fill(&mut id[10..]);
        ConnectionId::new(&id)
    }));
    endpoint.set_default_client_config(config);
    endpoint
}

async fn knock(endpoint: &Endpoint, to: SocketAddr) -> Result<quinn::Connection, ConnectionError> {
    within("it ends", endpoint.connect(to, "meet.apolo").expect("a name").into_future()).await
}

#[tokio::test]
async fn a_joiner_that_knows_the_authoritys_key_is_answered_by_a_member() {
    let ca = ca();
    let (one, echo) = member(&ca, 1);

    let doorstep = Doorstep::at(one.address(), ca.authority.pin(), PATIENCE).await.unwrap();
    assert_eq!(doorstep.member(), &server(1));
    assert_eq!(doorstep.authority(), ca.authority.certificate());
    assert!(echo.heard().is_empty(), "nothing is sent before the member has proven itself");
    let answer = doorstep.ask(b"may I", PATIENCE).await.unwrap();

    assert_eq!(answer, "may I");
    assert_eq!(echo.heard(), ["may I"]);
    assert_eq!(one.counters().served(), 0);
    one.stop().await;
}

#[tokio::test]
async fn a_door_without_a_porter_is_shut() {
    let ca = ca();
    let one = ca.node(1, 1);

    let error = Doorstep::at(one.address(), ca.authority.pin(), PATIENCE).await.unwrap_err();

    assert!(matches!(error, KnockError::Shut(_)), "{error}");
    one.stop().await;
}

/// Whoever has no certificate finds one way in, and it has to take it as it is.
#[tokio::test]
async fn without_a_certificate_there_is_no_other_way_in() {
    let ca = ca();
    let (one, echo) = member(&ca, 1);

    for (endpoint, expected) in [
        (knocking(b"apolo/1"), "any known protocol"),
        (knocking(b"h3"), "any known protocol"),
        (raw::client(None, b"apolo-join/1"), "any known protocol"),
    ] {
        let error = knock(&endpoint, one.address()).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = within("it ends", raw::fate(&raw::client(None, b"apolo/1"), one.address())).await;
    assert!(error.to_string().contains("sent no certificates"), "{error}");

    assert!(echo.heard().is_empty());
    assert_eq!((one.counters().served(), one.counters().connections()), (0, 0));
    one.stop().await;
}

#[tokio::test]
async fn what_a_member_may_ask_reaches_the_porter_or_nobody() {
    let ca = ca();
    let (one, echo) = member(&ca, 1);
    let hello = raw::hello(server(2).cluster, NodeId(2), BootEpoch(1), 0);
    let mut requests = vec![hello];
    requests.extend(Protocol::ALL.map(|protocol| vec![protocol as u8, 0, 0, 0, 1, 42]));

    for request in requests {
        let endpoint = knocking(b"apolo-join/1");
        let connection = knock(&endpoint, one.address()).await.unwrap();
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&request).await.unwrap();
        let _ = send.finish();
        let _whatever = within("it ends", receive.read_to_end(door::ANSWER_MAX)).await;

        let second = tokio::time::timeout(Duration::from_millis(20), connection.open_bi()).await;
        assert!(!matches!(second, Ok(Ok(_))), "one stream, and no second one");
        connection.close(0_u32.into(), b"");
    }

    assert_eq!((one.counters().served(), one.counters().connections()), (0, 0));
    assert!(one.connected().is_empty());
    assert!(echo.heard().iter().all(|heard| heard.len() < 8), "{:?}", echo.heard());
    one.stop().await;
}

#[tokio::test]
async fn a_joiner_has_one_stream_whose_request_is_short() {
    let ca = ca();
    let (one, echo) = member(&ca, 1);
    for length in [u32::MAX, u32::try_from(door::REQUEST_MAX).unwrap() + 1] {
        let endpoint = knocking(b"apolo-join/1");
        let connection = knock(&endpoint, one.address()).await.unwrap();
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(&length.to_be_bytes()).await.unwrap();

        within("it is closed", connection.closed()).await;
    }
    let endpoint = knocking(b"apolo-join/1");
    let connection = knock(&endpoint, one.address()).await.unwrap();
    let mut opened = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(50), connection.open_bi()).await
    {
        opened.push(stream.unwrap());
    }

    assert_eq!(opened.len(), 1);
    assert!(connection.open_uni().now_or_never().is_none());
    assert!(echo.heard().is_empty());
    one.stop().await;
}

/// Half of the places are taken by those that say nothing, until their time is over.
#[tokio::test]
async fn joiners_that_say_nothing_keep_nobody_out_for_long() {
    let ca = ca();
    let (one, _echo) = member(&ca, 1);
    let endpoint = knocking(b"apolo-join/1");
    let mut silent = Vec::new();
    let refused = loop {
        match knock(&endpoint, one.address()).await {
            Ok(connection) => silent.push(connection),
            Err(error) => break error,
        }
        assert!(silent.len() <= 64, "joiners are not bounded");
    };
    assert!(refused.to_string().contains("refused"), "{refused}");
    assert_eq!(one.counters().refusals(Refusal::TooMany), 1);
    let two = ca.node(2, 1);
    two.peer(NodeId(1), one.address());
    assert_eq!(super::support::ask(&two, 1).await.unwrap(), "hello", "peers have their own places");

    let first = within("it is closed", silent[0].closed()).await;

    assert!(!matches!(first, ConnectionError::LocallyClosed), "{first}");
    let answered = async {
        loop {
            let met = Doorstep::at(one.address(), ca.authority.pin(), PATIENCE).await;
            if let Ok(doorstep) = met {
                return doorstep.ask(b"may I", PATIENCE).await;
            }
        }
    };
    assert_eq!(within("it is let in", answered).await.unwrap(), "may I");
    one.stop().await;
    two.stop().await;
}

/// A node of an authority of its own, at an address where a member should be.
fn impostor(leaf: Leaf, ca: &Ca) -> (Transport, Echo) {
    let credentials = Credentials::new(leaf, ca.authority.roots().expect("roots")).expect("a leaf");
    let mut options = Options::quic(anywhere(), credentials, BootEpoch(1));
    options.timings = calm();
    let (transport, echo) = (super::support::start(options), Echo::default());
    transport.open_door(echo.clone());
    (transport, echo)
}

fn minted(ca: &Ca, identity: &Identity, lifetime: Duration, now: UnixMillis) -> Leaf {
    ca.authority.mint(identity, lifetime, now).expect("a leaf")
}

#[tokio::test]
async fn a_joiner_tells_a_false_member_nothing() {
    let (real, false_one) = (ca(), ca());
    let now = UnixMillis::now();
    let real_authority = real.authority.certificate().clone();
    let long_ago = UnixMillis(now.0 - 7_200_000);
    let forged = |identity: &Identity| {
        let (leaf, key) = raw::forge(&false_one.path(), names(identity), |_| {});
        Leaf::new(vec![leaf], key).signed_by(real_authority.clone())
    };
    let cases = [
        (minted(&false_one, &server(1), HOUR, now), Refusal::UnknownAuthority),
        // It has read the real authority's certificate, as anybody can who knocks.
        (forged(&server(1)), Refusal::UnknownAuthority),
        (minted(&real, &Identity::joiner(NodeId(1)), HOUR, now), Refusal::RoleNotAllowed),
        (minted(&real, &server(1), HOUR, long_ago), Refusal::Expired),
    ];

    for (leaf, expected) in cases {
        let (one, echo) = impostor(leaf, &false_one);

        let error = Doorstep::at(one.address(), real.authority.pin(), PATIENCE).await.unwrap_err();

        assert!(matches!(error, KnockError::Foreign(found) if found == expected), "{error}");
        one.stop().await;
        assert!(echo.heard().is_empty(), "{expected}");
    }
}

#[tokio::test]
async fn a_joiner_knows_the_new_authority_by_a_new_token_alone() {
    let (old, new) = (ca(), ca());
    let (one, _echo) = member(&new, 1);

    let error = Doorstep::at(one.address(), old.authority.pin(), PATIENCE).await.unwrap_err();

    assert!(matches!(error, KnockError::Foreign(Refusal::UnknownAuthority)), "{error}");
    assert_ne!(old.authority.pin(), new.authority.pin());
    let again = Authority::load(&new.path(), UnixMillis::now()).unwrap();
    assert_eq!(again.pin(), new.authority.pin());
    one.stop().await;
}

#[tokio::test]
async fn nobody_at_the_address_is_silence() {
    let unused = std::net::UdpSocket::bind(anywhere()).unwrap();

    let wait = Duration::from_millis(100);
    let met = Doorstep::at(unused.local_addr().unwrap(), Pin([0; 32]), wait).await;

    assert!(matches!(met, Err(KnockError::Silent)), "{met:?}");
}

#[tokio::test]
async fn a_request_that_is_too_long_is_not_sent() {
    let ca = ca();
    let (one, echo) = member(&ca, 1);
    let doorstep = Doorstep::at(one.address(), ca.authority.pin(), PATIENCE).await.unwrap();

    let error = doorstep.ask(&vec![0; door::REQUEST_MAX + 1], PATIENCE).await.unwrap_err();

    assert!(matches!(error, KnockError::Unanswered(StreamError::TooLarge { .. })), "{error}");
    until("it is gone", || one.half_open() == 0).await;
    assert!(echo.heard().is_empty());
    one.stop().await;
}
