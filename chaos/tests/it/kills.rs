use apolo_chaos::kills::{Audit, KillOptions, KillReport, kills};
use std::time::Duration;

/// Ten kills under 1,000 events a second, over 16 shards with 40,000 guilds: on a slow machine a debug build falls behind
/// 2,500, so that Discord forgets what it has not handled. The full demand, 5,000, is `apolo-chaos kills`, in release.
fn ten_kills() -> KillOptions {
    KillOptions {
        program: env!("CARGO_BIN_EXE_apolo-chaos").into(),
        rounds: 10,
        shards: 16,
        guilds: 40_000,
        event_rate: 1_000.0,
        seed: 1,
        trim_at_heartbeat: false,
        heartbeat: Duration::from_millis(41_250),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_resumes_every_shard_and_loses_nothing() {
    let _alone = crate::MACHINE.lock().await;
    let report = kills(&ten_kills(), |_| ()).await.unwrap();

    assert!(report.holds() && report.audit.sent > 20_000, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_discord_forgets_at_heartbeats_every_event_is_handled_or_told_of() {
    let _alone = crate::MACHINE.lock().await;
    let options = KillOptions {
        rounds: 2,
        shards: 16,
        guilds: 160,
        event_rate: 800.0,
        trim_at_heartbeat: true,
        // So often that one comes between a shard's last checkpoint and its kill.
        heartbeat: Duration::from_millis(250),
        ..ten_kills()
    };

    let report = kills(&options, |_| ()).await.unwrap();

    let KillReport { ref audit, identifies, resumes, ref broken, .. } = report;
    let Audit { sent, handled, lost, told, twice, unmarked, unknown_sessions, .. } = *audit;
    assert_eq!(sent, handled - twice + lost, "{report}");
    assert_eq!(told, lost, "{report}");
    assert_eq!((unmarked, unknown_sessions), (0, 0), "{report}");
    assert!(resumes.1 > 0, "nothing was forgotten: {report}");
    assert_eq!(identifies, 16 + resumes.1, "{report}");
    // A busy machine misses heartbeats that are due so often.
    assert!(broken.iter().all(|rule| rule.starts_with("Heartbeat ")), "{report}");
    assert!(report.end.0.success(), "{report}");
}
