//! SIGTERM for all at once, and ends at the start.

use std::time::Duration;

use apolo::{NodeError, ShardTotal, http::View};
use tokio::time::{Instant, sleep, timeout};

use super::support::{Cluster, DEADLINE, said};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_stops_as_a_whole_waits_for_nobody() {
    let mut cluster = Cluster::of(3, 6).await;
    let began = Instant::now();

    for (nth, ended) in cluster.stop_all().await {
        assert!(ended.is_ok(), "node {nth}: {ended:?}");
    }

    // A proposal that finds no quorum takes 5 s by itself.
    assert!(began.elapsed() < Duration::from_millis(4_500), "{:?}", began.elapsed());
    cluster.start(vec![0, 1, 2]).await;
    cluster.whole(3).await;
    let truth = cluster.discord.truth();
    assert_eq!((truth.identifies_accepted, truth.resumes_refused), (6, 0));
    assert!(truth.broken.is_empty(), "{:?}", truth.broken);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_without_a_quorum_says_what_is_left_to_do() {
    let mut cluster = Cluster::of(3, 1).await;
    cluster.stop_all().await;
    let told = async {
        loop {
            let output = cluster.apolo(0, &["status"]).await;
            if said(&output).contains("its cluster has no quorum") {
                return said(&output);
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let told = tokio::select! {
        told = timeout(DEADLINE, told) => told.expect("it says so"),
        started = cluster.try_start(0) => panic!("{started:?}"),
    };

    assert!(told.contains("not ready"), "{told}");
    assert!(told.contains("apolo recover --help"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_refused_is_given_no_shards() {
    let mut cluster = Cluster::of(3, 6).await;
    let before = cluster.whole(3).await;
    let row = |view: &View| view.nodes.iter().find(|node| node.name == "node-3").cloned();
    let boot = row(&before).expect("it is known").boot;
    cluster.stop(2).await;
    cluster.places[2].config.total_shards = ShardTotal::new(9).ok();

    let refused = cluster.try_start(2).await;

    assert!(matches!(refused, Err(NodeError::Facts(_))), "{refused:?}");
    // It was there for a moment. Until it is lost, others must not give it shards that nobody would run.
    let told = |view: &View| row(view).is_some_and(|node| node.boot > boot && node.drains);
    cluster.sees("that it stops", told).await;
    for nth in cluster.running() {
        cluster.stop(nth).await;
    }
}
