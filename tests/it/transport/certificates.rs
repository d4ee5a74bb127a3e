//! A certificate that is not exactly a node's of this cluster opens no stream, and each fault has its reason.

use std::time::Duration;

use apolo::{
    model::{BootEpoch, ClusterId, NodeId, UnixMillis},
    transport::{Credentials, Identity, Options, Protocol, Refusal, Transport},
};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, date_time_ymd};
use uuid::Uuid;

use super::support::{
    CLUSTER, anywhere, ask, ca, calm, connected,
    raw::{self, Pair, dns, fate, names, uri},
    server, start, until, within,
};

/// Shows `pair` to `node` and expects exactly this refusal, and no stream.
async fn refused(node: &Transport, pair: Option<Pair>, reason: Refusal) {
    let before: Vec<_> = Refusal::ALL.iter().map(|kind| node.counters().refusals(*kind)).collect();
    let endpoint = raw::client(pair, b"apolo/1");

    let error = within("the connection ends", fate(&endpoint, node.address())).await;

    assert!(!matches!(error, quinn::ConnectionError::TimedOut), "{reason:?}: {error}");
    until("it is counted", || node.counters().refusals(reason) > before[reason as usize]).await;
    for (kind, before) in Refusal::ALL.into_iter().zip(before) {
        let grown = node.counters().refusals(kind) - before;
        assert_eq!(grown, u64::from(kind == reason), "{kind:?}, and {reason:?} was expected");
    }
    assert_eq!(node.counters().served(), 0);
    assert_eq!(node.counters().connections(), 0);
}

#[tokio::test]
async fn no_certificate_is_refused() {
    let node = ca().node(1, 1);

    refused(&node, None, Refusal::NoCertificate).await;
    node.stop().await;
}

#[tokio::test]
async fn certificates_of_others_are_refused() {
    let (own, other) = (ca(), ca());
    let node = own.node(1, 1);
    let elsewhere = Identity::server(ClusterId(Uuid::from_u128(0xbad)), NodeId(2));
    let honest = names(&server(2));

    refused(&node, Some(raw::self_signed(honest.clone())), Refusal::UnknownAuthority).await;
    let foreign = raw::forge(&other.path(), honest.clone(), |_| {});
    refused(&node, Some(foreign), Refusal::UnknownAuthority).await;
    let valid_elsewhere = raw::forge(&other.path(), names(&elsewhere), |_| {});
    refused(&node, Some(valid_elsewhere), Refusal::UnknownAuthority).await;
    let same_authority = raw::forge(&own.path(), names(&elsewhere), |_| {});
    refused(&node, Some(same_authority), Refusal::OtherCluster).await;
    node.stop().await;
}

#[tokio::test]
async fn certificates_outside_their_validity_are_refused() {
    let ca = ca();
    let node = ca.node(1, 1);
    let honest = names(&server(2));
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let future = |params: &mut CertificateParams| params.not_before = date_time_ymd(2090, 1, 1);

    let pair = raw::forge(&ca.path(), honest.clone(), expired);
    refused(&node, Some(pair), Refusal::Expired).await;
    let pair = raw::forge(&ca.path(), honest.clone(), future);
    refused(&node, Some(pair), Refusal::NotYetValid).await;
    node.stop().await;
}

#[tokio::test]
async fn certificates_with_other_names_are_refused() {
    let ca = ca();
    let node = ca.node(1, 1);
    let own = server(2);
    let [uri_name, dns_name] = [uri(&own.uri()), dns(&own.dns_name())];
    let role = own.uri().replace("/server/", "/admin/");
    let upper = own.uri().to_uppercase();
    let cases = [
        (vec![], Refusal::UriMissing),
        (vec![dns_name.clone()], Refusal::UriMissing),
        (vec![uri_name.clone()], Refusal::ForeignName),
        (vec![uri_name.clone(), uri(&server(3).uri()), dns_name.clone()], Refusal::UriMany),
        (vec![uri_name.clone(), uri("https://example.com/"), dns_name.clone()], Refusal::UriMany),
        (vec![uri("spiffe://x/server/1"), dns_name.clone()], Refusal::UriMalformed),
        (vec![uri(&upper), dns_name.clone()], Refusal::UriMalformed),
        (vec![uri(&role), dns_name.clone()], Refusal::RoleUnknown),
        (vec![uri_name.clone(), dns("*.apolo")], Refusal::ForeignName),
        (vec![uri_name.clone(), dns(&server(3).dns_name())], Refusal::ForeignName),
        (vec![uri_name.clone(), dns_name.clone(), dns("*.apolo")], Refusal::ForeignName),
    ];

    for (names, reason) in cases {
        refused(&node, Some(raw::forge(&ca.path(), names, |_| {})), reason).await;
    }
    node.stop().await;
}

