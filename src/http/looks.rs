//! Answers that change nothing: the cluster, its nodes, its shards, and what became of one.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};

use super::{
    HealthBody, ShardRow,
    routes::{Shared, problem},
    streams::without_shards,
};
use crate::model::ShardId;
use crate::timeline::Entry;

/// A shard, and what became of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ShardHistory {
    /// How it is now.
    #[serde(flatten)]
    pub row: ShardRow,
    /// What happened to it, oldest first, as far back as the node that answers keeps it: at most to its start.
    pub history: Vec<Arc<Entry>>,
}

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/api/v1/health", get(health))
        .route("/api/v1/status", get(status))
        .route("/api/v1/cluster", get(cluster))
        .route("/api/v1/nodes", get(nodes))
        .route("/api/v1/shards", get(shards))
        .route("/api/v1/shards/{shard}", get(shard))
}

/// The body of `/health`, for programs that want no status of 503.
async fn health(State(shared): State<Shared>) -> Response {
    Json(HealthBody::from(shared.source.view())).into_response()
}

async fn status(State(shared): State<Shared>) -> Response {
    Json(shared.source.survey().await).into_response()
}

async fn cluster(State(shared): State<Shared>) -> Response {
    let mut view = shared.source.survey().await;
    view.shards.clear();
    Json(without_shards(&view)).into_response()
}

async fn nodes(State(shared): State<Shared>) -> Response {
    Json(&shared.source.survey().await.nodes).into_response()
}

async fn shards(State(shared): State<Shared>) -> Response {
    Json(&shared.source.survey().await.shards).into_response()
}

async fn shard(shard: Result<Path<u32>, PathRejection>, State(shared): State<Shared>) -> Response {
    let shard = match shard {
        Ok(Path(shard)) => shard,
        Err(rejection) => return problem(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    let view = shared.source.survey().await;
    let Some(row) = view.shards.iter().find(|row| row.shard == ShardId(shard)) else {
        let text = match view.shards.len() {
            0 => "the number of shards is not known yet".to_owned(),
            total => format!("there is no shard {shard}: there are {total}, from 0 on"),
        };
        return problem(StatusCode::NOT_FOUND, &text);
    };
    let mut history = shared.source.timeline().since(0);
    history.retain(|entry| entry.shards.contains(&row.shard));
    Json(ShardHistory { row: row.clone(), history }).into_response()
}
