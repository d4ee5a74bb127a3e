//! Readers that are too slow.

use std::time::Duration;

use apolo::{
    gateway::{FeedLimits, Phase},
    simulator::{Fault, Options as SimulatorOptions},
};

use super::fleet::{Fleet, SMALL_FEED, simulator, within};

#[tokio::test]
async fn g14_a_burst_is_caught_up_with_and_nothing_is_lost() {
    let options = SimulatorOptions { buffer: Some(100_000), event_rate: 100.0, ..simulator() };
    let pause = Duration::from_millis(1);
    // Large enough that the reader has work while the shard waits to resume.
    let feed = FeedLimits { items: 256, ..SMALL_FEED };
    let fleet = Fleet::launch(options, 1, None, |it| it.feed = feed, pause).await;
    fleet.all_connected().await;

    // Until it has done what it is for: how soon depends on the machine.
    let mut status = fleet.shards[0].status.clone();
    fleet.simulator.inject(Fault::Burst { events_per_second: 5_000.0 }).unwrap();
    let behind = within(status.wait_for(|status| status.phase == Phase::Behind)).await;
    behind.expect("the shard is behind in time").expect("the supervisor lives");
    fleet.simulator.clear_faults();
    fleet.recovers("the burst").await;

    let truth = fleet.settle().await;
    assert_eq!(truth.identifies.len(), 1);
    assert_eq!((fleet.reported(), fleet.sum(|account| account.lost.len())), (0, 0));
    assert!(fleet.sum(|account| account.resumed) > 0);
}

#[tokio::test]
async fn a_reader_that_stays_behind_loses_its_session_twice_and_is_parked() {
    let options = SimulatorOptions { buffer: Some(100), event_rate: 2_000.0, ..simulator() };
    let pause = Duration::from_millis(20);
    let fleet = Fleet::launch(options, 1, None, |it| it.feed = SMALL_FEED, pause).await;

    fleet
        .until("the shard to be parked", |fleet| {
            matches!(fleet.shards[0].status.borrow().phase, Phase::Parked { .. })
        })
        .await;

    let truth = fleet.truth();
    assert_eq!(truth.identifies.len(), 2, "{:?}", truth.identifies);
    assert!(truth.broken.is_empty(), "{:?}", truth.broken);
}
