//! Paths to answers.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Serialize;

use crate::model::Token;

use super::{HealthBody, Source, access, access::Way, readiness};

/// No request has a body that means anything; this is what it may hold all the same.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A request whose body dawdles, or whose change finds no quorum, is given up after this.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

const INDEX: &str = "apolo
/health               200 while the process lives and its disk answers; the system's health
/ready                200 or 503; every condition and whether it holds
/metrics              Prometheus
/api/v1/status        everything that this node sees
/api/v1/shards        one row for each shard
/api/v1/unhalt        POST: let identifies go on after a fatal close code
";

#[derive(Clone)]
struct Shared {
    source: Arc<dyn Source>,
    token: Option<Token>,
}

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
}

/// The routes. Each connection adds the [`Way`] by which it came.
pub(super) fn router(source: Arc<dyn Source>, token: Option<Token>) -> Router {
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .route("/api/v1/shards", get(shards))
        .route("/api/v1/unhalt", post(unhalt))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "no such path; `/` lists them") })
        .method_not_allowed_fallback(|| async {
            problem(StatusCode::METHOD_NOT_ALLOWED, "no such method on this path")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(bound_time))
        .with_state(Shared { source, token })
}

async fn bound_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => problem(StatusCode::GATEWAY_TIMEOUT, "no answer within 10 s"),
    }
}

/// 503 asks whoever watches to start the process again, so it is said only where that may help: a process that waits
/// for its disk looks alive in every other way.
async fn health(State(shared): State<Shared>) -> Response {
    let body = HealthBody::from(shared.source.view());
    let hangs = body.stall.is_some();
    let code = if hangs { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(body)).into_response()
}

async fn ready(State(shared): State<Shared>) -> Response {
    let readiness = readiness(&shared.source.view());
    let code = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(readiness)).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, PROMETHEUS)], shared.source.metrics()).into_response()
}

async fn status(State(shared): State<Shared>) -> Response {
    Json(shared.source.view()).into_response()
}

async fn shards(State(shared): State<Shared>) -> Response {
    Json(shared.source.view().shards).into_response()
}

async fn unhalt(
    State(shared): State<Shared>,
    Extension(way): Extension<Way>,
    headers: HeaderMap,
    _body: Bytes,
) -> Response {
    let authorization = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    match access::check(way, shared.token.as_ref(), authorization) {
        Ok(()) => {}
        Err(refused @ access::Refused::NoToken) => {
            return problem(StatusCode::FORBIDDEN, refused.advice());
        }
        Err(refused @ access::Refused::WrongToken) => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            return (challenge, problem(StatusCode::UNAUTHORIZED, refused.advice()))
                .into_response();
        }
    }
    match shared.source.unhalt().await {
        Ok(unhalted) => Json(unhalted).into_response(),
        Err(reason) => problem(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

fn problem(code: StatusCode, error: &str) -> Response {
    (code, Json(Problem { error })).into_response()
}
