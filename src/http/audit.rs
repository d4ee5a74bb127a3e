//! A record of every change that was asked for: who, what, and what came of it.
//!
//! It is a log line under the target `apolo::audit`, so that a collector can keep it apart. Of the request it has the path
//! alone: bodies hold what the bot keeps.

use std::{fmt, net::SocketAddr};

use axum::{extract::Request, http::Method, middleware::Next, response::Response};

use super::access::Way;

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

/// Records what is no GET, and who has taken a backup: it holds all.
pub(super) async fn record(request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if reads && !request.uri().path().ends_with("/backup") {
        return next.run(request).await;
    }
    let caller = request.extensions().get::<Caller>().copied();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    if response.extensions().get::<Unchanging>().is_none() {
        let who = caller.map_or_else(|| "unknown".to_owned(), |caller| caller.to_string());
        let status = response.status().as_u16();
        // Escaped: the path is the caller's.
        tracing::info!(target: "apolo::audit", who, %method, ?path, status, "asked for a change");
    }
    response
}
