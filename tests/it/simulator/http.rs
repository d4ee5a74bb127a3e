//! REST and the control API.

use apolo::{
    ShardTotal,
    simulator::{Fault, GatewayBot, Simulator},
};
use reqwest::{Client as Http, Response};
use serde_json::{Value, json};

use super::client::start;

async fn ask(simulator: &Simulator, path: &str) -> Response {
    let url = format!("{}{path}", simulator.api_url());
    Http::new().get(url).header("authorization", "Bot t").send().await.unwrap()
}

async fn json_of(simulator: &Simulator, path: &str) -> Value {
    ask(simulator, path).await.json().await.unwrap()
}

fn control(simulator: &Simulator, path: &str) -> String {
    format!("http://{}/simulator{path}", simulator.addr())
}

#[tokio::test]
async fn gateway_bot_names_the_url_the_shards_and_the_limit() {
    let simulator =
        start(|options| options.recommended_shards = ShardTotal::new(32).unwrap()).await;

    let answer = json_of(&simulator, "/gateway/bot").await;

    let limit =
        json!({ "total": 1000, "remaining": 1000, "reset_after": 0, "max_concurrency": 16 });
    let url = simulator.gateway_url();
    assert_eq!(answer, json!({ "url": url, "shards": 32, "session_start_limit": limit }));
    assert_eq!(json_of(&simulator, "/gateway").await, json!({ "url": url }));
    assert_eq!(simulator.truth().gateway_bot_requests, 1);
}

#[tokio::test]
async fn a_request_without_the_token_is_refused() {
    let simulator = start(|_| {}).await;

    for path in ["/gateway/bot", "/applications/@me", "/users/@me"] {
        let url = format!("{}{path}", simulator.api_url());
        let answer = reqwest::get(url).await.unwrap();

        assert_eq!(answer.status(), 401);
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body, json!({ "message": "401: Unauthorized", "code": 0 }));
    }
    let broken = serde_json::to_value(&simulator.truth().broken).unwrap();
    assert_eq!(broken["C1-authorization"]["count"], 3);
}

#[tokio::test]
async fn the_application_knows_its_guilds() {
    let simulator = start(|options| options.guilds = 123).await;

    let application = json_of(&simulator, "/applications/@me").await;
    let user = json_of(&simulator, "/users/@me").await;

    assert_eq!(application["approximate_guild_count"], 123);
    assert_eq!(application["id"], user["id"]);
}

#[tokio::test]
async fn gateway_bot_fails_and_lies_as_told() {
    let simulator = start(|_| {}).await;
    let lie = |answer| simulator.inject(Fault::GatewayBot { answer }.times(1)).unwrap();

    lie(GatewayBot::Status { status: 429, retry_after_ms: 1_500 });
    let limited = ask(&simulator, "/gateway/bot").await;
    assert_eq!(
        (limited.status().as_u16(), &limited.headers()["retry-after"]),
        (429, &"2".parse().unwrap())
    );
    lie(GatewayBot::Status { status: 503, retry_after_ms: 0 });
    assert_eq!(ask(&simulator, "/gateway/bot").await.status(), 503);
    lie(GatewayBot::Shards(0));
    assert_eq!(json_of(&simulator, "/gateway/bot").await["shards"], 0);
    lie(GatewayBot::Remaining(3));
    let limit = json_of(&simulator, "/gateway/bot").await["session_start_limit"].clone();
    assert_eq!(limit["remaining"], 3);
    lie(GatewayBot::Url("ws://evil.example".into()));
    assert_eq!(json_of(&simulator, "/gateway/bot").await["url"], "ws://evil.example");
    lie(GatewayBot::Body("<html>".into()));
    assert_eq!(ask(&simulator, "/gateway/bot").await.text().await.unwrap(), "<html>");

    assert_eq!(ask(&simulator, "/gateway/bot").await.status(), 200);
    assert_eq!(simulator.truth().faults["gateway_bot"], 6);
}

#[tokio::test]
async fn an_interaction_callback_is_recorded() {
    let simulator = start(|_| {}).await;
    let url = format!("{}/interactions/77/token/callback", simulator.api_url());
    let http = Http::new();

    let right = http.post(&url).json(&json!({ "type": 4, "data": { "content": "pong" } }));
    assert_eq!(right.send().await.unwrap().status(), 204);
    let wrong = http.post(&url).json(&json!({ "data": {} }));
    assert_eq!(wrong.send().await.unwrap().status(), 400);

    let truth = simulator.truth();
    assert_eq!(truth.interactions.len(), 1);
    assert_eq!((truth.interactions[0].id.as_str(), truth.interactions[0].kind), ("77", 4));
}

#[tokio::test]
async fn an_unknown_path_has_discords_error() {
    let simulator = start(|_| {}).await;

    let answer = ask(&simulator, "/nowhere").await;

    assert_eq!(answer.status(), 404);
    assert_eq!(answer.json::<Value>().await.unwrap()["message"], "404: Not Found");
}

#[tokio::test]
async fn the_control_api_changes_settings_and_says_what_is_wrong() {
    let simulator = start(|_| {}).await;
    let http = Http::new();
    let settings = control(&simulator, "/settings");

    let change =
        json!({ "event_rate": 12.5, "recommended_shards": 8, "session_start_remaining": 3 });
    assert_eq!(http.patch(&settings).json(&change).send().await.unwrap().status(), 204);
    let wrong = http.patch(&settings).json(&json!({ "rate": 1 })).send().await.unwrap();

    assert_eq!(wrong.status(), 400);
    assert!(wrong.text().await.unwrap().contains("unknown field `rate`"));
    let now: Value = http.get(&settings).send().await.unwrap().json().await.unwrap();
    assert_eq!(now["event_rate"], 12.5);
    let answer = json_of(&simulator, "/gateway/bot").await;
    assert_eq!(
        (&answer["shards"], &answer["session_start_limit"]["remaining"]),
        (&json!(8), &json!(3))
    );
}

#[tokio::test]
async fn faults_can_be_injected_listed_and_cleared_over_http() {
    let simulator = start(|_| {}).await;
    let http = Http::new();
    let faults = control(&simulator, "/faults");

    let fault =
        json!({ "kind": "close", "code": 4004, "when": "identify", "times": 2, "shards": [1] });
    assert_eq!(http.post(&faults).json(&fault).send().await.unwrap().status(), 204);
    let listed: Value = http.get(&faults).send().await.unwrap().json().await.unwrap();
    let wrong = json!({ "kind": "no_hello", "shards": [1] });
    let refused = http.post(&faults).json(&wrong).send().await.unwrap();

    assert_eq!(listed, json!([fault]));
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.unwrap().contains("before the shard is known"));
    http.delete(&faults).send().await.unwrap();
    let listed: Value = http.get(&faults).send().await.unwrap().json().await.unwrap();
    assert_eq!(listed, json!([]));
    let help = reqwest::get(control(&simulator, "")).await.unwrap().text().await.unwrap();
    assert!(help.contains("POST   /simulator/faults"), "{help}");
    let truth: Value =
        reqwest::get(control(&simulator, "/truth")).await.unwrap().json().await.unwrap();
    assert_eq!(truth["connections_opened"], 0);
}
