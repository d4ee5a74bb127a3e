//! SIGTERM for all at once.

use std::time::Duration;

use tokio::time::Instant;

use super::support::Cluster;

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
