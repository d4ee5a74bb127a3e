//! A session's life: READY, events, resume, end.

use std::time::Duration;

use apolo::simulator::{ConnectionEnd, SessionEnd, world::EventKind};
use serde_json::{Value, json};

use super::client::{Came, Client, heartbeat, identify, resume, start, until};

#[tokio::test]
async fn ready_is_followed_by_every_guild_and_then_by_events() {
    for query in ["v=10", "v=10&compress=zlib-stream", "v=10&encoding=json&compress=zstd-stream"] {
        let simulator = start(|options| options.event_rate = 200.0).await;
        let mut client = Client::dial_with(&simulator.gateway_url(), query).await.unwrap();

        let hello = client.json().await;
        client.send(identify(0, 1)).await;
        let ready = client.json().await;
        let mut rest = Vec::new();
        for _ in 0..60 {
            rest.push(client.json().await);
        }

        assert_eq!((&hello["op"], &hello["d"]["heartbeat_interval"]), (&json!(10), &json!(41_250)));
        assert_eq!(ready["d"]["guilds"].as_array().unwrap().len(), 20);
        assert_eq!(ready["d"]["guilds"][0]["unavailable"], true);
        assert_eq!(ready["d"]["shard"], json!([0, 1]));
        let sequences: Vec<u64> =
            rest.iter().map(|payload| payload["s"].as_u64().unwrap()).collect();
        assert_eq!(sequences, (2..62).collect::<Vec<_>>());
        assert!(rest[..20].iter().all(|payload| payload["t"] == "GUILD_CREATE"));
        assert!(rest[20..].iter().any(|payload| payload["t"] == "MESSAGE_CREATE"));
        simulator.stop().await;
    }
}

#[tokio::test]
async fn a_resume_replays_what_was_missed_and_then_says_resumed() {
    let simulator = start(|options| options.event_rate = 500.0).await;
    let (mut client, ready) = Client::ready(&simulator, 0, 1).await;
    let session = ready["session_id"].as_str().unwrap();
    for _ in 0..30 {
        client.json().await;
    }
    drop(client);
    let away = until(&simulator, |truth| truth.connected(1) == 0).await;
    let last = away.session(session).unwrap().last;
    until(&simulator, |truth| truth.session(session).is_some_and(|own| own.last > last)).await;

    let url = ready["resume_gateway_url"].as_str().unwrap();
    let mut client = Client::resume(url, session, 31).await;
    let sequences = client.sequences_until("RESUMED").await;

    assert_eq!(sequences, (32..32 + sequences.len() as u64).collect::<Vec<_>>());
    let truth = simulator.truth();
    assert_eq!((truth.identifies_accepted, truth.resumes_accepted), (1, 1));
    assert_eq!(truth.resumes[0].from, 31);
    assert_eq!(truth.resumes[0].outcome, Ok(sequences.len() as u64 - 1));
    assert!(truth.broken.is_empty(), "{:?}", truth.broken);
    assert!(truth.overlaps(0).is_empty());
}

#[tokio::test]
async fn a_resume_brings_neither_ready_nor_guilds() {
    let simulator = start(|_| {}).await;
    let (mut client, ready) = Client::ready(&simulator, 0, 1).await;
    for _ in 0..20 {
        client.json().await;
    }
    drop(client);

    let session = ready["session_id"].as_str().unwrap();
    let mut client = Client::resume(&simulator.gateway_url(), session, 21).await;

    assert_eq!(client.json().await["t"], "RESUMED");
    assert_eq!(client.next_soon().await, None);
}

#[tokio::test]
async fn a_session_that_the_client_closed_with_1000_can_not_be_resumed() {
    for (code, resumes) in [(1000, false), (1001, false), (4000, true), (3000, true)] {
        let simulator = start(|_| {}).await;
        let (client, ready) = Client::ready(&simulator, 0, 1).await;
        let session = ready["session_id"].as_str().unwrap();
        client.close(code).await;
        let truth = until(&simulator, |truth| truth.connected(1) == 0).await;

        let mut client = Client::resume(&simulator.gateway_url(), session, 1).await;

        let first = client.json().await;
        assert_eq!(first["op"] == 0, resumes, "{code}: {first}");
        let ended = truth.session(session).unwrap().end;
        assert_eq!(ended, (!resumes).then_some(SessionEnd::ClosedByClient));
        let end = truth.connections[0].end;
        assert_eq!(end, Some(ConnectionEnd::Client { code: Some(code) }));
    }
}

