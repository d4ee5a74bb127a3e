//! Leaves and authorities change while requests go on, and none is lost.

use std::{fs, sync::Arc, time::Duration};

use apolo::{
    model::{BootEpoch, NodeId, UnixMillis},
    transport::{Authority, Credentials, Options, Peer, Refusal, Renewal, Transport, renew},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::support::{
    Ca, HOUR, anywhere, ca, calm, connected, introduce,
    load::Load,
    raw::{self, fate, forge, names},
    server, start, until, within,
};

/// A node whose credentials the test can change.
struct Node {
    transport: Transport,
    credentials: Arc<Credentials>,
}

fn node(ca: &Ca, id: u64) -> Node {
    let credentials = ca.credentials(&server(id), HOUR);
    let mut options = Options::quic(anywhere(), credentials.clone(), BootEpoch(1));
    options.timings = calm();
    options.timings.refresh_spread = Duration::from_millis(50);
    Node { transport: start(options), credentials }
}

/// How things were before a leaf was renewed.
struct Before {
    dials: u64,
    peers: [watch::Receiver<Option<Peer>>; 2],
}

impl Before {
    fn now([one, two]: [&Node; 2]) -> Self {
        let mut peers = [one.transport.watch(NodeId(2)), two.transport.watch(NodeId(1))]
            .map(|peer| peer.expect("it was named"));
        peers.iter_mut().for_each(watch::Receiver::mark_unchanged);
        Self { dials: dials([one, two]), peers }
    }
}

/// A connection that was made since is in use, and no other is left. On a busy machine a dial may have been under way
/// before, and end after the renewal with the new leaf already.
async fn renewed(nodes: [&Node; 2], before: Before) {
    until("new connections have taken over", || {
        let replaced = before.peers.iter().any(|peer| peer.has_changed().unwrap_or(false));
        let single = nodes.iter().all(|node| node.transport.counters().connections() == 1);
        (dials(nodes) > before.dials || replaced) && single
    })
    .await;
}

fn dials(nodes: [&Node; 2]) -> u64 {
    nodes.iter().map(|node| node.transport.counters().dials()).sum()
}

#[tokio::test]
async fn a_renewed_leaf_takes_over_without_a_lost_request() {
    let ca = ca();
    let [one, two] = [node(&ca, 1), node(&ca, 2)];
    introduce((&one.transport, 1), (&two.transport, 2));
    connected(&one.transport, 2, |_| true).await;
    let load = Load::between((&one.transport, 1), (&two.transport, 2));

    for round in 1..=3_u32 {
        for (node, id) in [(&one, 1), (&two, 2)] {
            let before = Before::now([&one, &two]);
            let lifetime = HOUR + Duration::from_secs(60) * round;
            let leaf = ca.authority.mint(&server(id), lifetime, UnixMillis::now()).unwrap();
            node.credentials.install(leaf).unwrap();
            load.goes_on().await;
            renewed([&one, &two], before).await;
        }
    }

    load.end().await;
    one.transport.stop().await;
    two.transport.stop().await;
}

#[tokio::test]
async fn an_authority_is_replaced_in_three_steps_without_a_lost_request() {
    let (old, new) = (ca(), ca());
    let [one, two] = [node(&old, 1), node(&old, 2)];
    introduce((&one.transport, 1), (&two.transport, 2));
    connected(&one.transport, 2, |_| true).await;
    let load = Load::between((&one.transport, 1), (&two.transport, 2));
    let both = both_trusted(&old, &new);

    for node in [&one, &two] {
        node.credentials.trust(both.roots().unwrap()).unwrap();
        load.goes_on().await;
    }
    for (node, id) in [(&one, 1), (&two, 2)] {
        let before = Before::now([&one, &two]);
        let leaf = new.authority.mint(&server(id), HOUR, UnixMillis::now()).unwrap();
        node.credentials.install(leaf).unwrap();
        renewed([&one, &two], before).await;
        load.goes_on().await;
    }
    for node in [&one, &two] {
        node.credentials.trust(new.authority.roots().unwrap()).unwrap();
        load.goes_on().await;
    }

    load.end().await;
    let late = raw::client(Some(forge(&old.path(), names(&server(3)), |_| {})), b"apolo/1");
    within("the old authority's leaf is refused", fate(&late, one.transport.address())).await;
    let refusals = one.transport.counters().refusals(Refusal::UnknownAuthority);
    assert_eq!(refusals, 1);
    for node in [one, two] {
        node.transport.stop().await;
    }
}

/// An authority that signs with the old key and trusts both.
fn both_trusted(old: &Ca, new: &Ca) -> Authority {
    let directory = old.directory.path().join("both");
    fs::create_dir(&directory).expect("the files are there");
    let read = |ca: &Ca| fs::read_to_string(ca.path().join("ca.crt")).expect("the files are there");
    fs::write(directory.join("ca.crt"), read(old) + &read(new)).expect("the files are there");
    fs::copy(old.path().join("ca.key"), directory.join("ca.key")).expect("the files are there");
    Authority::load(&directory, UnixMillis::now()).expect("the files are there")
}

#[tokio::test]
async fn a_peer_whose_authority_is_dropped_is_disconnected() {
    let (old, new) = (ca(), ca());
    let [one, two] = [node(&old, 1), node(&old, 2)];
    introduce((&one.transport, 1), (&two.transport, 2));
    connected(&one.transport, 2, |_| true).await;

    one.credentials.trust(new.authority.roots().unwrap()).unwrap();

    until("it is disconnected", || one.transport.connected().is_empty()).await;
    one.transport.stop().await;
    two.transport.stop().await;
}

#[tokio::test]
async fn the_leaf_follows_the_authoritys_directory_and_survives_a_wrong_one() {
    let (own, other) = (ca(), ca());
    let credentials = own.credentials(&server(1), HOUR);
    let mut renewal = Renewal::new(own.path());
    (renewal.lifetime, renewal.check_every) = (HOUR * 2, Duration::from_millis(20));
    let stop = CancellationToken::new();
    let task = tokio::spawn(renew(renewal, credentials.clone(), stop.clone()));
    let first = credentials.validity();
    until("the first look renews", || credentials.validity() != first).await;

    let key = own.path().join("ca.key");
    let good = fs::read(&key).unwrap();
    fs::copy(other.path().join("ca.key"), &key).unwrap();
    let second = credentials.validity();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(credentials.validity(), second, "a certificate without its key changes nothing");

    fs::write(&key, good).unwrap();
    let bundle = own.path().join("ca.crt");
    let both = fs::read_to_string(other.path().join("ca.crt")).unwrap()
        + &fs::read_to_string(&bundle).unwrap();
    // A certificate counts whole seconds: without this the new leaf could look like the old one.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    fs::write(&bundle, both).unwrap();
    until("a new bundle is taken", || credentials.validity() != second).await;

    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn short_leaves_are_renewed_again_and_again_without_a_lost_request() {
    let ca = ca();
    let stop = CancellationToken::new();
    let lifetime = Duration::from_secs(12);
    let nodes = [1, 2].map(|id| {
        let credentials = ca.credentials(&server(id), lifetime);
        let mut options = Options::quic(anywhere(), credentials.clone(), BootEpoch(1));
        options.timings = calm();
        options.timings.refresh_spread = Duration::from_millis(100);
        let renewal =
            Renewal { directory: ca.path(), lifetime, check_every: Duration::from_millis(500) };
        tokio::spawn(renew(renewal, credentials.clone(), stop.clone()));
        Node { transport: start(options), credentials }
    });
    let [one, two] = &nodes;
    introduce((&one.transport, 1), (&two.transport, 2));
    connected(&one.transport, 2, |_| true).await;
    let load = Load::between((&one.transport, 1), (&two.transport, 2));
    let first_ends = one.credentials.validity().1.max(two.credentials.validity().1);

    until("the first leaves are over", || UnixMillis::now() > first_ends).await;

    load.end().await;
    stop.cancel();
    for node in nodes {
        node.transport.stop().await;
    }
}
