//! Finding the one cluster that there is to join.

use apolo::cluster::{Outcome, Waiting};

use super::support::{Pod, X, Y, a_minute, candidates, formed, pods};

fn joined(outcome: Outcome) -> (apolo::model::ClusterId, Vec<u64>) {
    match outcome {
        Outcome::Join { cluster, peers } => {
            (cluster, peers.into_iter().map(|(node, _)| node.0).collect())
        }
        Outcome::Formed { .. } => panic!("it formed a cluster"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_node_finds_the_members_with_the_same_command_line() {
    let mut pods = pods(4, 3);
    pods[..3].iter_mut().for_each(|pod| pod.peers = candidates(&[1, 2, 3]));
    let nodes: Vec<_> = pods[..3].iter().map(Pod::start).collect();
    let mut cluster = None;
    for node in &nodes {
        cluster = Some(formed(node.outcome().await).0.cluster);
    }

    let (found, peers) = joined(pods[3].start().outcome().await);

    assert_eq!(Some(found), cluster);
    assert_eq!(peers, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn one_member_tells_of_the_others() {
    let mut pods = pods(4, 3);
    pods[..3].iter_mut().for_each(|pod| pod.peers = candidates(&[1, 2, 3]));
    pods[3].peers = candidates(&[2]);
    let nodes: Vec<_> = pods[..3].iter().map(Pod::start).collect();
    for node in &nodes {
        node.outcome().await;
    }
    let connected = |node: &super::support::Running| {
        let directory = node.directory.borrow();
        directory.as_ref().is_some_and(|directory| {
            let others = (1..=3).filter(|id| *id != node.pod.id);
            others.into_iter().all(|id| directory.address(apolo::model::NodeId(id)).is_some())
        })
    };
    super::support::until("members know each other", || nodes.iter().all(connected)).await;

    let (_, mut peers) = joined(pods[3].start().outcome().await);

    peers.sort_unstable();
    assert_eq!(peers, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lost_a_cluster_never_forms_one_and_joins_its_own() {
    let mut pods = pods(3, 3);
    pods[2].lost = Some(X);
    let nodes: Vec<_> = pods.iter().map(Pod::start).collect();

    a_minute().await;

    assert!(matches!(*nodes[0].waiting.borrow(), Some(Waiting::Marked { cluster: Some(X), .. })));
    assert!(matches!(*nodes[2].waiting.borrow(), Some(Waiting::OwnCluster { cluster: X, .. })));
    assert!(nodes.iter().all(|node| node.pod.store.recovered().promise.is_none()));
    let _member = nodes.into_iter().next().expect("one").kill().member_of(X);
    let third = pods[2].start();
    assert_eq!(joined(third.outcome().await).0, X);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lost_a_cluster_does_not_join_another() {
    let mut pods = pods(2, 1);
    pods[1].lost = Some(X);
    let _member = pods[0].clone().member_of(Y);
    let two = pods[1].start();

    a_minute().await;

    assert!(two.is_seeking());
    let waiting = Waiting::OtherCluster { cluster: X, found: Y };
    assert_eq!(*two.waiting.borrow(), Some(waiting));
}

#[tokio::test(start_paused = true)]
async fn between_two_clusters_an_empty_node_waits_and_names_both() {
    let pods = pods(3, 3);
    let _members = [pods[0].clone().member_of(X), pods[1].clone().member_of(Y)];
    let three = pods[2].start();

    let waiting = three.waits(|waiting| matches!(waiting, Waiting::Clusters { .. })).await;
    a_minute().await;

    let said = waiting.to_string();
    assert!(said.contains(&X.to_string()) && said.contains(&Y.to_string()), "{said}");
    assert!(three.is_seeking());
}
