//! Every rule that a client can break.

use std::time::Duration;

use apolo::{
    Token,
    simulator::{Options, Simulator},
};
use serde_json::{Value, json};

use super::client::{Came, Client, heartbeat, identify, start, until};

async fn broken(simulator: &Simulator, rule: &str) -> u64 {
    let count = |truth: &apolo::simulator::Truth| {
        serde_json::to_value(&truth.broken).unwrap()[rule]["count"].as_u64().unwrap_or(0)
    };
    count(&until(simulator, |truth| count(truth) > 0).await)
}

/// What a client gets for a payload in place of an IDENTIFY.
async fn answer_to(payload: Value, rule: &str, change: impl FnOnce(&mut Options)) -> Came {
    let simulator = start(change).await;
    let mut client = Client::connect(&simulator.gateway_url()).await;

    client.send(payload).await;
    let answer = client.ended().await;

    assert_eq!(broken(&simulator, rule).await, 1);
    answer
}

fn identify_with(key: &str, value: Value) -> Value {
    let mut payload = identify(0, 1);
    payload["d"][key] = value;
    payload
}

#[tokio::test]
async fn the_version_must_be_one_that_is_served() {
    let simulator = start(|_| {}).await;

    let mut client = Client::dial_with(&simulator.gateway_url(), "v=5").await.unwrap();

    assert_eq!(client.ended().await, Came::Closed(Some(4012)));
    assert_eq!(broken(&simulator, "C2-version").await, 1);
}

#[tokio::test]
async fn an_unknown_encoding_or_compression_is_not_upgraded() {
    let simulator = start(|_| {}).await;

    for query in ["v=10&encoding=etf", "v=10&compress=lzma"] {
        assert!(Client::dial_with(&simulator.gateway_url(), query).await.is_err(), "{query}");
    }

    assert_eq!(broken(&simulator, "C2-encoding").await, 2);
}

#[tokio::test]
async fn nothing_but_heartbeats_comes_before_identify() {
    let simulator = start(|_| {}).await;
    let mut client = Client::connect(&simulator.gateway_url()).await;

    client.send(json!({ "op": 1, "d": null })).await;
    assert_eq!(client.json().await["op"], 11);
    client.send(json!({ "op": 3, "d": {} })).await;

    assert_eq!(client.next().await, Came::Closed(Some(4003)));
    assert_eq!(broken(&simulator, "C4-not-authenticated").await, 1);
}

#[tokio::test]
async fn a_second_identify_is_one_too_many() {
    let simulator = start(|_| {}).await;
    let (mut client, _) = Client::ready(&simulator, 0, 1).await;

    client.send(identify(0, 1)).await;

    assert_eq!(client.ended().await, Came::Closed(Some(4005)));
    assert_eq!(broken(&simulator, "C4-already-authenticated").await, 1);
}

#[tokio::test]
async fn what_can_not_be_read_is_closed_with_its_code() {
    let long = identify_with("x", json!("x".repeat(4_096)));
    assert_eq!(answer_to(long, "C4-payload-size", |_| {}).await, Came::Closed(Some(4002)));
    let shape = json!({ "op": 2, "d": 7 });
    assert_eq!(answer_to(shape, "C4-payload", |_| {}).await, Came::Closed(Some(4002)));
    let opcode = json!({ "op": 99, "d": null });
    assert_eq!(answer_to(opcode, "C4-opcode", |_| {}).await, Came::Closed(Some(4001)));
}

#[tokio::test]
async fn a_wrong_token_is_closed_with_4004() {
    let wrong = answer_to(identify(0, 1), "I3-token", |options| {
        options.token = Token::parse("right");
    });
    assert_eq!(wrong.await, Came::Closed(Some(4004)));
    let empty = answer_to(identify_with("token", json!("")), "I3-token", |_| {});
    assert_eq!(empty.await, Came::Closed(Some(4004)));
}

#[tokio::test]
async fn a_wrong_shard_is_closed_with_4010() {
    let beyond = identify_with("shard", json!([4, 4]));
    assert_eq!(answer_to(beyond, "I3-shard", |_| {}).await, Came::Closed(Some(4010)));
    let multiple = answer_to(identify(0, 3), "I3-shard", |options| options.shard_multiple = 2);
    assert_eq!(multiple.await, Came::Closed(Some(4010)));
}

