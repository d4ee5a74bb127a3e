//! Tokens by which nodes join: made, listed and revoked.

use axum::{
    Json, Router,
    extract::{Path, rejection::JsonRejection},
    http::StatusCode,
    response::Response,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};

use super::routes::{Asked, Shared, answer, problem, refusal};
use crate::model::{TokenId, UnixMillis};

/// What an operator asks about tokens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokenAsk {
    /// All that are on record.
    List,
    /// One more.
    Create(TokenRequest),
    /// One less.
    Revoke(TokenId),
}

/// A token that is to be put on record. Its secret stays with whoever has made it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenRequest {
    /// Its public part.
    pub id: TokenId,
    /// What was hashed in front of the secret.
    pub salt: [u8; 16],
    /// SHA-256 of the salt and the secret.
    pub hash: [u8; 32],
    /// How long it may be used.
    pub lifetime_ms: u64,
    /// The name of the only node that may use it.
    pub name: Option<String>,
}

/// What is answered.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum TokenAnswer {
    /// All that are on record.
    List(Vec<TokenRow>),
    /// One was put on record.
    Created(TokenCreated),
    /// One was revoked, in words.
    Revoked(super::Changed),
}

/// A token that is on record.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenCreated {
    /// The last part of its text: what the authority's key is known by.
    pub pin: String,
    /// From here on it is refused.
    pub expires_at: UnixMillis,
}

/// A token, as it is listed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenRow {
    /// Its public part.
    pub id: String,
    /// The name of the only node that may use it.
    pub name: Option<String>,
    /// From here on it is refused.
    pub expires_at: UnixMillis,
    /// The node that has used it.
    pub used_by: Option<String>,
    /// When.
    pub used_at: Option<UnixMillis>,
}

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/api/v1/tokens", get(list).post(create))
        .route("/api/v1/tokens/{id}/revoke", post(revoke))
}

async fn list(asked: Asked) -> Response {
    done(Ok(TokenAsk::List), asked).await
}

async fn create(asked: Asked, request: Result<Json<TokenRequest>, JsonRejection>) -> Response {
    let ask = request.map(|Json(request)| TokenAsk::Create(request));
    done(ask.map_err(|error| error.body_text()), asked).await
}

async fn revoke(Path(id): Path<String>, asked: Asked) -> Response {
    let ask = id.parse().map(TokenAsk::Revoke);
    done(ask.map_err(|error| format!("{id:?}: {error}")), asked).await
}

/// Who may make a token may see which there are, and nobody else: they say which nodes are about to come.
async fn done(ask: Result<TokenAsk, String>, (shared, way, headers): Asked) -> Response {
    if let Some(refused) = refusal(&shared.0, way.0, &headers) {
        return refused;
    }
    match ask {
        Ok(ask) => answer(shared.0.source.tokens(ask).await),
        Err(reason) => problem(StatusCode::BAD_REQUEST, &reason),
    }
}
