//! The part of Discord's REST API that a gateway client needs.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    control,
    core::{Core, lock},
    fault::{Fault, GatewayBot, Step},
    payload,
    rules::Rule,
    truth::InteractionTruth,
    world::bot_id,
};

/// Discord's REST API and the simulator's own.
pub(super) fn router(core: &Arc<Core>) -> Router {
    let api = Router::new()
        .route("/gateway", get(gateway))
        .route("/gateway/bot", get(gateway_bot))
        .route("/applications/@me", get(application))
        .route("/users/@me", get(user))
        .route("/interactions/{id}/{token}/callback", post(callback));
    Router::new()
        .nest("/api/v10", api.clone())
        .nest("/api/v9", api)
        .nest("/simulator", control::router())
        .fallback(async || error(StatusCode::NOT_FOUND, 0, "404: Not Found"))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(core.clone())
}

async fn gateway(State(core): State<Arc<Core>>) -> Json<Value> {
    Json(json!({ "url": core.gateway_url() }))
}

async fn gateway_bot(State(core): State<Arc<Core>>, headers: HeaderMap) -> Response {
    lock(&core.log).asked_for_gateway_bot(core.now_ms());
    let lie = match core.strike(Step::GatewayBot, None, None) {
        Some(Fault::GatewayBot { answer }) => Some(answer),
        _ => None,
    };
    match &lie {
        Some(GatewayBot::Status { status, retry_after_ms }) => {
            return failure(*status, *retry_after_ms);
        }
        Some(GatewayBot::Body(body)) => return body.clone().into_response(),
        Some(GatewayBot::Silence) => {
            tokio::time::sleep(SILENCE_MAX).await;
            return failure(504, 0);
        }
        _ => {}
    }
    if let Err(refused) = authorize(&core, &headers) {
        return refused;
    }
    let mut limit = lock(&core.ledger).limit(Instant::now());
    let mut url = core.gateway_url();
    let mut shards = core.recommended_shards.load(Ordering::Relaxed);
    match lie {
        Some(GatewayBot::Shards(count)) => shards = count,
        Some(GatewayBot::Remaining(count)) => limit.remaining = count,
        Some(GatewayBot::MaxConcurrency(count)) => limit.max_concurrency = count,
        Some(GatewayBot::Url(other)) => url = other,
        _ => {}
    }
    Json(json!({ "url": url, "shards": shards, "session_start_limit": limit })).into_response()
}

async fn application(State(core): State<Arc<Core>>, headers: HeaderMap) -> Response {
    match authorize(&core, &headers) {
        Ok(()) => {
            let bot = bot_id(core.options.seed);
            Json(payload::application(bot, core.options.guilds)).into_response()
        }
        Err(refused) => refused,
    }
}

async fn user(State(core): State<Arc<Core>>, headers: HeaderMap) -> Response {
    match authorize(&core, &headers) {
        Ok(()) => Json(payload::user(bot_id(core.options.seed))).into_response(),
        Err(refused) => refused,
    }
}

/// An interaction's own token is its authorization.
async fn callback(
    State(core): State<Arc<Core>>,
    Path((id, _token)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    if id.parse::<u64>().is_err() {
        return error(StatusCode::NOT_FOUND, 10_062, "Unknown interaction");
    }
    let kind = serde_json::from_slice::<Value>(&body).ok().and_then(|body| body["type"].as_u64());
    let Some(kind) = kind else {
        return error(StatusCode::BAD_REQUEST, 50_035, "Invalid Form Body");
    };
    let body = String::from_utf8_lossy(&body).into_owned();
    lock(&core.log).answered(InteractionTruth { at_ms: core.now_ms(), id, kind, body });
    StatusCode::NO_CONTENT.into_response()
}

#[expect(clippy::result_large_err, reason = "the error is the response that is sent")]
fn authorize(core: &Core, headers: &HeaderMap) -> Result<(), Response> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| value.strip_prefix("Bot "));
    if token.is_some_and(|token| core.knows(token)) {
        return Ok(());
    }
    core.broke(Rule::Authorization, "a request without the bot's token");
    Err(error(StatusCode::UNAUTHORIZED, 0, "401: Unauthorized"))
}

/// A failure as Discord words it.
fn failure(status: u16, retry_after_ms: u64) -> Response {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if code != StatusCode::TOO_MANY_REQUESTS {
        let reason = code.canonical_reason().unwrap_or("Error");
        return error(code, 0, &format!("{status}: {reason}"));
    }
    let wait = Duration::from_millis(retry_after_ms);
    let body = json!({
        "message": "You are being rate limited.",
        "retry_after": wait.as_secs_f64(),
        "global": false,
    });
    let seconds = wait.as_millis().div_ceil(1_000).to_string();
    (code, [(header::RETRY_AFTER, seconds)], Json(body)).into_response()
}

pub(super) fn error(status: StatusCode, code: u32, message: &str) -> Response {
    (status, Json(json!({ "message": message, "code": code }))).into_response()
}

/// Larger than any interaction's answer without files.
const BODY_MAX: usize = 1 << 20;

/// A request that is not answered is kept for so long.
const SILENCE_MAX: Duration = Duration::from_secs(120);
