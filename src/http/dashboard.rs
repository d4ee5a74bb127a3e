//! The page at `/`, from the binary itself: no build step, and nothing from elsewhere.

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::routes::{INDEX, Shared, problem};

const PAGE: &str = include_str!("dashboard/index.html");

/// What the page is made of, beside itself, and its type.
const PARTS: &[(&str, &str, &str)] = &[
    ("dashboard.css", CSS, include_str!("dashboard/dashboard.css")),
    ("dashboard.js", JS, include_str!("dashboard/dashboard.js")),
    ("details.js", JS, include_str!("dashboard/details.js")),
    ("health.js", JS, include_str!("dashboard/health.js")),
    ("icon.svg", "image/svg+xml", include_str!("dashboard/icon.svg")),
    ("keys.js", JS, include_str!("dashboard/keys.js")),
    ("map.js", JS, include_str!("dashboard/map.js")),
    ("nodes.js", JS, include_str!("dashboard/nodes.js")),
    ("shards.js", JS, include_str!("dashboard/shards.js")),
    ("states.js", JS, include_str!("dashboard/states.js")),
    ("stream.js", JS, include_str!("dashboard/stream.js")),
    ("timeline.js", JS, include_str!("dashboard/timeline.js")),
    ("words.js", JS, include_str!("dashboard/words.js")),
];

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// Names come from peers and from Discord: whatever slips through may load nothing and run nothing.
const POLICY: &str =
    "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/", get(page)).route("/dashboard/{part}", get(part))
}

/// A browser gets the page, and everybody else the paths that there are.
async fn page(headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("text/html")) {
        return answer(&headers, "text/html; charset=utf-8", PAGE);
    }
    ([(header::VARY, "accept")], INDEX).into_response()
}

async fn part(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match PARTS.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, text)) => answer(&headers, kind, text),
        None => problem(StatusCode::NOT_FOUND, "the page has no such part"),
    }
}

/// A browser asks again each time, so that a node that was updated is not shown by the old page.
fn answer(headers: &HeaderMap, kind: &'static str, text: &'static str) -> Response {
    let tag = format!("\"{:08x}\"", crc32fast::hash(text.as_bytes()));
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == tag.as_str());
    let common = [
        (header::ETAG, tag.as_str()),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::VARY, "accept"),
    ];
    if known {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(header::CONTENT_TYPE, kind)], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_that_the_page_and_its_scripts_name_is_served() {
        let texts = PARTS.iter().map(|(_, _, text)| *text).chain([PAGE]);
        for text in texts {
            for (at, _) in text.match_indices("from \"./").chain(text.match_indices("/dashboard/"))
            {
                let rest = &text[at..];
                let rest = rest.trim_start_matches("from \"./").trim_start_matches("/dashboard/");
                let name: String = rest.chars().take_while(|c| *c != '"' && *c != '\'').collect();

                assert!(PARTS.iter().any(|(known, ..)| *known == name), "{name}");
            }
        }
    }

    #[test]
    fn the_time_line_knows_every_kind_of_event() {
        let (.., timeline) = PARTS.iter().find(|(name, ..)| *name == "timeline.js").unwrap();
        for kind in crate::timeline::Kind::ALL {
            assert!(timeline.contains(&format!("  {}: [", kind.as_str())), "{}", kind.as_str());
        }
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let mut headers = HeaderMap::new();
        let first = answer(&headers, CSS, "a {}");
        headers.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());

        assert_eq!(answer(&headers, CSS, "a {}").status(), StatusCode::NOT_MODIFIED);
        assert_eq!(answer(&headers, CSS, "b {}").status(), StatusCode::OK);
    }
}
