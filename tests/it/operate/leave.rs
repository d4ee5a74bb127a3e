//! `apolo leave`.

use apolo::{NodeError, http::Role, store::OpenError};

use super::support::{Cluster, said, with_role};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_leaves_gives_all_away_and_its_directory_says_so() {
    let mut cluster = Cluster::of(3, 6).await;
    let view = cluster.whole(3).await;
    let leader = cluster.index_of(&view.leader.expect("one leads"));
    let name = cluster.places[leader].name.clone();

    let left = cluster.apolo(leader, &["leave"]).await;

    assert_eq!(left.status.code(), Some(0), "{}", said(&left));
    assert!(said(&left).ends_with("it has left"), "{}", said(&left));
    cluster.ended(leader).await.expect("it ends with status 0");
    let view = cluster.whole(2).await;
    assert!(view.nodes.iter().all(|node| node.name != name), "{:?}", view.nodes);
    assert_eq!(with_role(&view, Role::Voter).len() + with_role(&view, Role::Leader).len(), 2);
    let truth = cluster.discord.truth();
    assert_eq!((truth.identifies_accepted, truth.resumes_refused), (6, 0));
    assert!(truth.broken.is_empty(), "{:?}", truth.broken);

    let again = cluster.try_start(leader).await;
    let Err(NodeError::Store(error @ OpenError::Left { .. })) = again else { panic!("{again:?}") };
    assert!(error.to_string().contains("join again as a new node"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_become_one_which_stays() {
    let mut cluster = Cluster::of(2, 2).await;

    let left = cluster.apolo(1, &["leave"]).await;
    assert_eq!(left.status.code(), Some(0), "{}", said(&left));
    cluster.ended(1).await.expect("it ends with status 0");
    cluster.whole(1).await;
    let last = cluster.apolo(0, &["leave"]).await;

    assert_eq!(last.status.code(), Some(1), "{}", said(&last));
    assert!(said(&last).contains("does not leave"), "{}", said(&last));
    // A stop is none: the next start is the same member.
    let id = cluster.places[0].id;
    cluster.stop(0).await;
    cluster.start(vec![0]).await;
    assert_eq!(cluster.places[0].id, id);
    cluster.whole(1).await;
}
