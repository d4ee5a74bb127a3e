use apolo_chaos::kills::{KillOptions, KillReport, kills};
use std::time::Duration;

/// Ten kills under 5,000 events a second, over 16 shards with 40,000 guilds.
async fn ten_kills(trim_at_heartbeat: bool, heartbeat: Duration) -> KillReport {
    let options = KillOptions {
        program: env!("CARGO_BIN_EXE_apolo-chaos").into(),
        rounds: 10,
        shards: 16,
        guilds: 40_000,
        event_rate: 5_000.0,
        seed: 1,
        trim_at_heartbeat,
        heartbeat,
    };
    kills(&options, |_| ()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_resumes_every_shard_and_loses_nothing() {
    let report = ten_kills(false, Duration::from_millis(41_250)).await;

    assert!(report.holds() && report.audit.sent > 40_000, "{report}");
}
