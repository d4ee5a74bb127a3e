use std::time::Duration;

use apolo_chaos::clusters::{
    ClusterOptions, Earlier, OutageOptions, Shape, can_cap, can_partition, cluster_kills, freeze,
    move_all, outage, partition, power_loss, restore_old_copy, rolling_restart, scale, storm,
    upgrade, wipe_majority, wipe_one,
};

/// A load that leaves a machine of two cores some room.
fn options(nodes: usize) -> ClusterOptions {
    ClusterOptions {
        program: env!("CARGO_BIN_EXE_apolo-chaos").into(),
        nodes,
        shards: 24,
        guilds: 2_400,
        event_rate: 2_000.0,
    }
}

/// Ten kills of three nodes under 2,000 events a second; the full demand is `apolo-chaos cluster kills`.
#[tokio::test(flavor = "multi_thread")]
async fn killed_nodes_lose_nothing_and_the_others_resume_their_shards() {
    let _alone = crate::MACHINE.lock().await;

    let report = cluster_kills(&options(3), 10, |_| ()).await.unwrap();

    assert!(report.account.holds() && report.account.audit.sent > 10_000, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_nodes_of_five_lose_nothing_either() {
    let _alone = crate::MACHINE.lock().await;

    let report = cluster_kills(&options(5), 10, |_| ()).await.unwrap();

    assert!(report.account.holds() && report.account.audit.sent > 10_000, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_nothing_and_delivers_nothing_twice() {
    let _alone = crate::MACHINE.lock().await;

    let report = rolling_restart(&options(3), 1, |_| ()).await.unwrap();

    assert!(report.holds() && report.gaps.count() >= 24, "{report}");
}

/// From a real earlier commit: `apolo-chaos cluster upgrade --from`.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_writes_a_new_format_once_every_node_reads_it_and_loses_nothing_on_the_way() {
    let _alone = crate::MACHINE.lock().await;

    let report = upgrade(&options(3), Earlier::Bounded).await.unwrap();

    assert!(report.holds() && report.gaps.count() >= 24, "{report}");
}

/// An hour is `apolo-chaos cluster outage`.
#[tokio::test(flavor = "multi_thread")]
async fn while_discord_is_down_nodes_stay_alive_and_say_so_and_then_every_shard_resumes() {
    let _alone = crate::MACHINE.lock().await;
    let seconds = Duration::from_secs;
    let shard_timeout = seconds(3);
    let down =
        OutageOptions { lasts: seconds(12), sessions_end: false, shard_timeout, kills: true };

    let report = outage(&options(3), down, |_| ()).await.unwrap();

    assert!(report.holds() && report.account.resumes.0 >= 24, "{report}");
}

/// Longer than a lease and the margin of a loss together.
const LONGER_THAN_A_LEASE: Duration = Duration::from_secs(5);

/// An operator's freeze of 30 s is `apolo-chaos cluster freeze`.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_owner_delivers_and_sends_nothing_when_it_wakes() {
    let _alone = crate::MACHINE.lock().await;

    let report = freeze(&options(3), 2, LONGER_THAN_A_LEASE, |_| ()).await.unwrap();

    assert!(report.holds() && report.account.resumes.0 >= 16, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_three_nodes_lose_nothing_and_heal_by_themselves() {
    partitioned(3, &Shape::OF_THREE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_five_nodes_lose_nothing_and_heal_by_themselves() {
    partitioned(5, &Shape::OF_FIVE).await;
}

#[expect(clippy::print_stderr, reason = "a test that skips says so")]
async fn partitioned(nodes: usize, shapes: &[Shape]) {
    let _alone = crate::MACHINE.lock().await;
    if let Err(reason) = can_partition() {
        return eprintln!("skipped: {reason}");
    }

    let report = partition(&options(nodes), shapes, LONGER_THAN_A_LEASE, |_| ()).await.unwrap();

    assert!(report.account.holds() && report.account.resumes.0 > 0, "{report}");
    assert!(report.cuts.iter().all(|cut| cut.terms <= 3), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_without_its_disk_votes_again_under_a_new_id() {
    let _alone = crate::MACHINE.lock().await;

    let report = wipe_one(&options(3), 1).await.unwrap();

    assert!(report.account.holds(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_restored_from_an_old_copy_begins_anew() {
    let _alone = crate::MACHINE.lock().await;

    let report = restore_old_copy(&options(3)).await.unwrap();

    assert!(report.account.holds(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_join_and_leave_lose_nothing_and_deliver_nothing_twice() {
    let _alone = crate::MACHINE.lock().await;

    let report = scale(&options(5)).await.unwrap();

    assert!(report.account.holds() && report.account.audit.twice == 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_majority_without_its_disks_stops_safely_and_forms_nothing() {
    let _alone = crate::MACHINE.lock().await;

    let said = wipe_majority(&options(3)).await.unwrap();

    assert_eq!(said.len(), 2, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_all_moved_find_each_other_and_resume() {
    let _alone = crate::MACHINE.lock().await;

    let report = move_all(&options(3)).await.unwrap();

    assert!(report.account.holds(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cluster_acknowledged_survives_the_loss_of_power_everywhere() {
    let _alone = crate::MACHINE.lock().await;
    if crate::volume::skipped() {
        return;
    }

    let report = power_loss(&options(3), 4).await.unwrap();

    assert!(report.account.holds(), "{report}");
}

#[expect(clippy::print_stderr, reason = "a test that skips says so")]
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_requests_from_half_a_processor_costs_no_lease_and_no_election() {
    let _alone = crate::MACHINE.lock().await;
    if let Err(reason) = can_cap() {
        return eprintln!("skipped: {reason}");
    }

    let report = storm(&options(3), LONGER_THAN_A_LEASE).await.unwrap();

    assert!(report.holds() && report.answered > 100, "{report}");
}
