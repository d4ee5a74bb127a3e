//! What a client can ask for on the gateway.

use serde_json::json;

use super::client::{Client, start};

#[tokio::test]
async fn all_members_of_a_guild_can_be_asked_for_once_in_30_seconds() {
    let simulator = start(|_| {}).await;
    let (mut client, ready) = Client::ready(&simulator, 0, 1).await;
    let guild = ready["guilds"][0]["id"].as_str().unwrap();
    let ask = json!({ "op": 8, "d": { "guild_id": guild, "query": "", "limit": 0, "nonce": "n" } });

    client.send(ask.clone()).await;
    client.sequences_until("GUILD_MEMBERS_CHUNK").await;
    client.send(ask).await;
    let limited = loop {
        let payload = client.json().await;
        if payload["t"] == "RATE_LIMITED" {
            break payload;
        }
    };

    assert_eq!(limited["d"]["opcode"], 8);
    assert_eq!(limited["d"]["meta"], json!({ "guild_id": guild, "nonce": "n" }));
    assert!(limited["d"]["retry_after"].as_f64().unwrap() > 25.0);
}

#[tokio::test]
async fn soundboard_sounds_are_answered() {
    let simulator = start(|_| {}).await;
    let (mut client, ready) = Client::ready(&simulator, 0, 1).await;
    let guild = ready["guilds"][0]["id"].as_str().unwrap();

    client.send(json!({ "op": 31, "d": { "guild_ids": [guild] } })).await;

    client.sequences_until("SOUNDBOARD_SOUNDS").await;
}
