//! What the bot keeps, as operators and scripts ask for it.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde::{Deserialize, Serialize};

use super::{
    audit::Unchanging,
    routes::{Asked, Shared, problem, refusal},
};
use crate::state::user::Kind;

/// A value of 64 KiB as hexadecimal digits, one that is expected, and their keys.
const BODY_BYTES_MAX: usize = 512 * 1024;

/// What is asked of a namespace.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KvRequest {
    /// Which.
    pub namespace: String,
    /// What.
    pub ask: KvAsk,
}

/// What is asked.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum KvAsk {
    /// What a key holds: a row, or null.
    Get {
        /// Which.
        key: String,
        /// Whether this node's copy will do, which may be old.
        #[serde(default)]
        local: bool,
    },
    /// Rows of the keys that begin with a prefix, in order.
    List {
        /// With what they begin.
        prefix: String,
        /// Only those behind this key.
        after: Option<String>,
        /// How many at most.
        #[serde(default = "most")]
        most: usize,
        /// Whether this node's copy will do, which may be old.
        #[serde(default)]
        local: bool,
    },
    /// Sets a value.
    Put {
        /// Which key.
        key: String,
        /// To what.
        value: KvText,
        /// For how long, in milliseconds.
        ttl_ms: Option<u64>,
        /// If what.
        #[serde(default)]
        expected: Expected,
    },
    /// Removes a key.
    Delete {
        /// Which.
        key: String,
        /// If what.
        #[serde(default)]
        expected: Expected,
    },
    /// Adds to a counter.
    Increment {
        /// Which key.
        key: String,
        /// How much.
        by: i64,
        /// How long one lives that begins here, in milliseconds.
        ttl_ms: Option<u64>,
    },
    /// Adds to a member's score, or sets it, or takes the member off.
    Score {
        /// The leaderboard.
        key: String,
        /// Whose.
        member: String,
        /// What.
        change: ScoreChange,
    },
    /// The first members of a leaderboard.
    Top {
        /// The leaderboard.
        key: String,
        /// How many at most.
        #[serde(default = "most")]
        most: usize,
        /// Whether this node's copy will do, which may be old.
        #[serde(default)]
        local: bool,
    },
    /// Takes a lock.
    Acquire {
        /// Which.
        key: String,
        /// For whom.
        holder: String,
        /// For how long, in milliseconds.
        ttl_ms: u64,
    },
    /// Prolongs a lock.
    Renew {
        /// Which.
        key: String,
        /// The acquisition's token.
        token: u64,
        /// For how long, in milliseconds.
        ttl_ms: u64,
    },
    /// Gives a lock back.
    Release {
        /// Which.
        key: String,
        /// The acquisition's token.
        token: u64,
    },
    /// Waits for changes of keys that begin with a prefix.
    Watch {
        /// With what they begin.
        prefix: String,
        /// The first revision that is wanted; what comes from now on, where there is none.
        from: Option<u64>,
    },
}

/// Rows of an answer, where nobody says how many.
const fn most() -> usize {
    100
}

/// What must hold of a key.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Expected {
    /// Nothing.
    #[default]
    Anything,
    /// There is none.
    Absent,
    /// It was changed last at this revision.
    Revision(u64),
    /// It holds this.
    Value(KvText),
}

/// What becomes of a score.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ScoreChange {
    /// So much is added.
    Add(i64),
    /// It is set.
    Set(i64),
    /// It ends.
    Remove,
}

/// Bytes in JSON: as text where they are some.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KvText {
    /// UTF-8.
    Text(String),
    /// Two hexadecimal digits a byte.
    Hex(String),
}

/// What a key holds.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KvRow {
    /// The key.
    pub key: String,
    /// What kind of thing it holds.
    pub kind: Kind,
    /// A value's bytes.
    pub value: Option<KvText>,
    /// A counter's number, or how many members a leaderboard has.
    pub number: Option<i64>,
    /// Who holds a lock.
    pub holder: Option<String>,
    /// The revision that made the key; a lock's token.
    pub created: u64,
    /// The revision that changed it last.
    pub modified: u64,
    /// How long it lives yet, in milliseconds.
    pub ttl_ms: Option<u64>,
}

