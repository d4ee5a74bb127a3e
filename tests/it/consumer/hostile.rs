//! What nobody should send.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_websockets::Message;

use super::{Beside, Consumer, DEADLINE, discord};

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_consumer_costs_its_connection_and_the_others_live() {
    let discord = discord(1, 0.0).await;
    let node = Beside::start(&discord, &[]).await;
    let mut well = Consumer::connect(node.address).await;
    let long_name = "x".repeat(300);
    let frames = [
        Message::text("no JSON"),
        Message::text("[]"),
        Message::text("{}"),
        Message::text(json!({ "type": "ack", "delivery": -1 }).to_string()),
        Message::text(json!({ "type": "subscribe", "evnts": [] }).to_string()),
        Message::text(json!({ "type": "health", "id": "x".repeat(300) }).to_string()),
        Message::text("[".repeat(100_000)),
        Message::text("x".repeat(2 * 1024 * 1024)),
        Message::binary(vec![0_u8; 16]),
    ];

    for frame in frames {
        let mut consumer = Consumer::connect(node.address).await;
        consumer.say_raw(frame).await;
        while consumer.hear().await.is_some() {}
    }

    let meaningless = [
        json!({ "type": "no such" }),
        json!({ "type": "ack" }),
        json!({ "type": "subscribe", "group": "a b" }),
        json!({ "type": "subscribe", "events": [long_name] }),
        json!({ "type": "response", "receiver": 0 }),
        json!({ "type": "request", "event": "x", "receiver": {} }),
        json!({ "type": "kv", "namespace": "a", "ask": { "gte": {} } }),
    ];
    for frame in meaningless {
        let told = well.ask(frame.clone()).await;
        assert_eq!(told["error"]["code"], "malformed", "{frame}: {told}");
    }
    assert_eq!(well.ask(json!({ "type": "health" })).await["type"], "response");
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_says_goodbye_is_answered() {
    let discord = discord(1, 0.0).await;
    let node = Beside::start(&discord, &[]).await;

    let answered = Consumer::connect(node.address).await.close().await;

    assert!(answered);
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_websocket_end_and_the_node_lives() {
    let discord = discord(1, 0.0).await;
    let node = Beside::start(&discord, &[]).await;
    let mut random = StdRng::seed_from_u64(4);
    for handshake in [false, true] {
        for _ in 0..50 {
            let mut stream = TcpStream::connect(node.address).await.expect("it listens");
            let mut bytes = vec![0_u8; random.random_range(1..2_000)];
            random.fill(&mut bytes[..]);
            if handshake {
                let head = "GET /bot/v1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer s3cret\r\nConnection: Upgrade\r\n\
                    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
                stream.write_all(head.as_bytes()).await.expect("it is read");
            }
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let ended = timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
            assert!(ended.is_ok(), "it ends");
        }
    }

    let mut well = Consumer::connect(node.address).await;
    assert_eq!(well.ask(json!({ "type": "health" })).await["type"], "response");
    node.node.shutdown().await;
}
