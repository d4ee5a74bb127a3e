//! Events, from Discord to whoever subscribes.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt as _};

use apolo::{ShardId, consumer::TOKEN_FILE};
use serde_json::{Value, json};

use super::{Beside, Consumer, TOKEN, ack, discord, is_event, until};

/// Which event, for good.
fn place(event: &Value) -> (u64, u64, u64) {
    let number = |key: &str| event[key].as_u64().expect("a number");
    (number("shard"), number("session"), number("sequence"))
}

async fn ready(node: &Beside) -> Value {
    let url = format!("http://{}/ready", node.node.http_addr());
    let body = reqwest::get(url).await.expect("an answer").text().await.expect("a body");
    serde_json::from_str(&body).expect("JSON")
}

fn condition(ready: &Value) -> &Value {
    let conditions = ready["conditions"].as_array().expect("a list");
    conditions.iter().find(|one| one["name"] == "consumers").expect("it is there")
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_for_a_consumer_and_count_once_it_acknowledges_them() {
    let discord = discord(1, 0.0).await;
    let node = Beside::start(&discord, &["bot"]).await;
    node.whole(1).await;
    let missing = ready(&node).await;
    assert_eq!((&missing["ready"], &condition(&missing)["holds"]), (&false.into(), &false.into()));
    let detail = condition(&missing)["detail"].as_str().expect("a text");
    assert!(detail.contains("--wait-for none") && detail.contains("ws://127.0.0.1:"), "{detail}");

    let mut consumer = Consumer::connect(node.address).await;
    let subscribed = consumer.ask(json!({ "type": "subscribe" })).await;
    assert_eq!(subscribed["data"]["group"], "bot");
    // READY, and ten guilds.
    let mut events = Vec::new();
    while events.len() < 11 {
        events.push(consumer.until("an event", is_event).await);
    }

    let all: BTreeSet<_> = events.iter().map(|event| place(event).2).collect();
    assert_eq!(all, (1..=11).collect());
    assert!(events.iter().all(|event| event["redelivered"] == false));
    let ready_event = events.iter().find(|event| event["name"] == "READY").expect("it came");
    assert_eq!(ready_event["data"]["shard"], json!([0, 1]), "its content is Discord's");
    let state = node.node.state();
    let held = &state.shards()[&ShardId(0)];
    assert_eq!(ready_event["epoch"], held.epoch().expect("it runs").to_string());
    assert_eq!(held.checkpoint().sequence.0, 0, "nothing is handled yet");
    for event in &events {
        consumer.say(&ack(event)).await;
    }
    let checkpoint = || node.node.state().shards()[&ShardId(0)].checkpoint().sequence.0;
    until("the checkpoint", || checkpoint() == 11).await;
    assert_eq!(condition(&ready(&node).await)["holds"], true);
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_consumer_left_unacknowledged_comes_again_to_the_next_and_says_so() {
    let discord = discord(2, 50.0).await;
    let node = Beside::start(&discord, &["bot"]).await;
    let mut first = Consumer::connect(node.address).await;
    first.say(&json!({ "type": "subscribe", "window": 3 })).await;
    let mut left = BTreeSet::new();
    for _ in 0..3 {
        left.insert(place(&first.until("an event", is_event).await));
    }
    assert_eq!(first.hear_soon().await, None, "its window is full");

    drop(first);
    let mut second = Consumer::connect(node.address).await;
    second.say(&json!({ "type": "subscribe" })).await;

    let mut again = BTreeSet::new();
    while again.len() < 3 {
        let event = second.until("the same events", is_event).await;
        if event["redelivered"] == true {
            again.insert(place(&event));
        }
        second.say(&ack(&event)).await;
    }
    assert_eq!(again, left);
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_of_a_group_share_the_shards_and_another_group_gets_a_copy() {
    let discord = discord(4, 0.0).await;
    let node = Beside::start(&discord, &["bot"]).await;
    let mut bots = [Consumer::connect(node.address).await, Consumer::connect(node.address).await];
    for bot in &mut bots {
        bot.ask(json!({ "type": "subscribe", "events": ["MESSAGE_CREATE"] })).await;
    }
    let mut audit = Consumer::connect(node.address).await;
    audit.ask(json!({ "type": "subscribe", "group": "audit", "events": ["MESSAGE_CREATE"] })).await;

    let other = json!({ "type": "subscribe", "group": "audit", "events": "all" });
    assert_eq!(bots[0].ask(other).await["error"]["code"], "conflict");
    node.whole(4).await;
    // Only now: shards that run already may change hands when a consumer comes.
    discord.set_event_rate(200.0);
    let mut shards = [BTreeSet::new(), BTreeSet::new()];
    while shards.iter().map(BTreeSet::len).sum::<usize>() < 4 {
        for (bot, shards) in bots.iter_mut().zip(&mut shards) {
            while let Some(told) = bot.hear_soon().await {
                if is_event(&told) {
                    assert_eq!(told["name"], "MESSAGE_CREATE");
                    shards.insert(place(&told).0);
                    bot.say(&ack(&told)).await;
                }
                if shards.len() == 2 {
                    break;
                }
            }
        }
    }
    let mut copied = BTreeSet::new();
    while copied.len() < 4 {
        let event = audit.until("a copy", is_event).await;
        assert_eq!(event["name"], "MESSAGE_CREATE");
        copied.insert(place(&event).0);
        audit.say(&ack(&event)).await;
    }

    assert!(shards.iter().all(|shards| shards.len() == 2), "{shards:?}");
    assert!(shards[0].is_disjoint(&shards[1]), "{shards:?}");
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_goes_out_over_its_shard_and_its_answer_comes_back() {
    let discord = discord(1, 0.0).await;
    let node = Beside::start(&discord, &["bot"]).await;
    node.whole(1).await;
    let mut consumer = Consumer::connect(node.address).await;
    let wanted = ["GUILD_CREATE", "GUILD_MEMBERS_CHUNK"];
    consumer.ask(json!({ "type": "subscribe", "events": wanted })).await;
    let created = consumer.until("a guild", is_event).await;
    let guild = created["data"]["id"].clone();
    // What comes of a guild waits for what came before.
    consumer.say(&ack(&created)).await;

    let query =
        json!({ "op": 8, "d": { "guild_id": guild, "query": "", "limit": 0, "nonce": "n" } });
    let sent = consumer.ask(json!({ "type": "command", "shard": 0, "command": query })).await;

    assert_eq!(sent["type"], "response", "{sent}");
    let chunk = consumer.until("the members", |told| told["name"] == wanted[1]).await;
    assert_eq!((&chunk["data"]["guild_id"], &chunk["data"]["nonce"]), (&guild, &"n".into()));
    for (command, code) in [(json!({ "op": 6, "d": {} }), "refused"), (json!("no"), "malformed")] {
        let told = consumer.ask(json!({ "type": "command", "shard": 0, "command": command })).await;
        assert_eq!(told["error"]["code"], code);
    }
    let elsewhere = json!({ "type": "command", "shard": 7, "command": { "op": 3 } });
    assert_eq!(consumer.ask(elsewhere).await["error"]["code"], "notHere");
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_bot_keeps_is_read_and_written_over_the_socket() {
    let discord = discord(1, 0.0).await;
    let node = Beside::start(&discord, &[]).await;
    let mut consumer = Consumer::connect(node.address).await;
    let mut kv = async |ask: Value| {
        consumer.ask(json!({ "type": "kv", "namespace": "users", "ask": ask })).await
    };

    let put = kv(json!({ "put": { "key": "a", "value": { "text": "1" } } })).await;
    let got = kv(json!({ "get": { "key": "a" } })).await;
    let absent = json!({ "key": "a", "value": { "text": "2" }, "expected": "absent" });
    let refused = kv(json!({ "put": absent })).await;
    let top = kv(json!({ "score": { "key": "top", "member": "m", "change": { "add": 5 } } })).await;
    let held = kv(json!({ "acquire": { "key": "job", "holder": "me", "ttlMs": 5_000 } })).await;
    let seen = kv(json!({ "watch": { "prefix": "", "from": 1 } })).await;

    assert_eq!(put["data"]["revision"], 1, "{put}");
    assert_eq!(got["data"]["value"]["text"], "1", "{got}");
    assert_eq!(refused["error"]["code"], "conflict", "{refused}");
    assert_eq!(top["data"]["number"], 5, "{top}");
    assert!(held["data"]["token"].as_u64().is_some(), "{held}");
    assert_eq!(seen["data"]["changes"].as_array().map(Vec::len), Some(3), "{seen}");
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_generated_for_the_owner_alone_where_none_is_given() {
    let discord = discord(1, 0.0).await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = apolo::config::Config::default();
    config.data_dir = directory.path().join("data");
    config.bot_addr = Some(([127, 0, 0, 1], 0).into());
    config.discord_api = discord.api_url().parse().expect("a URL");
    config.token = apolo::Token::parse("any");
    let file = config.data_dir.join(TOKEN_FILE);
    let node = Beside::start_with(config, &[], directory).await;

    let token = std::fs::read_to_string(&file).expect("it was generated");

    let mode = std::fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(Consumer::try_connect(node.address, TOKEN).await.is_none());
    assert!(Consumer::try_connect(node.address, &token).await.is_some());
    node.node.shutdown().await;
    drop(node.directory);
}