/// What a change has done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KvDone {
    /// The revision that it made, if it changed anything.
    pub revision: Option<u64>,
    /// What the counter or the score is now.
    pub number: Option<i64>,
    /// The lock's token.
    pub token: Option<u64>,
}

/// A member's score.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KvScore {
    /// The member.
    pub member: String,
    /// Its score.
    pub score: i64,
}

/// What has changed; nothing, where nothing has within some seconds.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KvChanges {
    /// From where to ask next.
    pub next: u64,
    /// In order.
    pub changes: Vec<KvChange>,
}

/// A key has changed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KvChange {
    /// The change's number.
    pub revision: u64,
    /// Which key.
    pub key: String,
    /// What happened: `put`, `count`, `score`, `acquired`, `released`, `deleted` or `expired`.
    pub change: String,
    /// The new value.
    pub value: Option<KvText>,
    /// The new number, or the member's score.
    pub number: Option<i64>,
    /// The member, or the lock's holder.
    pub name: Option<String>,
}

/// What is answered.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum KvAnswer {
    /// To a get.
    Row(Option<KvRow>),
    /// To a list.
    Rows(Vec<KvRow>),
    /// To a change.
    Done(KvDone),
    /// To a question for the first members.
    Top(Vec<KvScore>),
    /// To a watch.
    Changes(KvChanges),
}

/// Why there is no answer, in a sentence for whoever asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KvProblem {
    /// It could not have been meant.
    Malformed(String),
    /// What there is forbids it.
    Conflict(String),
    /// It can't be done now, and may be asked again: nothing was changed, or it counts once.
    Unavailable(String),
    /// It may have happened, or may yet. Read before it is asked again.
    InDoubt(String),
}

impl KvText {
    /// The bytes as text, where they can be shown as such.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let shown = |c: char| !c.is_control() || c == '\n' || c == '\t';
        match str::from_utf8(bytes) {
            Ok(text) if text.chars().all(shown) => Self::Text(text.to_owned()),
            _ => Self::Hex(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }

    /// The bytes, unless the digits are none.
    #[must_use]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let digits = match self {
            Self::Text(text) => return Some(text.clone().into_bytes()),
            Self::Hex(digits) => digits.as_bytes(),
        };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let byte = |pair: &[u8]| match *pair {
            [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
            _ => None,
        };
        digits.chunks(2).map(byte).collect()
    }
}

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/api/v1/kv", post(ask)).layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

/// What the bot keeps is its own: who may not change it does not see it either.
async fn ask(
    (shared, way, headers): Asked,
    request: Result<Json<KvRequest>, JsonRejection>,
) -> Response {
    if let Some(refused) = refusal(&shared.0, way.0, &headers) {
        return refused;
    }
    let answer = match request {
        Ok(Json(request)) => shared.0.source.kv(request).await,
        Err(rejection) => Err(KvProblem::Malformed(rejection.body_text())),
    };
    match answer {
        Ok(done @ KvAnswer::Done(_)) => Json(done).into_response(),
        Ok(read) => {
            let mut response = Json(read).into_response();
            response.extensions_mut().insert(Unchanging);
            response
        }
        Err(why) => refused(why),
    }
}

pub(super) fn refused(why: KvProblem) -> Response {
    match why {
        KvProblem::Malformed(why) => problem(StatusCode::BAD_REQUEST, &why),
        KvProblem::Conflict(why) => problem(StatusCode::CONFLICT, &why),
        KvProblem::Unavailable(why) => problem(StatusCode::SERVICE_UNAVAILABLE, &why),
        KvProblem::InDoubt(why) => problem(StatusCode::GATEWAY_TIMEOUT, &why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_where_they_can_be_shown_and_digits_otherwise() {
        for (bytes, shown) in [
            (&b"caf\xc3\xa9\n"[..], KvText::Text("caf\u{e9}\n".to_owned())),
            (b"\xff\x00", KvText::Hex("ff00".to_owned())),
            (b"a\x1b[31m", KvText::Hex("611b5b33316d".to_owned())),
            (b"", KvText::Text(String::new())),
        ] {
            assert_eq!(KvText::of(bytes), shown);
            assert_eq!(shown.bytes().as_deref(), Some(bytes));
        }
        for wrong in ["f", "0g", "fff"] {
            assert_eq!(KvText::Hex(wrong.to_owned()).bytes(), None, "{wrong}");
        }
    }
}
