//! Every fault, as a client sees it.

use std::time::Duration;

use apolo::simulator::{
    Fault, Garbage, InjectError, Injection, Scenario, SessionEnd, Simulator, Url, When,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

use super::client::{Came, Client, heartbeat, identify, resume, start, until};

/// A client that took READY and all guilds.
async fn settled(simulator: &Simulator) -> (Client, String, Value) {
    let (mut client, ready) = Client::ready(simulator, 0, 1).await;
    for _ in 0..20 {
        client.json().await;
    }
    (client, ready["session_id"].as_str().unwrap().to_owned(), ready)
}

#[tokio::test]
async fn reconnect_and_invalid_session_come_at_once() {
    let simulator = start(|_| {}).await;
    let (mut client, session, _) = settled(&simulator).await;

    simulator.inject(Fault::Reconnect { when: When::Now }).unwrap();
    assert_eq!(client.json().await["op"], 7);
    simulator.inject(Fault::InvalidSession { resumable: true, when: When::Now }).unwrap();
    assert_eq!(client.json().await["d"], true);
    simulator.inject(Fault::InvalidSession { resumable: false, when: When::Now }).unwrap();
    assert_eq!(client.json().await["d"], false);

    let end = simulator.truth().session(&session).unwrap().end;
    assert_eq!(end, Some(SessionEnd::Invalidated));
    assert_eq!(simulator.truth().faults["reconnect"], 1);
}

#[tokio::test]
async fn op_7_comes_before_or_instead_of_hello() {
    let simulator = start(|_| {}).await;
    simulator.inject(Fault::Reconnect { when: When::BeforeHello }.times(1)).unwrap();
    let mut client = Client::dial(&simulator.gateway_url()).await;
    assert_eq!(
        (client.json().await["op"].clone(), client.json().await["op"].clone()),
        (json!(7), json!(10))
    );

    simulator.inject(Fault::Reconnect { when: When::Hello }.times(1)).unwrap();
    let mut client = Client::dial(&simulator.gateway_url()).await;
    assert_eq!(client.json().await["op"], 7);
    assert_eq!(client.next_soon().await, None);
}

#[tokio::test]
async fn a_connection_is_closed_with_any_code_or_none() {
    for code in [None, Some(1000), Some(1011), Some(4000), Some(4009), Some(4014)] {
        let simulator = start(|_| {}).await;
        let (mut client, session, _) = settled(&simulator).await;

        simulator.inject(Fault::Close { code, when: When::Now }).unwrap();

        assert_eq!(client.ended().await, Came::Closed(code));
        let end = simulator.truth().session(&session).unwrap().end;
        assert_eq!(end, (code == Some(4009)).then_some(SessionEnd::Invalidated), "{code:?}");
    }
}

#[tokio::test]
async fn a_connection_is_reset_or_ends_without_a_close_frame() {
    for fault in [Fault::Reset { when: When::Now }, Fault::Eof { when: When::Now }] {
        let simulator = start(|_| {}).await;
        let (mut client, session, _) = settled(&simulator).await;

        simulator.inject(fault).unwrap();

        assert_eq!(client.ended().await, Came::Gone);
        let mut client = Client::resume(&simulator.gateway_url(), &session, 21).await;
        assert_eq!(client.json().await["t"], "RESUMED");
    }
}

#[tokio::test]
async fn a_fault_strikes_the_shards_in_its_scope_alone() {
    let simulator = start(|_| {}).await;
    let (mut zero, _) = Client::ready(&simulator, 0, 2).await;
    let (mut one, _) = Client::ready(&simulator, 1, 2).await;

    simulator.inject(Fault::Close { code: Some(4000), when: When::Now }.on([1])).unwrap();

    assert_eq!(one.ended().await, Came::Closed(Some(4000)));
    zero.send(heartbeat(1)).await;
    while zero.json().await["op"] != 11 {}
}

#[tokio::test]
async fn a_handshake_fails_by_the_url_in_scope_alone() {
    let simulator = start(|_| {}).await;
    let (_, _, ready) = settled(&simulator).await;
    let resume_url = ready["resume_gateway_url"].as_str().unwrap();
    let query = "v=10&encoding=json";

    for fault in [
        Fault::Handshake { status: 503 },
        Fault::Eof { when: When::Accept },
        Fault::Reset { when: When::Accept },
    ] {
        simulator.inject(fault.times(1).by(Url::Resume)).unwrap();

        assert!(Client::dial_with(&simulator.gateway_url(), query).await.is_ok());
        assert!(Client::dial_with(resume_url, query).await.is_err());
        assert!(Client::dial_with(resume_url, query).await.is_ok());
    }
}

#[tokio::test]
async fn hello_is_missing_or_malformed() {
    let simulator = start(|_| {}).await;
    simulator.inject(Fault::NoHello.times(1)).unwrap();
    let mut client = Client::dial(&simulator.gateway_url()).await;
    assert_eq!(client.next_soon().await, None);

    simulator.inject(Fault::MalformedHello.times(1)).unwrap();
    let mut client = Client::dial(&simulator.gateway_url()).await;
    assert_eq!(client.json().await["d"], json!({}));
}

#[tokio::test]
async fn ready_and_resumed_do_not_come_though_heartbeats_are_acknowledged() {
    let simulator = start(|_| {}).await;
    let (client, session, _) = settled(&simulator).await;
    drop(client);
    simulator.inject(Fault::NoReady).unwrap();
    simulator.inject(Fault::NoResumed).unwrap();

    for payload in [identify(3, 4), resume(&session, 21)] {
        let mut client = Client::connect(&simulator.gateway_url()).await;
        client.send(payload).await;
        client.send(json!({ "op": 1, "d": null })).await;

        assert_eq!(client.json().await["op"], 11);
        assert_eq!(client.next_soon().await, None);
    }
}

#[tokio::test]
async fn heartbeats_are_not_acknowledged_or_asked_for() {
    let simulator = start(|_| {}).await;
    let (mut client, ..) = settled(&simulator).await;

    simulator.inject(Fault::NoHeartbeatAck.times(1)).unwrap();
    client.send(heartbeat(21)).await;
    assert_eq!(client.next_soon().await, None);
    simulator.inject(Fault::AskHeartbeat).unwrap();
    assert_eq!(client.json().await["op"], 1);
    client.send(heartbeat(21)).await;
    assert_eq!(client.json().await["op"], 11);
}

#[tokio::test]
async fn a_stalled_connection_is_silent_until_it_is_freed() {
    for fault in [Fault::Stall, Fault::HalfOpen] {
        let simulator = start(|_| {}).await;
        let (mut client, ..) = settled(&simulator).await;

        simulator.inject(fault).unwrap();
        client.send(heartbeat(21)).await;
        assert_eq!(client.next_soon().await, None);
        simulator.clear_faults();

        assert_eq!(client.json().await["op"], 11);
    }
}

#[tokio::test]
async fn a_stall_ends_with_its_time() {
    let simulator = start(|_| {}).await;
    let (mut client, ..) = settled(&simulator).await;
    let began = Instant::now();

    simulator.inject(Fault::Stall.lasting(Duration::from_millis(200))).unwrap();
    client.send(heartbeat(21)).await;

    assert_eq!(client.json().await["op"], 11);
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_trickle_is_as_slow_as_told() {
    let simulator = start(|_| {}).await;
    let (mut client, ..) = settled(&simulator).await;
    let began = Instant::now();

    simulator.inject(Fault::Trickle { bytes_per_second: 100 }).unwrap();
    client.send(heartbeat(21)).await;

    // The acknowledgement has 40 bytes and a header of 2.
    assert_eq!(client.json().await["op"], 11);
    assert!(began.elapsed() >= Duration::from_millis(380), "{:?}", began.elapsed());
}

#[tokio::test]
async fn identify_and_resume_are_answered_with_a_close_code_or_op_9() {
    let simulator = start(|_| {}).await;
    let (client, session, _) = settled(&simulator).await;
    drop(client);

    for code in [4004, 4010, 4011, 4012, 4013, 4014] {
        simulator.inject(Fault::Close { code: Some(code), when: When::Identify }.times(1)).unwrap();
        let mut client = Client::connect(&simulator.gateway_url()).await;
        client.send(identify(u32::from(code) % 16, 16)).await;
        assert_eq!(client.ended().await, Came::Closed(Some(code)));
    }
    simulator
        .inject(Fault::InvalidSession { resumable: true, when: When::Resume }.times(1))
        .unwrap();
    let mut client = Client::resume(&simulator.gateway_url(), &session, 21).await;
    assert_eq!(client.json().await["d"], true);
    simulator.inject(Fault::Close { code: Some(4009), when: When::Resume }.times(1)).unwrap();
    let mut client = Client::resume(&simulator.gateway_url(), &session, 21).await;
    assert_eq!(client.ended().await, Came::Closed(Some(4009)));

    let mut client = Client::resume(&simulator.gateway_url(), &session, 21).await;
    assert_eq!(client.json().await["d"], false);
}

#[tokio::test]
async fn sessions_expire_with_and_without_a_connection() {
    let simulator = start(|_| {}).await;
    let (client, away, _) = settled(&simulator).await;
    drop(client);
    until(&simulator, |truth| truth.connected(1) == 0).await;
    let (mut live, _) = Client::ready(&simulator, 1, 2).await;

    simulator.inject(Fault::Expire).unwrap();

    assert_eq!(live.ended().await, Came::Gone);
    let mut client = Client::resume(&simulator.gateway_url(), &away, 21).await;
    assert_eq!(client.json().await["d"], false);
    let truth = simulator.truth();
    assert!(truth.sessions.iter().all(|session| session.end == Some(SessionEnd::Expired)));
}

#[tokio::test]
async fn garbage_on_the_wire_is_not_in_the_replay() {
    let simulator = start(|_| {}).await;
    let (mut client, session, _) = settled(&simulator).await;
    let mut garble = async |what| {
        simulator.inject(Fault::Garbage { what }).unwrap();
        client.next().await
    };

    assert!(matches!(garble(Garbage::MalformedJson).await, Came::Garbage(_)));
    assert!(matches!(garble(Garbage::UnknownOpcode).await, Came::Json(value) if value["op"] == 77));
    let large = garble(Garbage::Large { bytes: 3 << 20 }).await;
    assert!(
        matches!(large, Came::Json(value) if value["d"]["content"].as_str().unwrap().len() == 3 << 20)
    );
    let rewound = garble(Garbage::SequenceRewind { by: 5 }).await;
    assert!(matches!(rewound, Came::Json(value) if value["s"] == 16));
    // The client's own library refuses what is no UTF-8.
    assert_eq!(garble(Garbage::InvalidUtf8).await, Came::Gone);
    drop(client);
    let mut client = Client::resume(&simulator.gateway_url(), &session, 20).await;
    assert_eq!(client.sequences_until("RESUMED").await, [21, 22]);
}

#[tokio::test]
async fn garbage_in_the_session_comes_again_with_a_resume() {
    let simulator = start(|_| {}).await;
    let (mut client, session, _) = settled(&simulator).await;
    let all = [
        Garbage::Undecodable,
        Garbage::UnknownEvent,
        Garbage::LoneSurrogate,
        Garbage::Deep { depth: 100_000 },
        Garbage::SequenceJump { by: 10 },
    ];

    for what in all {
        simulator.inject(Fault::Garbage { what }).unwrap();
    }
    let undecodable = client.json().await;
    let unknown = client.json().await;
    let surrogate = client.next().await;
    let deep = client.next().await;
    drop(client);
    let mut client = Client::resume(&simulator.gateway_url(), &session, 21).await;

    assert_eq!((&undecodable["s"], &unknown["s"]), (&json!(22), &json!(23)));
    assert!(
        matches!(surrogate, Came::Garbage(text) if text.windows(6).any(|part| part == br"\ud83d"))
    );
    assert!(matches!(&deep, Came::Garbage(text) if text.len() > 200_000));
    assert_eq!(client.json().await, undecodable);
    assert_eq!(client.json().await, unknown);
    client.next().await;
    assert_eq!(client.next().await, deep);
    assert_eq!(client.json().await["s"], 36);
    assert_eq!(simulator.truth().session(&session).unwrap().skipped, [26..=35]);
}

#[tokio::test]
async fn a_compressed_connection_gets_a_bomb_or_a_broken_stream() {
    let simulator = start(|_| {}).await;
    let query = "v=10&compress=zstd-stream";
    let mut client = Client::dial_with(&simulator.gateway_url(), query).await.unwrap();
    client.json().await;

    simulator.inject(Fault::Garbage { what: Garbage::Bomb { bytes: 16 << 20 } }).unwrap();
    let bomb = client.json().await;
    simulator.inject(Fault::Garbage { what: Garbage::BrokenCompression }).unwrap();
    let broken = client.next().await;

    assert_eq!(bomb["d"]["content"].as_str().unwrap().len(), 16 << 20);
    assert!(matches!(broken, Came::Garbage(_)), "{broken:?}");
}

#[tokio::test]
async fn a_payload_comes_in_several_messages() {
    let simulator = start(|_| {}).await;
    for query in ["v=10", "v=10&compress=zlib-stream", "v=10&compress=zstd-stream"] {
        let mut client = Client::dial_with(&simulator.gateway_url(), query).await.unwrap();
        client.json().await;

        simulator.inject(Fault::Garbage { what: Garbage::Split { messages: 3 } }).unwrap();
        simulator.inject(Fault::AskHeartbeat).unwrap();
        let mut bytes = Vec::new();
        for _ in 0..3 {
            match client.next().await {
                Came::Garbage(part) => bytes.extend(part),
                Came::Json(whole) => bytes.extend(whole.to_string().into_bytes()),
                end @ (Came::Closed(_) | Came::Gone) => panic!("{end:?}"),
            }
        }
        client.send(heartbeat(0)).await;

        let payload: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(payload["op"], 1, "{query}");
        assert_eq!(client.json().await["op"], 11, "{query}: the next one is whole");
    }
}

#[tokio::test]
async fn messages_come_in_frames_of_the_size_that_is_told() {
    let simulator = start(|_| {}).await;
    simulator.inject(Fault::Fragment { bytes: 5 }.times(2)).unwrap();
    let mut socket = TcpStream::connect(simulator.addr()).await.unwrap();
    let upgrade = "GET /?v=10 HTTP/1.1\r\nHost: simulator\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(upgrade.as_bytes()).await.unwrap();

    let mut came = Vec::new();
    let frames = loop {
        came.push(socket.read_u8().await.unwrap());
        let head = came.windows(4).position(|part| part == b"\r\n\r\n");
        if let Some(head) = head.filter(|head| came.len() >= head + 4 + 14) {
            break came.split_off(head + 4);
        }
    };
    let (_client, ready) = Client::ready(&simulator, 0, 1).await;

    // Text that goes on, five bytes; then a continuation that goes on.
    assert_eq!((&frames[..2], &frames[7..9]), (&[0x01, 5][..], &[0x00, 5][..]));
    assert_eq!(ready["shard"], json!([0, 1]), "a client puts it together");
}

#[tokio::test]
async fn withheld_dispatches_stop_without_a_hole_and_come_back() {
    let simulator = start(|options| options.event_rate = 500.0).await;
    let events = ["MESSAGE_CREATE", "GUILD_CREATE"].map(str::to_owned).into();
    simulator.inject(Fault::Withhold { events }.on([0])).unwrap();

    let (mut client, _) = Client::ready(&simulator, 0, 1).await;
    let mut last = 1;
    for _ in 0..100 {
        let payload = client.json().await;
        let name = payload["t"].as_str().unwrap();
        assert!(!["MESSAGE_CREATE", "GUILD_CREATE"].contains(&name));
        last += 1;
        assert_eq!(payload["s"], last);
    }
    simulator.clear_faults();

    client.sequences_until("MESSAGE_CREATE").await;
}

#[tokio::test]
async fn omitted_dispatches_come_back_with_a_resume() {
    let simulator = start(|_| {}).await;
    let (mut client, session, _) = settled(&simulator).await;

    simulator.inject(Fault::Garbage { what: Garbage::Omit { count: 1 } }).unwrap();
    simulator.inject(Fault::Garbage { what: Garbage::Undecodable }).unwrap();
    simulator.inject(Fault::Garbage { what: Garbage::UnknownEvent }).unwrap();
    assert_eq!(client.json().await["s"], 23);
    drop(client);
    let mut client = Client::resume(&simulator.gateway_url(), &session, 21).await;

    assert_eq!(client.sequences_until("RESUMED").await, [22, 23, 24]);
}

#[tokio::test]
async fn ready_names_the_resume_url_that_is_told() {
    let simulator = start(|_| {}).await;
    simulator.inject(Fault::ResumeUrl { url: "wss://evil.example".into() }.times(1)).unwrap();

    let (_, ready) = Client::ready(&simulator, 0, 1).await;

    assert_eq!(ready["resume_gateway_url"], "wss://evil.example");
}

#[tokio::test]
async fn a_burst_is_as_fast_as_told_and_ends() {
    let simulator = start(|_| {}).await;
    let (_client, session, _) = settled(&simulator).await;

    let burst = Fault::Burst { events_per_second: 2_000.0 };
    simulator.inject(burst.on([0]).lasting(Duration::from_secs(1))).unwrap();
    let last = |truth: &apolo::simulator::Truth| truth.session(&session).unwrap().last;
    until(&simulator, |truth| last(truth) > 1_500).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let after = last(&simulator.truth());
    tokio::time::sleep(Duration::from_millis(300)).await;

    assert!((1_500..2_300).contains(&after), "{after}");
    assert_eq!(last(&simulator.truth()), after);
}

#[tokio::test]
async fn a_dispatch_comes_twice_and_a_replay_out_of_order() {
    let simulator = start(|_| {}).await;
    let (mut client, session, _) = settled(&simulator).await;
    simulator.inject(Fault::Duplicate).unwrap();
    assert_eq!(client.json().await["s"], 21);
    drop(client);

    simulator.inject(Fault::ReplayOutOfOrder.times(1)).unwrap();
    let mut client = Client::resume(&simulator.gateway_url(), &session, 17).await;

    assert_eq!(client.sequences_until("RESUMED").await, [19, 18, 21, 20, 22]);
}

#[tokio::test]
async fn down_resets_everything_but_the_control_api() {
    let simulator = start(|_| {}).await;
    let (mut client, session, _) = settled(&simulator).await;

    simulator.inject(Fault::Down).unwrap();

    assert_eq!(client.ended().await, Came::Gone);
    assert!(Client::dial_with(&simulator.gateway_url(), "v=10").await.is_err());
    assert!(reqwest::get(format!("{}/gateway", simulator.api_url())).await.is_err());
    let faults = format!("http://{}/simulator/faults", simulator.addr());
    assert_eq!(reqwest::Client::new().delete(faults).send().await.unwrap().status(), 204);
    let mut client = Client::resume(&simulator.gateway_url(), &session, 21).await;
    assert_eq!(client.json().await["t"], "RESUMED");
}

#[tokio::test]
async fn a_fault_that_could_not_strike_as_it_says_is_refused() {
    let simulator = start(|_| {}).await;
    let refused = |injection: Injection| simulator.inject(injection).unwrap_err();

    assert_eq!(refused(Fault::NoHello.on([1])), InjectError::ShardUnknown("no_hello"));
    assert_eq!(refused(Fault::NoReady.times(0)), InjectError::Never("no_ready"));
    assert_eq!(refused(Fault::Duplicate.times(3)), InjectError::ActsOnce("duplicate"));
    let reserved = Fault::Close { code: Some(1006), when: When::Now };
    assert_eq!(refused(reserved.into()), InjectError::CloseCode(1006));
    for event in ["MESSAGE_CREAT", "READY"] {
        let unknown = Fault::Withhold { events: [event.to_owned()].into() };
        assert_eq!(refused(unknown.into()), InjectError::Event(event.to_owned()));
    }
    let whole = Fault::Garbage { what: Garbage::Split { messages: 1 } };
    assert_eq!(refused(whole.into()), InjectError::Never("garbage"));
}

#[tokio::test]
async fn a_scenario_lets_things_go_wrong_each_at_its_time() {
    let simulator = start(|_| {}).await;
    let (mut client, ..) = settled(&simulator).await;
    let text =
        "[[steps]]\nat_ms = 1\nkind = \"reconnect\"\n[[steps]]\nat_ms = 60\nevent_rate = 100.0";

    simulator.play(Scenario::parse(text).unwrap());

    assert_eq!(client.json().await["op"], 7);
    assert_eq!(client.json().await["s"], 22);
}
