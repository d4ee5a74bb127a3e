//! `apolo remove`.

use apolo::NodeError;

use super::support::{Cluster, said};

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_is_forgotten_and_told_so_if_it_comes_back() {
    let mut cluster = Cluster::of(3, 3).await;
    let present = cluster.apolo(0, &["remove", "node-3"]).await;
    assert_eq!(present.status.code(), Some(1), "{}", said(&present));
    assert!(said(&present).contains("apolo leave"), "{}", said(&present));

    cluster.stop(2).await;
    cluster
        .sees("it is lost", |view| view.nodes.iter().any(|it| it.name == "node-3" && it.lost))
        .await;
    let removed = cluster.apolo(0, &["remove", "node-3"]).await;

    assert_eq!(removed.status.code(), Some(0), "{}", said(&removed));
    assert!(said(&removed).starts_with("node-3 is removed for good"), "{}", said(&removed));
    let view = cluster.whole(2).await;
    assert!(view.nodes.iter().all(|node| node.name != "node-3"), "{:?}", view.nodes);
    let back = cluster.try_start(2).await;
    assert!(matches!(back, Err(NodeError::Removed)), "{back:?}");

    // With an empty directory it is a new node.
    std::fs::remove_dir_all(cluster.data_dir(2)).expect("it was let go of");
    cluster.start(vec![2]).await;
    let view = cluster.whole(3).await;
    assert!(view.nodes.iter().any(|node| node.name == "node-3" && !node.lost));
}
