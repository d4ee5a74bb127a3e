//! Leaves and authorities of nodes that hold no key change while requests go on.

use std::time::Duration;

use apolo::{
    model::{NodeId, UnixMillis},
    transport::{Kept, Renewal, Roll, Stage, renew},
};
use tokio_util::sync::CancellationToken;

use super::{Member, OFTEN, given, guest};
use crate::transport::support::{
    HOUR, ca, connected, introduce,
    load::Load,
    raw::{self, fate, forge, names},
    server, until, within,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_member_renews_the_leaf_of_one_that_has_no_key() {
    let ca = ca();
    let lifetime = Duration::from_secs(9);
    let one = Member::start(&ca).await;
    one.signs(&ca, lifetime);
    one.raft.add_learner(NodeId(2)).await.expect("a learner");
    let directory = tempfile::tempdir().expect("a directory");
    let (two, credentials, renewing) = guest(given(&ca, 2, lifetime), directory.path());
    let (first, stop) = (credentials.validity(), CancellationToken::new());
    introduce((&one.transport, 1), (&two, 2));
    connected(&one.transport, 2, |_| true).await;
    let load = Load::between((&one.transport, 1), (&two, 2));
    let task = tokio::spawn(renewing.run(stop.clone()));

    until("the first leaf is over", || UnixMillis::now() > first.1).await;
    load.end().await;
    // The next leaf must not come between the two looks.
    stop.cancel();
    task.await.expect("it ends");

    let kept = Kept::load(directory.path()).expect("readable").expect("it is kept");
    assert_eq!(kept.credentials().expect("a leaf").validity(), credentials.validity());
    assert!(credentials.validity().1 > first.1);
    two.stop().await;
    one.stop().await;
}

/// What ends a removed node's certificate: nobody signs the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_no_member_gets_no_new_leaf_and_is_cut_off_when_its_own_ends() {
    let ca = ca();
    let one = Member::start(&ca).await;
    one.signs(&ca, HOUR);
    let directory = tempfile::tempdir().expect("a directory");
    let (two, credentials, renewing) =
        guest(given(&ca, 2, Duration::from_secs(5)), directory.path());
    let (first, stop) = (credentials.validity(), CancellationToken::new());
    two.peer(NodeId(1), one.transport.address());
    connected(&one.transport, 2, |_| true).await;
    let task = tokio::spawn(renewing.run(stop.clone()));

    until("it is cut off", || one.transport.connected().is_empty()).await;

    assert!(UnixMillis::now() >= first.1);
    assert_eq!(credentials.validity(), first);
    assert!(Kept::load(directory.path()).expect("readable").is_none());
    stop.cancel();
    task.await.expect("it ends");
    two.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_is_rolled_under_load_by_nodes_with_the_key_and_without() {
    let ca = ca();
    let one = Member::start(&ca).await;
    one.signs(&ca, HOUR);
    one.raft.add_learner(NodeId(2)).await.expect("a learner");
    let directory = tempfile::tempdir().expect("a directory");
    let (two, credentials, renewing) = guest(given(&ca, 2, HOUR), directory.path());
    let (stop, old) = (CancellationToken::new(), ca.authority.pin());
    let renewal = Renewal { directory: ca.path(), lifetime: HOUR, check_every: OFTEN };
    let tasks = [
        tokio::spawn(renew(renewal, one.credentials.clone(), stop.clone())),
        tokio::spawn(renewing.run(stop.clone())),
    ];
    introduce((&one.transport, 1), (&two, 2));
    connected(&one.transport, 2, |_| true).await;
    let load = Load::between((&one.transport, 1), (&two, 2));
    let trusted = || {
        let kept = Kept::load(directory.path()).expect("readable");
        kept.map_or(1, |kept| kept.authorities().len())
    };
    let step = |expected| {
        let now = UnixMillis::now();
        let roll = Roll::look(&ca.path(), now).and_then(|roll| roll.step(&ca.path(), now));
        assert_eq!(roll.expect("a step").stage, expected);
    };

    step(Stage::Both);
    until("the one without the key trusts both", || trusted() == 2).await;
    load.goes_on().await;
    assert_eq!([&one.credentials, &credentials].map(|own| own.pin()), [Some(old); 2]);

    step(Stage::Switched);
    let switched = || [&one.credentials, &credentials].iter().all(|own| own.pin() != Some(old));
    until("both have leaves of the new one", switched).await;
    // What a day is for between the last two steps: connections that showed the old leaves are replaced.
    let mut seen = one.transport.watch(NodeId(2)).expect("it was named");
    seen.mark_unchanged();
    one.transport.refresh(NodeId(2));
    until("a new connection has taken over", || {
        let single = [&one.transport, &two].iter().all(|own| own.counters().connections() == 1);
        single && seen.has_changed().unwrap_or(false)
    })
    .await;
    load.goes_on().await;

    let late = forge(&ca.path(), names(&server(3)), |_| {});
    step(Stage::Single);
    until("the old one is trusted no more", || trusted() == 1).await;
    load.end().await;
    let endpoint = raw::client(Some(late), b"apolo/1");
    let connected = endpoint.connect(one.transport.address(), "meet.apolo").expect("a name");
    assert!(within("the new one's leaf is good", connected.into_future()).await.is_ok());

    assert!(one.raft.is_leader());
    stop.cancel();
    for task in tasks {
        task.await.expect("it ends");
    }
    two.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_last_step_a_leaf_of_the_old_authority_is_refused() {
    let ca = ca();
    let stolen = forge(&ca.path(), names(&server(3)), |_| {});
    let now = UnixMillis::now();
    let mut roll = Roll::look(&ca.path(), now).expect("an authority");
    for _ in 0..3 {
        roll = roll.step(&ca.path(), now).expect("a step");
    }
    let one = Member::start(&ca).await;
    let stop = CancellationToken::new();
    let renewal = Renewal { directory: ca.path(), lifetime: HOUR, check_every: OFTEN };
    let task = tokio::spawn(renew(renewal, one.credentials.clone(), stop.clone()));
    let old = ca.authority.pin();
    until("its leaf is a new one", || one.credentials.pin() != Some(old)).await;

    let endpoint = raw::client(Some(stolen), b"apolo/1");
    let error = within("it is refused", fate(&endpoint, one.transport.address())).await;

    assert!(!matches!(error, quinn::ConnectionError::LocallyClosed), "{error}");
    assert_eq!(one.transport.counters().served(), 0);
    stop.cancel();
    task.await.expect("it ends");
    one.stop().await;
}
