//! `apolo transfer-leader`.

use apolo::http::{Role, View};

use super::support::{Cluster, said, with_role};

fn owners(view: &View) -> Vec<(Option<String>, Option<String>)> {
    view.shards.iter().map(|row| (row.node.clone(), row.epoch.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leadership_goes_where_it_is_sent_and_no_shard_moves() {
    let mut cluster = Cluster::of(3, 6).await;
    let before = cluster.sees("three voters", |view| {
        with_role(view, Role::Voter).len() == 2 && with_role(view, Role::Leader).len() == 1
    });
    let before = before.await;
    let leader = before.leader.clone().expect("one leads");
    let [next, asked] = <[String; 2]>::try_from(with_role(&before, Role::Voter)).expect("two");
    let connects = cluster.discord.truth().connections.len();

    let output = cluster.apolo(cluster.index_of(&asked), &["transfer-leader", &next]).await;

    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(said(&output), format!("{next} leads; every shard stays where it is"));
    let after = cluster.sees("the next leader", |view| view.leader.as_ref() == Some(&next)).await;
    assert_eq!(owners(&after), owners(&before));

    // And back, without a wish, asked of the one that leads.
    let output = cluster.apolo(cluster.index_of(&next), &["transfer-leader"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let after = cluster
        .sees("another leader", |view| view.leader.as_ref().is_some_and(|leads| *leads != next));
    assert_eq!(owners(&after.await), owners(&before));
    let truth = cluster.discord.truth();
    assert_eq!(truth.connections.len(), connects, "nobody connected anew; {leader} led first");
    assert!(truth.connections.iter().all(|connection| connection.end.is_none()));
    assert!(truth.broken.is_empty(), "{:?}", truth.broken);
    for nth in cluster.running() {
        cluster.stop(nth).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_lead_is_named_with_the_reason() {
    let cluster = Cluster::of(2, 1).await;
    let view = cluster.whole(2).await;
    let leader = view.leader.expect("one leads");

    let already = cluster.apolo(0, &["transfer-leader", &leader]).await;
    let unknown = cluster.apolo(0, &["transfer-leader", "node-9"]).await;

    assert_eq!(already.status.code(), Some(1), "{}", said(&already));
    assert!(said(&already).contains("it leads already"), "{}", said(&already));
    assert_eq!(unknown.status.code(), Some(1), "{}", said(&unknown));
    assert!(said(&unknown).contains("there is no node \"node-9\""), "{}", said(&unknown));
}
