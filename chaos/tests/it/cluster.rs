use apolo_chaos::clusters::{ClusterOptions, cluster_kills};

/// Ten kills of three nodes under 2,000 events a second; the full demand is `apolo-chaos cluster-kills`.
#[tokio::test(flavor = "multi_thread")]
async fn killed_nodes_lose_nothing_and_the_others_resume_their_shards() {
    let _alone = crate::MACHINE.lock().await;
    let options = ClusterOptions {
        program: env!("CARGO_BIN_EXE_apolo-chaos").into(),
        nodes: 3,
        kills: 10,
        shards: 24,
        guilds: 2_400,
        event_rate: 2_000.0,
    };

    let report = cluster_kills(&options, |_| ()).await.unwrap();

    assert!(report.holds() && report.audit.sent > 10_000, "{report}");
}