#[tokio::test]
async fn a_certificate_for_another_purpose_is_refused() {
    let ca = ca();
    let node = ca.node(1, 1);
    let pair = raw::forge(&ca.path(), names(&server(2)), |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });

    refused(&node, Some(pair), Refusal::OtherPurpose).await;
    node.stop().await;
}

#[tokio::test]
async fn an_honest_certificate_is_taken_beside_all_these() {
    let ca = ca();
    let node = ca.node(1, 1);
    let endpoint = raw::client(Some(raw::forge(&ca.path(), names(&server(2)), |_| {})), b"apolo/1");
    let hello = raw::hello(CLUSTER, NodeId(2), BootEpoch(1), 0);

    let greeted = raw::greeted(&endpoint, node.address(), &hello).await;

    assert!(greeted.is_ok(), "{greeted:?}");
    assert_eq!(connected(&node, 2, |_| true).await.node, NodeId(2));
    node.stop().await;
}

#[tokio::test]
async fn a_dialler_refuses_another_node_at_the_address() {
    let ca = ca();
    let [one, three] = [ca.node(1, 1), ca.node(3, 1)];

    one.peer(NodeId(2), three.address());
    until("it is refused", || one.counters().refusals(Refusal::OtherNode) > 0).await;

    assert!(one.connected().is_empty());
    assert_eq!(three.counters().served(), 0);
    one.stop().await;
    three.stop().await;
}

#[tokio::test]
async fn a_dialler_refuses_a_server_of_another_authority() {
    let (own, other) = (ca(), ca());
    let one = own.node(1, 1);
    let false_two = other.node(2, 1);

    one.peer(NodeId(2), false_two.address());
    until("it is refused", || one.counters().refusals(Refusal::UnknownAuthority) > 0).await;

    assert_eq!(false_two.counters().served(), 0);
    let meeting = one.meet(false_two.address(), Duration::from_secs(20)).await;
    assert!(meeting.is_err(), "{meeting:?}");
    one.stop().await;
    false_two.stop().await;
}

#[tokio::test]
async fn two_clusters_of_one_authority_never_meet() {
    let ca = ca();
    let one = ca.node(1, 1);
    let elsewhere = Identity::server(ClusterId(Uuid::from_u128(0xbad)), NodeId(2));
    let credentials =
        Credentials::from_authority(&ca.authority, &elsewhere, UnixMillis::now()).unwrap();
    let mut options = Options::quic(anywhere(), credentials, BootEpoch(1));
    options.timings = calm();
    let stranger = start(options);

    stranger.peer(NodeId(1), one.address());
    one.peer(NodeId(2), stranger.address());
    let meeting = stranger.meet(one.address(), Duration::from_secs(20)).await;

    assert!(meeting.is_err(), "{meeting:?}");
    until("both refuse", || {
        [&one, &stranger].iter().any(|node| node.counters().refusals(Refusal::OtherCluster) > 0)
    })
    .await;
    assert!(one.connected().is_empty() && stranger.connected().is_empty());
    assert_eq!(one.counters().served() + stranger.counters().served(), 0);
    let asked = one.request(NodeId(2), Protocol::Raft, b"x", Duration::from_millis(100)).await;
    assert!(asked.is_err());
    one.stop().await;
    stranger.stop().await;
}

#[tokio::test]
async fn a_node_id_unlike_the_certificates_is_refused_with_a_reason() {
    let ca = ca();
    let [one, three] = [ca.node(1, 1), ca.node(3, 1)];
    one.peer(NodeId(3), three.address());
    ask(&one, 3).await.unwrap();
    let served = one.counters().served();
    let pair = raw::forge(&ca.path(), names(&server(2)), |_| {});
    let endpoint = raw::client(Some(pair), b"apolo/1");

    let as_three = raw::hello(CLUSTER, NodeId(3), BootEpoch(9), 0);
    let error = raw::greeted(&endpoint, one.address(), &as_three).await.unwrap_err();

    let quinn::ConnectionError::ApplicationClosed(close) = error else { panic!("{error}") };
    assert_eq!(close.error_code.into_inner(), 5);
    let reason = String::from_utf8_lossy(&close.reason).into_owned();
    assert!(reason.contains("the hello says node 0000000000000003"), "{reason}");
    assert_eq!(connected(&one, 3, |_| true).await.boot, BootEpoch(1));
    assert_eq!(one.counters().served(), served);
    one.stop().await;
    three.stop().await;
}