#[tokio::test]
async fn more_than_2500_guilds_need_sharding() {
    let many = answer_to(identify(0, 1), "I4-sharding-required", |options| options.guilds = 2_501);
    assert_eq!(many.await, Came::Closed(Some(4011)));
    let simulator = start(|options| options.guilds = 2_500).await;
    Client::ready(&simulator, 0, 1).await;
}

#[tokio::test]
async fn wrong_intents_are_closed_with_4013_and_4014() {
    let none = identify_with("intents", Value::Null);
    assert_eq!(answer_to(none, "I4-intents", |_| {}).await, Came::Closed(Some(4013)));
    let privileged =
        answer_to(identify_with("intents", json!(2)), "I4-disallowed-intents", |options| {
            options.disallowed_intents = 2;
        });
    assert_eq!(privileged.await, Came::Closed(Some(4014)));
}

#[tokio::test]
async fn a_bucket_takes_one_identify_in_five_seconds() {
    let simulator = start(|options| options.max_concurrency = 2).await;
    Client::ready(&simulator, 0, 4).await;
    Client::ready(&simulator, 1, 4).await;

    let mut client = Client::connect(&simulator.gateway_url()).await;
    client.send(identify(2, 4)).await;

    assert_eq!(client.json().await["d"], false);
    assert_eq!(broken(&simulator, "I1-identify-rate").await, 1);
    let truth = simulator.truth();
    assert_eq!((truth.identifies_accepted, truth.identifies_refused), (2, 1));
}

#[tokio::test]
async fn an_overspent_budget_ends_every_session_and_resets_the_token() {
    let simulator = start(|options| options.session_start_remaining = 1).await;
    let (mut first, _) = Client::ready(&simulator, 0, 2).await;

    let mut second = Client::connect(&simulator.gateway_url()).await;
    second.send(identify(1, 2)).await;

    assert_eq!(second.ended().await, Came::Closed(Some(4004)));
    assert_eq!(first.ended().await, Came::Closed(Some(4004)));
    assert_eq!(broken(&simulator, "I2-identify-budget").await, 1);
    let truth = simulator.truth();
    assert!(truth.token_reset);
    assert_eq!(truth.sessions[0].end, Some(apolo::simulator::SessionEnd::TokenReset));
}

#[tokio::test]
async fn a_client_that_does_not_heartbeat_is_closed_and_can_resume() {
    let interval = Duration::from_millis(100);
    let simulator = start(|options| options.heartbeat_interval = interval).await;
    let (mut client, ready) = Client::ready(&simulator, 0, 1).await;

    assert_eq!(client.ended().await, Came::Closed(Some(4000)));

    assert_eq!(broken(&simulator, "H1-heartbeat").await, 1);
    let session = ready["session_id"].as_str().unwrap();
    let mut client = Client::resume(&simulator.gateway_url(), session, 21).await;
    assert_eq!(client.json().await["t"], "RESUMED");
}

#[tokio::test]
async fn a_heartbeat_names_a_sequence_that_was_sent() {
    let simulator = start(|_| {}).await;
    let (mut client, _) = Client::ready(&simulator, 0, 1).await;

    client.send(heartbeat(9_999)).await;

    assert_eq!(broken(&simulator, "H1-heartbeat-sequence").await, 1);
}

#[tokio::test]
async fn a_resume_from_the_future_is_closed_with_4007() {
    let simulator = start(|_| {}).await;
    let (client, ready) = Client::ready(&simulator, 0, 1).await;
    drop(client);

    let session = ready["session_id"].as_str().unwrap();
    let mut client = Client::resume(&simulator.gateway_url(), session, 9_999).await;

    assert_eq!(client.ended().await, Came::Closed(Some(4007)));
    assert_eq!(broken(&simulator, "R2-sequence").await, 1);
}

#[tokio::test]
async fn the_121st_payload_of_a_minute_is_closed_with_4008() {
    let simulator = start(|_| {}).await;
    let mut client = Client::connect(&simulator.gateway_url()).await;

    for _ in 0..121 {
        client.send(json!({ "op": 1, "d": null })).await;
    }

    assert_eq!(client.ended().await, Came::Closed(Some(4008)));
    assert_eq!(broken(&simulator, "L1-send-rate").await, 1);
}
