//! Paths to answers.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::model::{ShardId, Token};

use super::{
    Change, HealthBody, Source, access,
    access::Way,
    audit, backup, dashboard, kv, looks, openapi,
    picture::Gallery,
    readiness,
    streams::{self, STREAMS_MAX},
    tokens,
};

/// No request has a body that means anything; this is what it may hold all the same.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A request whose body dawdles, or whose change finds no quorum, is given up after this.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) const INDEX: &str = "apolo (in a browser this is the dashboard)
/health               200 while the process turns and its disk answers; the system's health
/ready                200 or 503; every condition and whether it holds
/startup              200 once the data directory is open; no other node is needed for it
/metrics              Prometheus
/api/v1/openapi.json  all of this for programs: OpenAPI 3.1
/api/v1/status        everything that this node sees
/api/v1/status/stream the same as server-sent events, each second
/api/v1/cluster       the same without the shards
/api/v1/health        the body of /health, with 200 always
/api/v1/nodes         one row for each node
/api/v1/shards        one row for each shard
/api/v1/shards/SHARD  one of them, and what became of it
/api/v1/events[?shard=SHARD]  what happened, as a list; with `Accept: text/event-stream` as it happens
/api/v1/drain/NODE    POST: hand a node's shards to the others, and give it none; undrain takes it back
/api/v1/move/SHARD/NODE  POST: hand a shard to a node
/api/v1/respawn[/SHARD]  POST: have a shard, or all, drop the connection and resume
/api/v1/transfer-leader[/NODE]  POST: hand the leadership to a node
/api/v1/remove/NODE   POST: forget a node that is dead for good
/api/v1/leave         POST: have this very node leave the cluster, and end
/api/v1/tokens        GET, POST: tokens by which nodes join; /api/v1/tokens/ID/revoke takes one back
/api/v1/kv            POST: read or change what the bot keeps
/api/v1/backup        GET: all that the bot keeps, as a file; /api/v1/restore is what `apolo restore` speaks
/api/v1/unhalt        POST: let identifies go on after a fatal close code
";

#[derive(Clone)]
pub(super) struct Shared {
    pub(super) source: Arc<dyn Source>,
    /// The places of readers of either stream.
    pub(super) events: Arc<Semaphore>,
    pub(super) looks: Arc<Semaphore>,
    pub(super) gallery: Gallery,
    /// The server ends.
    pub(super) stop: CancellationToken,
    token: Option<Token>,
}

/// The body of `/startup`.
#[derive(Serialize)]
struct Startup {
    started: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<String>,
}

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
}

/// The routes. Each connection adds its [`Caller`](audit::Caller), and the [`Way`] by which it came.
pub(super) fn router(
    source: Arc<dyn Source>,
    token: Option<Token>,
    stop: CancellationToken,
) -> Router {
    let places = || Arc::new(Semaphore::new(STREAMS_MAX));
    let gallery = Gallery::default();
    let shared = Shared { source, events: places(), looks: places(), gallery, stop, token };
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/startup", get(startup))
        .route("/metrics", get(metrics))
        .route("/api/v1/openapi.json", get(openapi::document))
        .route("/api/v1/unhalt", post(unhalt))
        .route("/api/v1/drain/{node}", post(drain))
        .route("/api/v1/undrain/{node}", post(undrain))
        .route("/api/v1/respawn", post(respawn_all))
        .route("/api/v1/respawn/{shard}", post(respawn))
        .route("/api/v1/move/{shard}/{node}", post(move_shard))
        .route("/api/v1/remove/{node}", post(remove))
        .route("/api/v1/leave", post(leave))
        .route("/api/v1/transfer-leader", post(transfer_leader))
        .route("/api/v1/transfer-leader/{node}", post(transfer_leader_to))
        .merge(dashboard::routes())
        .merge(tokens::routes())
        .merge(kv::routes())
        .merge(backup::routes())
        .merge(looks::routes())
        .merge(streams::routes())
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "no such path; `/` lists them") })
        .method_not_allowed_fallback(|| async {
            problem(StatusCode::METHOD_NOT_ALLOWED, "no such method on this path")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(bound_time))
        .layer(middleware::from_fn(audit::record))
        .with_state(shared)
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

/// Of this process alone: one that waits for others is not helped by being started again.
async fn startup(State(shared): State<Shared>) -> Response {
    let view = shared.source.view();
    let code = if view.started { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Startup { started: view.started, waiting: view.waiting })).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, PROMETHEUS)], shared.source.metrics()).into_response()
}

async fn unhalt(
    State(shared): State<Shared>,
    Extension(way): Extension<Way>,
    headers: HeaderMap,
    _body: Bytes,
) -> Response {
    if let Some(refused) = refusal(&shared, way, &headers) {
        return refused;
    }
    answer(shared.source.unhalt().await)
}

pub(super) type Asked = (State<Shared>, Extension<Way>, HeaderMap);

async fn drain(Path(node): Path<String>, asked: Asked) -> Response {
    change(Change::Drain { node, wanted: true }, asked).await
}

async fn undrain(Path(node): Path<String>, asked: Asked) -> Response {
    change(Change::Drain { node, wanted: false }, asked).await
}

async fn move_shard(Path((shard, to)): Path<(u32, String)>, asked: Asked) -> Response {
    change(Change::Move { shard: ShardId(shard), to }, asked).await
}

async fn respawn(Path(shard): Path<u32>, asked: Asked) -> Response {
    change(Change::Respawn { shard: Some(ShardId(shard)) }, asked).await
}

async fn respawn_all(asked: Asked) -> Response {
    change(Change::Respawn { shard: None }, asked).await
}

async fn remove(Path(node): Path<String>, asked: Asked) -> Response {
    change(Change::Remove { node }, asked).await
}

async fn leave(asked: Asked) -> Response {
    change(Change::Leave, asked).await
}

async fn transfer_leader(asked: Asked) -> Response {
    change(Change::TransferLeader { to: None }, asked).await
}

async fn transfer_leader_to(Path(node): Path<String>, asked: Asked) -> Response {
    change(Change::TransferLeader { to: Some(node) }, asked).await
}

async fn change(change: Change, (State(shared), Extension(way), headers): Asked) -> Response {
    if let Some(refused) = refusal(&shared, way, &headers) {
        return refused;
    }
    answer(shared.source.change(change).await)
}

/// Whether the caller may change something, and the answer where it may not.
pub(super) fn refusal(shared: &Shared, way: Way, headers: &HeaderMap) -> Option<Response> {
    let authorization = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    match access::check(way, shared.token.as_ref(), authorization) {
        Ok(()) => None,
        Err(refused @ access::Refused::NoToken) => {
            Some(problem(StatusCode::FORBIDDEN, refused.advice()))
        }
        Err(refused @ access::Refused::WrongToken) => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            let problem = problem(StatusCode::UNAUTHORIZED, refused.advice());
            Some((challenge, problem).into_response())
        }
    }
}

pub(super) fn answer(done: Result<impl Serialize, String>) -> Response {
    match done {
        Ok(done) => Json(done).into_response(),
        Err(reason) => problem(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

pub(super) fn problem(code: StatusCode, error: &str) -> Response {
    (code, Json(Problem { error })).into_response()
}
