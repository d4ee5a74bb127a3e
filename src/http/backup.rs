//! What the bot keeps, as a file to keep elsewhere, and back.

use std::io;

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, rejection::JsonRejection},
    http::header,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::stream::BoxStream;

use super::{
    KvProblem, kv,
    routes::{Asked, Shared, refusal},
};
use crate::state::user::{CHUNK_BYTES_MAX, RestoreId, RestorePlan, RestoreStep, Restored};

/// A backup's bytes, as they are made.
pub type BackupStream = BoxStream<'static, io::Result<Bytes>>;

/// A restore is a row of short requests, each of which may be sent again: `POST /api/v1/restore` with the plan, one for
/// each chunk, and `finish`. So none of them takes long, and any node may be asked at any time.
pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/api/v1/backup", get(backup))
        .route("/api/v1/restore", post(begin))
        .route("/api/v1/restore/{id}/finish", post(finish))
        .route("/api/v1/restore/{id}/abandon", post(abandon))
        .route("/api/v1/restore/{id}/{number}", post(put))
        .layer(DefaultBodyLimit::max(CHUNK_BYTES_MAX))
}

/// Who may not change what the bot keeps does not see it either.
async fn backup((shared, way, headers): Asked) -> Response {
    if let Some(refused) = refusal(&shared.0, way.0, &headers) {
        return refused;
    }
    match shared.0.source.backup().await {
        Ok(bytes) => {
            let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
            (kind, Body::from_stream(bytes)).into_response()
        }
        Err(why) => kv::refused(why),
    }
}

async fn begin(asked: Asked, plan: Result<Json<RestorePlan>, JsonRejection>) -> Response {
    let plan = plan.map(|Json(plan)| RestoreStep::Begin(plan));
    step(asked, plan.map_err(|error| KvProblem::Malformed(error.body_text()))).await
}

async fn put(Path((id, number)): Path<(u64, u32)>, asked: Asked, chunk: Bytes) -> Response {
    step(asked, Ok(RestoreStep::Chunk { id: RestoreId(id), number, chunk })).await
}

async fn finish(Path(id): Path<u64>, asked: Asked) -> Response {
    step(asked, Ok(RestoreStep::Finish(RestoreId(id)))).await
}

async fn abandon(Path(id): Path<u64>, asked: Asked) -> Response {
    step(asked, Ok(RestoreStep::Abandon(RestoreId(id)))).await
}

async fn step((shared, way, headers): Asked, step: Result<RestoreStep, KvProblem>) -> Response {
    if let Some(refused) = refusal(&shared.0, way.0, &headers) {
        return refused;
    }
    let done: Result<Option<Restored>, _> = match step {
        Ok(step) => shared.0.source.restore(step).await,
        Err(why) => Err(why),
    };
    match done {
        Ok(done) => Json(done).into_response(),
        Err(why) => kv::refused(why),
    }
}
