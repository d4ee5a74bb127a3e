//! A record of every change that was asked for: who, what, and what came of it.
//!
//! It is a log line under the target `apolo::audit`, so that a collector can keep it apart. Of the request it has the path
//! alone: bodies hold what the bot keeps.

use std::{fmt, net::SocketAddr};

use axum::{
    extract::Request,
    http::{Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::access::Way;

/// So much of a path is recorded: the longest that there is has two names.
const PATH_BYTES_MAX: usize = 256;

/// Who asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Caller {
    /// Through the socket, as this user of the machine.
    User(Option<u32>),
    /// Over TCP.
    Address(Option<SocketAddr>),
}

impl Caller {
    pub(super) const fn way(self) -> Way {
        match self {
            Self::User(_) => Way::Socket,
            Self::Address(_) => Way::Tcp,
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(Some(uid)) => write!(f, "uid {uid}"),
            Self::Address(Some(address)) => write!(f, "{address}"),
            Self::User(None) | Self::Address(None) => f.write_str("unknown"),
        }
    }
}

/// Put into the answer to a question that changes nothing, whatever its method.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unchanging;

/// Records what is no GET, and who has taken a backup: it holds all. What was begun goes on, and is recorded, though its
/// caller hangs up.
pub(super) async fn record(request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if reads && !request.uri().path().ends_with("/backup") {
        return next.run(request).await;
    }
    let caller = request.extensions().get::<Caller>().copied();
    let method = request.method().clone();
    let path: String = request.uri().path().chars().take(PATH_BYTES_MAX).collect();
    let answered = tokio::spawn(async move {
        let response = next.run(request).await;
        let unchanging = response.extensions().get::<Unchanging>().is_some();
        let nothing =
            matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
        if !unchanging && !nothing {
            let who = caller.map_or_else(|| "unknown".to_owned(), |caller| caller.to_string());
            let status = response.status().as_u16();
            // Escaped: the path is the caller's.
            tracing::info!(target: "apolo::audit", who, %method, ?path, status, "asked for a change");
        }
        response
    });
    match answered.await {
        Ok(response) => response,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
