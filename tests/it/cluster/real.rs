//! The same over QUIC, with real disks.

use std::{net::SocketAddr, path::Path, sync::Arc};

use apolo::{
    cluster::{Candidates, Outcome, Seek, Standing},
    model::NodeId,
    store::{self, Opened},
    transport::{Identity, Options, Transport},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::transport::support::{Ca, HOUR, anywhere, ca, calm, within};

/// A joiner at `address` with an open data directory.
fn joiner(ca: &Ca, directory: &Path, address: SocketAddr) -> (Transport, Opened) {
    let opened = store::open(directory, &store::Options::default()).expect("a store");
    let identity = Identity::joiner(opened.identity.node);
    let mut options = Options::quic(address, ca.credentials(&identity, HOUR), opened.identity.boot);
    options.timings = calm();
    (Transport::start(options).expect("a transport"), opened)
}

fn seek(transport: &Transport, opened: Opened, peers: &[SocketAddr], name: &str) -> Seek {
    let standing = Standing::of(&opened.identity, &opened.recovered).expect("no log yet");
    Seek {
        transport: transport.clone(),
        store: Arc::new(opened.store),
        candidates: Candidates::new(
            peers.iter().map(|peer| peer.to_string().parse().expect("a peer")).collect(),
            None,
        ),
        expect: 3,
        name: name.to_owned(),
        standing,
        seed: None,
        waiting: watch::Sender::new(None),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_real_nodes_form_one_cluster_that_their_disks_remember() {
    let ca = ca();
    let top = tempfile::tempdir().unwrap();
    let directories = ["a", "b", "c"].map(|name| top.path().join(name));
    let started = directories.each_ref().map(|directory| joiner(&ca, directory, anywhere()));
    let peers = started.each_ref().map(|(transport, _)| transport.address());

    let mut running = Vec::new();
    let mut transports = Vec::new();
    for ((transport, opened), name) in started.into_iter().zip(["a", "b", "c"]) {
        let seek = seek(&transport, opened, &peers, name);
        running.push(tokio::spawn(seek.run(CancellationToken::new())));
        transports.push(transport);
    }
    let mut outcomes = Vec::new();
    for running in running {
        outcomes.push(within("all form", running).await.unwrap().unwrap());
    }
    for transport in transports {
        transport.stop().await;
    }

    let founders = outcomes.iter().map(|outcome| match outcome {
        Outcome::Formed { founder, .. } => *founder,
        Outcome::Join { .. } => panic!("{outcome:?}"),
    });
    assert_eq!(founders.collect::<Vec<_>>(), [true, false, false]);
    let Outcome::Formed { promise, .. } = &outcomes[0] else { panic!("{outcomes:?}") };
    for directory in &directories {
        let again = within("the store is free", async {
            tokio::task::block_in_place(|| store::open(directory, &store::Options::default()))
        });
        let again = again.await.unwrap();
        assert_eq!(again.recovered.promise.as_ref(), Some(promise));
        assert_eq!(again.identity.cluster, Some(promise.cluster));
        let standing = Standing::of(&again.identity, &again.recovered);
        assert_eq!(standing, Some(Standing::Promised(promise.clone())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_node_finds_a_real_member() {
    use std::collections::BTreeSet;

    use apolo::cluster::{Directory, directory};

    let ca = ca();
    let top = tempfile::tempdir().unwrap();
    let member = ca.node(1, 1);
    let (_members, members) = watch::channel(BTreeSet::from([NodeId(1)]));
    let options = directory::Options {
        transport: member.clone(),
        candidates: Candidates::default(),
        name: "a".to_owned(),
        members,
        promise: None,
    };
    let stop = CancellationToken::new();
    let (_directory, task) = Directory::start(options, stop.clone());
    let (transport, opened) = joiner(&ca, top.path(), anywhere());
    let peers = [transport.address(), member.address()];

    let outcome = within("it finds the member", {
        seek(&transport, opened, &peers, "b").run(CancellationToken::new())
    });
    let outcome = outcome.await.unwrap();

    let cluster = member.identity().cluster;
    let peers = vec![(NodeId(1), member.address())];
    assert_eq!(outcome, Outcome::Join { cluster, peers });
    stop.cancel();
    task.await.unwrap();
    transport.stop().await;
    member.stop().await;
}