#[tokio::test]
async fn a_session_times_out() {
    let simulator = start(|options| options.session_timeout = Duration::from_millis(100)).await;
    let (client, ready) = Client::ready(&simulator, 0, 1).await;
    let session = ready["session_id"].as_str().unwrap();
    drop(client);
    let timed_out = Some(SessionEnd::TimedOut);
    until(&simulator, |truth| truth.session(session).is_some_and(|own| own.end == timed_out)).await;

    let mut client = Client::resume(&simulator.gateway_url(), session, 1).await;

    assert_eq!(client.json().await, json!({ "t": null, "s": null, "op": 9, "d": false }));
}

#[tokio::test]
async fn a_resume_from_before_the_buffer_is_refused() {
    let simulator = start(|options| {
        options.buffer = Some(10);
        options.event_rate = 1_000.0;
    })
    .await;
    let (mut client, ready) = Client::ready(&simulator, 0, 1).await;
    let session = ready["session_id"].as_str().unwrap();
    client.json().await;
    drop(client);
    until(&simulator, |truth| truth.session(session).is_some_and(|own| own.trimmed > 2)).await;

    let mut client = Client::resume(&simulator.gateway_url(), session, 2).await;

    assert_eq!(client.json().await["d"], false);
    assert_eq!(simulator.truth().session(session).unwrap().end, Some(SessionEnd::Outrun));
}

#[tokio::test]
async fn a_heartbeat_frees_the_buffer_where_that_is_asked_for() {
    for trim_at_heartbeat in [false, true] {
        let simulator = start(|options| options.trim_at_heartbeat = trim_at_heartbeat).await;
        let (mut client, ready) = Client::ready(&simulator, 0, 1).await;
        for _ in 0..20 {
            client.json().await;
        }
        client.send(heartbeat(15)).await;
        assert_eq!(client.json().await["op"], 11);
        drop(client);

        let session = ready["session_id"].as_str().unwrap();
        let mut client = Client::resume(&simulator.gateway_url(), session, 5).await;

        assert_eq!(client.json().await["op"], if trim_at_heartbeat { 9 } else { 0 });
    }
}

#[tokio::test]
async fn sessions_of_one_shard_coexist_and_each_gets_its_events() {
    let simulator = start(|options| {
        options.event_rate = 100.0;
        options.max_concurrency = 2;
    })
    .await;
    let (mut first, _) = Client::ready(&simulator, 0, 1).await;
    // Another bucket, so that it need not wait: shard 1 of 2 sees a part of the same guilds.
    let (mut second, _) = Client::ready(&simulator, 1, 2).await;

    for client in [&mut first, &mut second] {
        client.sequences_until("MESSAGE_CREATE").await;
    }

    assert_eq!((simulator.truth().connected(1), simulator.truth().connected(2)), (1, 1));
}

#[tokio::test]
async fn sessions_of_the_same_shard_live_side_by_side() {
    let simulator = start(|_| {}).await;
    let (mut first, one) = Client::ready(&simulator, 0, 1).await;
    // The limits are changed, so the bucket need not be waited for.
    let settings = format!("http://{}/simulator/settings", simulator.addr());
    let change = json!({ "max_concurrency": 16 });
    reqwest::Client::new().patch(settings).json(&change).send().await.unwrap();
    let (mut second, two) = Client::ready(&simulator, 0, 1).await;
    for client in [&mut first, &mut second] {
        client.sequences_through(20).await;
    }

    simulator.set_event_rate(200.0);
    let mut told = Vec::new();
    for client in [&mut first, &mut second] {
        let payload = client.json().await;
        told.push((payload["s"].clone(), payload["t"].clone(), payload["d"].clone()));
    }
    let both = simulator.truth().connected(1);
    first.close(1000).await;
    let alone = until(&simulator, |truth| truth.connected(1) == 1).await;

    assert_ne!(one["session_id"], two["session_id"]);
    assert_eq!(both, 2);
    assert_eq!(told[0], told[1], "both are told of the same event");
    let end = |ready: &Value| alone.session(ready["session_id"].as_str().unwrap()).unwrap().end;
    assert_eq!((end(&one), end(&two)), (Some(SessionEnd::ClosedByClient), None));
    second.sequences_until("MESSAGE_CREATE").await;
    assert!(simulator.truth().broken.is_empty());
}

