//! Messages between shards, when their handlers are consumers.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Beside, Consumer, discord};

fn is_call(told: &Value) -> bool {
    told["type"] == "request" || told["type"] == "broadcast"
}

fn response(call: &Value, data: Value) -> Value {
    let mut answer = call.clone();
    answer["type"] = "response".into();
    answer["data"] = data;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_all_runs_the_handler_for_each_shard_and_gathers_the_answers() {
    let discord = discord(4, 0.0).await;
    let node = Beside::start(&discord, &[]).await;
    node.whole(4).await;
    let mut handler = Consumer::connect(node.address).await;
    handler.ask(json!({ "type": "register", "events": ["count"] })).await;
    let mut asker = Consumer::connect(node.address).await;
    let request = json!({ "type": "request", "id": 7, "event": "count", "receiver": "all", "sender": 2, "data": { "x": [1] } });

    asker.say(&request).await;

    let mut asked = BTreeSet::new();
    for _ in 0..4 {
        let call = handler.until("a call", is_call).await;
        assert_eq!((&call["event"], &call["data"]), (&"count".into(), &json!({ "x": [1] })));
        assert_eq!(call["sender"], json!({ "shard": 2 }));
        assert!(call["timestamp"].as_u64().is_some_and(|at| at > 0));
        let shard = call["receiver"]["shard"].as_u64().expect("a shard");
        asked.insert(shard);
        let answer = if shard == 3 {
            json!({ "type": "error", "id": call["id"], "receiver": call["receiver"], "error": "no" })
        } else {
            response(&call, (shard * 10).into())
        };
        handler.say(&answer).await;
    }
    assert_eq!(asked, (0..4).collect());
    let gathered = asker.until("the answers", |told| told["id"] == 7).await;
    assert_eq!(gathered["data"]["answers"], json!({ "0": 0, "1": 10, "2": 20 }));
    let failed = &gathered["data"]["failed"]["3"];
    assert_eq!((&failed["code"], &failed["mayHaveRun"]), (&"handlerFailed".into(), &true.into()));
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_dies_with_a_message_is_told_of_and_an_idempotent_one_is_replaced() {
    let discord = discord(1, 0.0).await;
    let node = Beside::start(&discord, &[]).await;
    node.whole(1).await;
    let mut asker = Consumer::connect(node.address).await;

    for (event, idempotent) in [("once", false), ("job", true)] {
        let mut handler = Consumer::connect(node.address).await;
        let register = json!({ "type": "register", "events": [event], "idempotent": idempotent });
        handler.ask(register.clone()).await;
        let request = json!({ "type": "request", "id": 1, "event": event, "receiver": 0 });
        asker.say(&request).await;
        let call = handler.until("the call", is_call).await;

        let mut next = Consumer::connect(node.address).await;
        next.ask(register).await;
        drop(handler);
        if idempotent {
            let again = next.until("the call once more", is_call).await;
            assert_eq!(again["id"], call["id"]);
            next.say(&response(&again, "done".into())).await;
        }

        let told = asker.until("an end", |told| told["id"] == 1).await;
        if idempotent {
            assert_eq!(told["data"], "done");
        } else {
            let error = &told["error"];
            assert_eq!((&error["code"], &error["mayHaveRun"]), (&"ownerLost".into(), &true.into()));
        }
    }
    let nobody = json!({ "type": "request", "event": "nobody's", "receiver": 0 });
    assert_eq!(asker.ask(nobody).await["error"]["code"], "noHandler");
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_no_longer_has_the_handler_told() {
    let discord = discord(1, 0.0).await;
    let node = Beside::start(&discord, &[]).await;
    node.whole(1).await;
    let mut handler = Consumer::connect(node.address).await;
    handler.ask(json!({ "type": "register", "events": ["slow"] })).await;
    let mut asker = Consumer::connect(node.address).await;

    let late = json!({ "type": "request", "event": "slow", "receiver": 0, "timeout": 2_000 });
    let told = asker.ask(late).await;

    assert_eq!(told["error"]["code"], "timedOut");
    let call = handler.until("the call", is_call).await;
    let cancelled = handler.until("its end", |told| told["type"] == "cancelled").await;
    assert_eq!((&cancelled["id"], &cancelled["receiver"]), (&call["id"], &call["receiver"]));
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_reaches_every_shard_and_asks_for_no_answer() {
    let discord = discord(3, 0.0).await;
    let node = Beside::start(&discord, &[]).await;
    node.whole(3).await;
    let mut consumer = Consumer::connect(node.address).await;
    consumer.ask(json!({ "type": "register", "events": ["refresh"] })).await;

    let told =
        consumer.ask(json!({ "type": "broadcast", "event": "refresh", "receiver": 0 })).await;
    assert_eq!(told["error"]["code"], "malformed");
    consumer
        .say(&json!({ "type": "broadcast", "event": "refresh", "receiver": "all", "data": 5 }))
        .await;

    let mut shards = BTreeSet::new();
    while shards.len() < 3 {
        let call = consumer.until("the broadcast", is_call).await;
        assert_eq!((&call["type"], &call["data"]), (&"broadcast".into(), &5.into()));
        assert!(shards.insert(call["receiver"]["shard"].as_u64().expect("a shard")), "once each");
        consumer.say(&response(&call, Value::Null)).await;
    }
    node.node.shutdown().await;
}
