//! From a request to a WebSocket: who may have one, and what to say to everybody else.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, Method, Request, StatusCode, header};
use ring::digest;
use subtle::ConstantTimeEq as _;

use crate::model::Token;

/// Where consumers connect to.
pub const PATH: &str = "/bot/v1";

/// What the key is hashed with (RFC 6455, 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why there is no WebSocket, in a sentence for whoever asked.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) why: &'static str,
}

/// The `Sec-WebSocket-Accept` of a request that may have a WebSocket.
pub(super) fn check<B>(request: &Request<B>, token: &Token) -> Result<String, Refused> {
    let refused = |status, why| Err(Refused { status, why });
    if request.uri().path() != PATH {
        return refused(StatusCode::NOT_FOUND, "no such path: consumers connect to /bot/v1");
    }
    let headers = request.headers();
    // Before anything else is told: only its bearer learns how to go on.
    let shown = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let shown = shown.and_then(|value| value.strip_prefix(b"Bearer "));
    if !shown.is_some_and(|shown| shown.ct_eq(token.expose().as_bytes()).into()) {
        return refused(
            StatusCode::UNAUTHORIZED,
            "consumers show `Authorization: Bearer …` with APOLO_BOT_TOKEN, or with what is in bot.token in the node's data directory",
        );
    }
    let is_upgrade = request.method() == Method::GET
        && names(headers, &header::CONNECTION, "upgrade")
        && names(headers, &header::UPGRADE, "websocket");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
    let version = headers.get(header::SEC_WEBSOCKET_VERSION).map(|value| value.as_bytes());
    match key {
        Some(key) if is_upgrade && version == Some(b"13") => Ok(accept(key)),
        _ => refused(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket (RFC 6455, version 13)"),
    }
}

fn names(headers: &HeaderMap, name: &header::HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(wanted))
}

fn accept(key: &str) -> String {
    let hashed = format!("{key}{GUID}");
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, hashed.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    const RIGHT: &[(&str, &str)] = &[
        ("Authorization", "Bearer s3cret"),
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "WebSocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn a_request_as_the_rfc_has_it_gets_the_rfcs_answer() {
        let token = Token::parse("s3cret").unwrap();

        let accepted = check(&request(PATH, RIGHT), &token);

        assert_eq!(accepted.as_deref(), Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn whoever_shows_no_token_or_asks_for_something_else_is_told_what_is_missing() {
        let token = Token::parse("s3cret").unwrap();
        let status = |path: &str, headers: &[(&str, &str)]| {
            check(&request(path, headers), &token).unwrap_err().status.as_u16()
        };

        assert_eq!(status("/", RIGHT), 404);
        assert_eq!(status(PATH, &RIGHT[1..]), 401);
        let wrong = [&[("Authorization", "Bearer s3cre")], &RIGHT[1..]].concat();
        assert_eq!(status(PATH, &wrong), 401);
        for left_out in &RIGHT[1..] {
            let headers: Vec<_> = RIGHT.iter().filter(|one| *one != left_out).copied().collect();
            assert_eq!(status(PATH, &headers), 426, "without {left_out:?}");
        }
    }
}
