//! What ends a session: the loss is told with its range, and the shard identifies within Discord's limits.

use apolo::{
    gateway::LostReason,
    simulator::{Fault, When},
};

use super::fleet::Fleet;

async fn ends_sessions(fault: Fault, reason: LostReason) {
    let fleet = Fleet::start(2).await;

    fleet.simulator.inject(fault).unwrap();
    fleet.until("the losses", |fleet| fleet.sum(|account| account.lost.len()) == 2).await;
    fleet.recovers("the losses").await;

    let truth = fleet.settle().await;
    assert_eq!(truth.identifies.len(), 4, "{:?}", truth.identifies);
    for shard in &fleet.shards {
        assert_eq!(shard.account.lock().unwrap().lost[0].1, reason);
    }
}

#[tokio::test]
async fn g2_op_9_false_identifies_anew() {
    let fault = Fault::InvalidSession { resumable: false, when: When::Now };
    ends_sessions(fault, LostReason::InvalidSession).await;
}

#[tokio::test]
async fn g3_4003_identifies_anew() {
    let fault = Fault::Close { code: Some(4003), when: When::Now };
    ends_sessions(fault, LostReason::Closed(4003)).await;
}

#[tokio::test]
async fn g4_4007_identifies_anew() {
    let fault = Fault::Close { code: Some(4007), when: When::Now };
    ends_sessions(fault, LostReason::Closed(4007)).await;
}

#[tokio::test]
async fn g4_4009_identifies_anew() {
    let fault = Fault::Close { code: Some(4009), when: When::Now };
    ends_sessions(fault, LostReason::Closed(4009)).await;
}

#[tokio::test]
async fn g11_expired_sessions_identify_anew() {
    ends_sessions(Fault::Expire, LostReason::InvalidSession).await;
}

#[tokio::test]
async fn g10_a_storm_of_op_9_never_overspends_the_buckets() {
    let fleet = Fleet::start(2).await;
    let refused = Fault::InvalidSession { resumable: false, when: When::Identify };
    fleet.simulator.inject(refused.times(2)).unwrap();

    fleet.simulator.inject(Fault::Expire).unwrap();
    fleet.until("the refusals", |fleet| fleet.truth().identifies_refused == 2).await;
    fleet.recovers("the storm").await;

    let truth = fleet.settle().await;
    assert_eq!(truth.identifies.len(), 6, "{:?}", truth.identifies);
}

#[tokio::test]
async fn g13_the_token_goes_to_no_other_host() {
    let listener = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let fleet = Fleet::start(1).await;
    fleet.simulator.inject(Fault::ResumeUrl { url: format!("ws://127.0.0.2:{port}") }).unwrap();
    fleet.simulator.inject(Fault::Expire).unwrap();
    fleet.until("the new session", |fleet| fleet.truth().identifies_accepted == 2).await;
    fleet.recovers("the expiry").await;

    fleet.survives(Fault::Reset { when: When::Now }).await;

    fleet.settle().await;
    assert!(futures_util::FutureExt::now_or_never(listener.accept()).is_none());
}
