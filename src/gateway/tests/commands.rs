//! Gateway commands, within Discord's rate limit.

use std::time::Duration;

use tokio::{
    task::yield_now,
    time::{Instant, advance, pause, resume},
};

use super::*;
use crate::gateway::control::COMMANDS_WAITING_MAX;

/// What Discord takes of one connection in 60 s, heartbeats among it (Gateway docs, "Rate Limiting").
const SENDS_MAX: usize = 120;

/// Enough for every task of a test to do what it can without time passing.
const TURNS: usize = 200;

/// The largest interval that is believed: no second heartbeat comes into a test's way.
const SELDOM_MS: u64 = 600_000;

#[tokio::test]
async fn commands_are_sent_while_connected_and_refused_otherwise() {
    let gateway = Gateway::start().await;
    let mut shard = Running::start(gateway.options());
    let presence = r#"{"op":3,"d":{}}"#;

    assert_eq!(shard.handles.commands.try_send(presence.into()), Err(SendError::Disconnected));
    let mut peer = gateway.ready("first").await;
    shard.phase(|phase| phase == Phase::Connected).await;
    shard.handles.commands.try_send(presence.into()).unwrap();

    peer.expect(3).await;
}

#[tokio::test]
async fn commands_beyond_120_in_a_minute_wait_in_order_for_the_next() {
    let gateway = Gateway::start().await;
    let mut shard = Running::start(gateway.options());
    let mut peer = gateway.ready_every("first", SELDOM_MS).await;
    shard.phase(|phase| phase == Phase::Connected).await;

    let most = SENDS_MAX + COMMANDS_WAITING_MAX;
    let mut taken = 0;
    let mut turns = 0;
    while turns < TURNS && taken <= most {
        match shard.handles.commands.try_send(numbered(taken)) {
            Ok(()) => (taken, turns) = (taken + 1, 0),
            Err(error) => {
                assert_eq!(error, SendError::Full);
                turns += 1;
                yield_now().await;
            }
        }
    }
    assert!(taken <= most, "{taken} were taken: more than Discord allows left the queue");

    pause();
    advance(Duration::from_secs(61)).await;
    resume();

    for number in 0..taken {
        assert_eq!(peer.expect(3).await["d"]["since"], number);
    }
}

#[tokio::test]
async fn after_a_close_for_the_rate_limit_commands_go_one_a_second() {
    let gateway = Gateway::start().await;
    let mut shard = Running::start(gateway.options());
    gateway.ready("first").await.close(4008).await;
    let (mut peer, _) = gateway.resume().await;
    peer.dispatch(2, "RESUMED").await;
    shard.phase(|phase| phase == Phase::Connected).await;

    let began = Instant::now();
    for number in 0..3 {
        shard.handles.commands.try_send(numbered(number)).unwrap();
    }
    for number in 0..3 {
        assert_eq!(peer.expect(3).await["d"]["since"], number);
    }

    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
}

fn numbered(number: usize) -> String {
    format!(r#"{{"op":3,"d":{{"since":{number}}}}}"#)
}
