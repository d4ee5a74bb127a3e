//! The rules that a client can break, by name.

use serde::{Deserialize, Serialize};

/// A rule of Discord's that a client can break. The names follow the gateway checklist: connect (C), identify (I),
/// heartbeat (H), resume (R), and the limits on sending (L).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Rule {
    /// C1: `GET /gateway/bot` and everything else but `/gateway` needs the bot's token. Answered with 401.
    #[serde(rename = "C1-authorization")]
    Authorization,
    /// C2: `v` must be a version that is still served. Closed with 4012.
    #[serde(rename = "C2-version")]
    Version,
    /// C2: `encoding` and `compress` must be ones that exist. Answered with 400.
    #[serde(rename = "C2-encoding")]
    Encoding,
    /// C4: nothing but heartbeats comes before IDENTIFY or RESUME. Closed with 4003.
    #[serde(rename = "C4-not-authenticated")]
    NotAuthenticated,
    /// C4: one IDENTIFY or RESUME for a connection. Closed with 4005.
    #[serde(rename = "C4-already-authenticated")]
    AlreadyAuthenticated,
    /// C4: a payload has at most 4,096 bytes. Closed with 4002.
    #[serde(rename = "C4-payload-size")]
    PayloadSize,
    /// C4: an opcode must be one that clients send. Closed with 4001.
    #[serde(rename = "C4-opcode")]
    Opcode,
    /// C4: a payload must be JSON of the opcode's shape. Closed with 4002.
    #[serde(rename = "C4-payload")]
    Payload,
    /// I1: one IDENTIFY for `shard_id % max_concurrency` in 5 s. Answered with op 9.
    #[serde(rename = "I1-identify-rate")]
    IdentifyRate,
    /// I2: at most `session_start_limit.total` IDENTIFYs in 24 hours. All sessions end and the token is reset.
    #[serde(rename = "I2-identify-budget")]
    IdentifyBudget,
    /// I3: the token must be the bot's. Closed with 4004.
    #[serde(rename = "I3-token")]
    Token,
    /// I3: `shard` must be `[id, n]` with id below n and n a multiple of what Discord assigned. Closed with 4010.
    #[serde(rename = "I3-shard")]
    Shard,
    /// I4: a session sees at most 2,500 guilds. Closed with 4011.
    #[serde(rename = "I4-sharding-required")]
    ShardingRequired,
    /// I4: intents must be given and exist. Closed with 4013.
    #[serde(rename = "I4-intents")]
    Intents,
    /// I4: privileged intents must be enabled for the application. Closed with 4014.
    #[serde(rename = "I4-disallowed-intents")]
    DisallowedIntents,
    /// H1: a heartbeat in every interval. Closed with 4000; the session can be resumed.
    #[serde(rename = "H1-heartbeat")]
    Heartbeat,
    /// H1: a heartbeat names no sequence that was not sent.
    #[serde(rename = "H1-heartbeat-sequence")]
    HeartbeatSequence,
    /// R2: RESUME comes with the same version, encoding and compression as the IDENTIFY. Answered with op 9.
    #[serde(rename = "R2-transport")]
    Transport,
    /// R2: RESUME names no sequence that was not sent. Closed with 4007.
    #[serde(rename = "R2-sequence")]
    Sequence,
    /// L1: 120 payloads in 60 s on a connection. Closed with 4008.
    #[serde(rename = "L1-send-rate")]
    SendRate,
    /// L2: all members of a guild once in 30 s. Answered with `RATE_LIMITED`.
    #[serde(rename = "L2-request-members")]
    RequestMembers,
}

/// What a client did wrong, and the close code that it gets for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The close code.
    pub code: u16,
    /// What it sent.
    pub detail: String,
}

impl Violation {
    pub(super) fn new(rule: Rule, code: u16, detail: impl Into<String>) -> Self {
        Self { rule, code, detail: detail.into() }
    }
}

/// The words that Discord puts into the close frame (Gateway close event codes).
pub(super) const fn close_reason(code: u16) -> &'static str {
    match code {
        4001 => "Unknown opcode.",
        4002 => "Error while decoding payload.",
        4003 => "Not authenticated.",
        4004 => "Authentication failed.",
        4005 => "Already authenticated.",
        4007 => "Invalid seq.",
        4008 => "Rate limited.",
        4009 => "Session timed out.",
        4010 => "Invalid shard.",
        4011 => "Sharding required.",
        4012 => "Invalid API version.",
        4013 => "Invalid intent(s).",
        4014 => "Disallowed intent(s).",
        _ => "Unknown error.",
    }
}
