//! What no client should have to read: the shard starts over, the process lives, and what is lost is reported.

use apolo::simulator::{Fault, Garbage};

use super::fleet::Fleet;

const MIB: usize = 1_024 * 1_024;

async fn all_survive(garbage: Vec<Garbage>) -> Fleet {
    let fleet = Fleet::start(1).await;
    for what in garbage {
        fleet.survives(Fault::Garbage { what }).await;
    }
    let truth = fleet.settle().await;
    assert_eq!(truth.identifies.len(), 1, "{:?}", truth.identifies);
    fleet
}

#[tokio::test]
async fn g12_text_that_is_no_payload_is_passed_over() {
    let fleet = all_survive(vec![
        Garbage::MalformedJson,
        Garbage::UnknownOpcode,
        Garbage::InvalidUtf8,
        Garbage::BrokenCompression,
    ])
    .await;

    assert_eq!(fleet.reported(), 0);
}

#[tokio::test]
async fn g12_odd_dispatches_are_handed_over() {
    let fleet =
        all_survive(vec![Garbage::LoneSurrogate, Garbage::Undecodable, Garbage::UnknownEvent])
            .await;

    assert_eq!(fleet.reported(), 0);
}

#[tokio::test]
async fn g12_payloads_without_bounds_are_passed_over_and_reported() {
    let fleet = all_survive(vec![
        Garbage::Deep { depth: 100_000 },
        Garbage::Large { bytes: 20 * MIB },
        Garbage::Bomb { bytes: 64 * MIB },
    ])
    .await;

    assert!(fleet.reported() <= 3, "{}", fleet.reported());
}

#[tokio::test]
async fn g12_a_payload_in_parts_is_fetched_again() {
    let fleet =
        all_survive(vec![Garbage::Split { messages: 3 }, Garbage::Split { messages: 1_000 }]).await;

    assert_eq!(fleet.reported(), 0);
}

#[tokio::test]
async fn g12_a_hole_for_good_is_reported() {
    let fleet = all_survive(vec![Garbage::SequenceJump { by: 1_000 }]).await;

    assert_eq!(fleet.reported(), 1_000);
}
