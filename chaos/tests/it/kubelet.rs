//! `apolo-chaos cluster kubelet` has the frozen leader too, which lasts for as long as the manifest's liveness probe and
//! grace period together.

use apolo_chaos::clusters::{
    ClusterOptions, KubeletOptions, KubeletReport, Manifest, Scenario, kubelet,
};

/// A load that leaves a machine of two cores some room.
async fn run(scenario: Scenario) -> KubeletReport {
    let cluster = ClusterOptions {
        program: env!("CARGO_BIN_EXE_apolo-chaos").into(),
        nodes: 3,
        shards: 24,
        guilds: 2_400,
        event_rate: 2_000.0,
    };
    let manifest = Manifest::base().unwrap();
    let _alone = crate::MACHINE.lock().await;
    let options =
        KubeletOptions { cluster, manifest, one_volume_for_two: false, scale_in_order: false };
    kubelet(&options, scenario).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_update_loses_nothing_and_delivers_nothing_twice() {
    let report = run(Scenario::Rolling).await;

    assert!(report.holds() && report.gaps.count() >= 24, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pod_hands_its_shards_off_and_comes_back_on_its_disk() {
    let report = run(Scenario::Deleted).await;

    assert!(report.holds() && report.gaps.count() >= 8, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_are_all_deleted_at_once_come_back_and_resume_every_shard() {
    let report = run(Scenario::AllDeleted).await;

    assert!(report.holds() && report.gaps.count() >= 24, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_pods_become_five_and_three_again_under_load() {
    let report = run(Scenario::Scale).await;

    assert!(report.holds() && report.gaps.count() > 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_lost_with_its_volume_is_replaced_by_an_empty_one() {
    let report = run(Scenario::NodeLost).await;

    assert!(report.holds() && report.gaps.count() >= 8, "{report}");
}
