//! The simulator's own HTTP API, under `/simulator`.

use std::sync::{Arc, atomic::Ordering};

use axum::{
    Json, Router,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    core::{Core, lock},
    http::error,
    inject,
    injection::{BURST_MAX, Injection},
    truth::Truth,
};
use crate::model::ShardTotal;

pub(super) fn router() -> Router<Arc<Core>> {
    Router::new()
        .route("/", get(async || HELP))
        .route("/truth", get(truth))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/settings", get(settings).patch(change))
}

const HELP: &str = r#"The Discord simulator's control API. JSON in, JSON out.

GET    /simulator/truth      what was really sent, and every rule that a client broke
GET    /simulator/faults     the faults that are armed
POST   /simulator/faults     inject one, for example:
                             {"kind":"reconnect"}                                op 7 to every connection
                             {"kind":"close","code":4009,"shards":[3]}           one shard's connection
                             {"kind":"invalid_session","resumable":false,
                              "when":"identify","times":5}                       refuse five IDENTIFYs
                             {"kind":"handshake","status":503,"for_ms":10000}    no upgrade for 10 s
                             {"kind":"garbage","what":{"bomb":{"bytes":67108864}}}
DELETE /simulator/faults     disarm all of them
GET    /simulator/settings   what can be changed
PATCH  /simulator/settings   change it: {"event_rate":500.0,"recommended_shards":32,
                             "session_start_remaining":3,"max_concurrency":1}

Kinds: reconnect, invalid_session, close, reset, eof (each with "when": now, accept, before_hello, hello, identify,
resume), handshake, no_hello, malformed_hello, no_ready, no_resumed, no_heartbeat_ack, ask_heartbeat, stall, trickle, half_open,
expire, garbage, fragment, withhold, resume_url, gateway_bot, burst, duplicate, replay_out_of_order, down.
Limits, all optional: "shards": [ids], "url": "main" or "resume", "times": n, "for_ms": n.
"#;

/// What can be changed while the simulator runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    event_rate: Option<f64>,
    recommended_shards: Option<ShardTotal>,
    session_start_remaining: Option<u32>,
    max_concurrency: Option<u32>,
}

impl Settings {
    /// Whether the rate is one.
    pub(super) fn is_possible(&self) -> bool {
        self.event_rate.is_none_or(|rate| (0.0..=BURST_MAX).contains(&rate))
    }
}

async fn truth(State(core): State<Arc<Core>>) -> Json<Truth> {
    Json(core.truth())
}

async fn faults(State(core): State<Arc<Core>>) -> Json<Vec<Injection>> {
    Json(lock(&core.armed).list(Instant::now()))
}

async fn add_fault(
    State(core): State<Arc<Core>>,
    injection: Result<Json<Value>, JsonRejection>,
) -> Response {
    let injected = match injection {
        Ok(Json(json)) => Injection::from_json(json)
            .and_then(|injection| inject::inject(&core, &injection))
            .map_err(|error| error.to_string()),
        Err(rejection) => Err(rejection.body_text()),
    };
    match injected {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(message) => error(StatusCode::BAD_REQUEST, 0, &message),
    }
}

async fn clear_faults(State(core): State<Arc<Core>>) -> StatusCode {
    inject::clear(&core);
    StatusCode::NO_CONTENT
}

async fn settings(State(core): State<Arc<Core>>) -> Json<Value> {
    let limit = lock(&core.ledger).limit(Instant::now());
    Json(json!({
        "event_rate": core.rate(),
        "recommended_shards": core.recommended_shards.load(Ordering::Relaxed),
        "session_start_remaining": limit.remaining,
        "max_concurrency": limit.max_concurrency,
    }))
}

async fn change(
    State(core): State<Arc<Core>>,
    settings: Result<Json<Settings>, JsonRejection>,
) -> Response {
    match settings {
        Ok(Json(settings)) if settings.is_possible() => {
            apply(&core, settings);
            StatusCode::NO_CONTENT.into_response()
        }
        Ok(_) => error(StatusCode::BAD_REQUEST, 0, "event_rate must lie between 0 and 1,000,000"),
        Err(rejection) => error(StatusCode::BAD_REQUEST, 0, &rejection.body_text()),
    }
}

pub(super) fn apply(core: &Core, settings: Settings) {
    if settings.event_rate.is_some() {
        core.set_rate(settings.event_rate);
    }
    if let Some(total) = settings.recommended_shards {
        core.recommended_shards.store(total.get(), Ordering::Relaxed);
    }
    if let Some(remaining) = settings.session_start_remaining {
        lock(&core.ledger).set_remaining(remaining);
    }
    if let Some(max_concurrency) = settings.max_concurrency {
        lock(&core.ledger).set_max_concurrency(max_concurrency);
    }
}