#[tokio::test]
async fn only_what_an_intent_carries_comes_and_content_only_with_its_own() {
    let simulator = start(|options| options.event_rate = 1_000.0).await;
    // The helper's intents are GUILDS and GUILD_MESSAGES.
    let intents = 513;
    let (mut client, _) = Client::ready(&simulator, 0, 1).await;

    for _ in 0..300 {
        let payload = client.json().await;
        let carried = |kind: &EventKind| payload["t"] == kind.name() && kind.reaches(intents);
        assert!(EventKind::ALL.iter().any(carried), "{payload}");
        if payload["t"] == "MESSAGE_CREATE" {
            assert_eq!(payload["d"]["content"], "");
        }
    }
}

#[tokio::test]
async fn a_resume_waits_for_the_open_connection_where_that_is_asked_for() {
    let simulator = start(|options| options.resume_takes_over = false).await;
    let (mut old, ready) = Client::ready(&simulator, 0, 1).await;
    let session = ready["session_id"].as_str().unwrap();
    old.sequences_through(20).await;

    let mut early = Client::resume(&simulator.gateway_url(), session, 21).await;
    let refused = early.json().await;
    old.send(heartbeat(21)).await;
    let still_there = old.json().await;
    drop(old);
    until(&simulator, |truth| truth.connected(1) == 0).await;
    let mut late = Client::resume(&simulator.gateway_url(), session, 21).await;

    assert_eq!((&refused["op"], &refused["d"]), (&json!(9), &json!(true)));
    assert_eq!(still_there["op"], 11);
    assert_eq!(late.json().await["t"], "RESUMED");
}

#[tokio::test]
async fn a_resume_takes_the_session_from_an_open_connection() {
    let simulator = start(|_| {}).await;
    let (mut old, ready) = Client::ready(&simulator, 0, 1).await;
    let session = ready["session_id"].as_str().unwrap();

    let mut new = Client::resume(&simulator.gateway_url(), session, 21).await;
    // The guilds may not all have been given to the old connection yet.
    let first = new.json().await;
    let end = old.ended().await;

    assert!(first["op"] == 0 || first["op"] == 9, "{first}");
    assert_eq!(end, Came::Closed(Some(4000)));
}

#[tokio::test]
async fn a_resume_comes_with_the_same_compression() {
    let simulator = start(|_| {}).await;
    let (client, ready) = Client::ready(&simulator, 0, 1).await;
    drop(client);

    let query = "v=10&compress=zstd-stream";
    let mut client = Client::dial_with(&simulator.gateway_url(), query).await.unwrap();
    client.json().await;
    client.send(resume(ready["session_id"].as_str().unwrap(), 1)).await;

    assert_eq!(client.json().await["op"], 9);
    let broken = serde_json::to_value(&simulator.truth().broken).unwrap();
    assert_eq!(broken["R2-transport"]["count"], 1);
}

#[tokio::test]
async fn nothing_happens_on_a_shard_without_a_session() {
    let simulator = start(|options| options.event_rate = 1_000.0).await;
    let (client, ready) = Client::ready(&simulator, 0, 1).await;
    let session = ready["session_id"].as_str().unwrap();
    client.close(1000).await;

    let truth = until(&simulator, |truth| truth.connected(1) == 0).await;

    let last = truth.session(session).unwrap().last;
    assert_eq!(until(&simulator, |_| true).await.session(session).unwrap().last, last);
}
