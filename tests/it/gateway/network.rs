//! What comes of the network and of Discord's restarts: the session goes on, and nothing is lost.

use std::time::Duration;

use apolo::simulator::{Fault, Garbage, Injection, Rule, Url, When};

use super::fleet::Fleet;

/// Runs faults one after the other; each must end in a RESUME of the same sessions, with nothing lost or reported.
async fn all_resume(faults: Vec<Fault>) {
    let fleet = Fleet::start(2).await;
    for fault in faults {
        fleet.survives(fault).await;
    }
    let truth = fleet.settle().await;
    assert_eq!(truth.identifies.len(), 2, "{:?}", truth.identifies);
    assert_eq!((fleet.reported(), fleet.sum(|account| account.lost.len())), (0, 0));
}

/// Arms a fault for a step of the next connections, cuts the open ones, and wants the same.
async fn all_resume_through(armed: Vec<(Fault, u32)>) {
    let fleet = Fleet::start(2).await;
    let mut expected = 0;
    for (fault, times) in armed {
        expected += u64::from(times) + 2;
        fleet.simulator.inject(fault.clone().times(times)).unwrap();
        fleet.survives(Fault::Reset { when: When::Now }).await;
        fleet
            .until(&format!("all strikes of {fault:?}"), |fleet| {
                fleet.truth().at_ms > 0 && fleet.struck() >= u64::from(times)
            })
            .await;
        fleet.recovers(&format!("{fault:?}")).await;
    }
    let truth = fleet.settle().await;
    assert_eq!(fleet.struck(), expected, "{:?}", truth.faults);
    assert_eq!(truth.identifies.len(), 2, "{:?}", truth.identifies);
    assert_eq!((fleet.reported(), fleet.sum(|account| account.lost.len())), (0, 0));
}

#[tokio::test]
async fn g1_g2_op_7_and_a_resumable_op_9_resume() {
    all_resume(vec![
        Fault::Reconnect { when: When::Now },
        Fault::InvalidSession { resumable: true, when: When::Now },
        Fault::Reconnect { when: When::Now },
    ])
    .await;
}

#[tokio::test]
async fn g1_op_7_before_or_instead_of_hello_resumes() {
    all_resume_through(vec![
        (Fault::Reconnect { when: When::BeforeHello }, 2),
        (Fault::Reconnect { when: When::Hello }, 3),
        (Fault::Reconnect { when: When::Resume }, 2),
    ])
    .await;
}

#[tokio::test]
async fn g3_close_codes_and_broken_connections_resume() {
    let mut faults: Vec<Fault> = [4000, 4001, 4002, 4005, 4008, 1000, 1001, 1011]
        .into_iter()
        .map(|code| Fault::Close { code: Some(code), when: When::Now })
        .collect();
    faults.push(Fault::Close { code: None, when: When::Now });
    faults.push(Fault::Reset { when: When::Now });
    faults.push(Fault::Eof { when: When::Now });
    // 1000 and 1001 end in a RESUME that succeeds, so the second is again the first of its kind.
    all_resume(faults).await;
}

#[tokio::test]
async fn g6_refused_handshakes_and_a_dead_resume_url_resume() {
    all_resume_through(vec![
        (Fault::Handshake { status: 503 }, 3),
        (Fault::Eof { when: When::Accept }, 3),
        (Fault::Reset { when: When::Accept }, 3),
    ])
    .await;
}

#[tokio::test]
async fn g6_a_resume_url_that_never_works_is_left_for_the_main_url() {
    let fleet = Fleet::start(2).await;
    let dead = Injection::from(Fault::Eof { when: When::Accept }).by(Url::Resume);
    fleet.simulator.inject(dead).unwrap();

    fleet.survives(Fault::Reset { when: When::Now }).await;

    let truth = fleet.settle().await;
    assert_eq!(truth.identifies.len(), 2);
}

#[tokio::test]
async fn g7_hello_and_resumed_that_never_come_are_given_up_and_resumed() {
    all_resume_through(vec![
        (Fault::NoHello, 2),
        (Fault::MalformedHello, 2),
        (Fault::NoResumed, 2),
    ])
    .await;
}

#[tokio::test]
async fn g8_g9_connections_that_are_half_dead_are_found_and_resumed() {
    all_resume(vec![Fault::Stall, Fault::Trickle { bytes_per_second: 1 }, Fault::AskHeartbeat])
        .await;
}

#[tokio::test]
async fn g9_a_connection_that_is_half_open_is_found_and_resumed() {
    let fleet = Fleet::start(2).await;

    fleet.survives(Fault::HalfOpen).await;

    // The simulator does not read, and so misses the heartbeats.
    let truth = fleet.settle_but(&[Rule::Heartbeat]).await;
    assert_eq!(truth.identifies.len(), 2);
    assert_eq!((fleet.reported(), fleet.sum(|account| account.lost.len())), (0, 0));
}

#[tokio::test]
async fn g12_a_hole_that_discord_can_fill_is_filled() {
    all_resume(vec![
        Fault::Garbage { what: Garbage::Omit { count: 5 } },
        Fault::Garbage { what: Garbage::SequenceRewind { by: 3 } },
        Fault::Duplicate,
    ])
    .await;
}

#[tokio::test]
async fn g12_messages_in_many_frames_are_put_together() {
    all_resume_through(vec![(Fault::Fragment { bytes: 7 }, 2)]).await;
}

#[tokio::test]
async fn r8_dispatches_that_discord_withholds_are_no_fault() {
    let fleet = Fleet::start(2).await;

    fleet.survives(Fault::Withhold { events: ["MESSAGE_CREATE".to_owned()].into() }).await;

    let truth = fleet.settle().await;
    assert_eq!((truth.connections_opened, truth.identifies.len()), (2, 2));
    assert_eq!((fleet.reported(), fleet.sum(|account| account.lost.len())), (0, 0));
}

#[tokio::test]
async fn g15_a_replay_out_of_order_is_put_in_order() {
    all_resume_through(vec![(Fault::ReplayOutOfOrder, 2)]).await;
}

#[tokio::test]
async fn g16_an_outage_ends_in_resumes_alone() {
    let fleet = Fleet::start(4).await;

    fleet.simulator.inject(Fault::Down.lasting(Duration::from_secs(3))).unwrap();
    fleet.until("the outage", |fleet| fleet.truth().connected(4) == 0).await;
    fleet.recovers("the outage").await;

    let truth = fleet.settle().await;
    assert_eq!(truth.identifies.len(), 4);
    assert_eq!((fleet.reported(), fleet.sum(|account| account.lost.len())), (0, 0));
}
