//! What can be made to go wrong, and where.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use super::injection::Injection;

/// Something that Discord, or the network before it, does wrong.
///
/// | Row | Fault | What happens |
/// |---|---|---|
/// | G1 | `reconnect` | op 7: at once, before HELLO, instead of it, or instead of the answer to IDENTIFY or RESUME |
/// | G2 | `invalid_session` | op 9 with `d` as told |
/// | G3–G5 | `close` | a close frame with any code, or with none |
/// | G3 | `reset` | TCP RST (the client's library calls it 1006) |
/// | G3 | `eof` | TCP FIN without a close frame (a TLS EOF looks the same) |
/// | G4 | `close` with `when: resume` | 4007 or 4009 for a RESUME |
/// | G5 | `close` with `when: identify` | 4004, 4010–4014 |
/// | G6 | `handshake` | an HTTP status instead of the upgrade |
/// | G6 | `eof`, `reset` with `when: accept` | accepted, then closed |
/// | G6 | `gateway_bot` | 401, 429, 5xx, garbage or lies from `GET /gateway/bot` |
/// | G7 | `no_hello`, `malformed_hello`, `no_ready`, `no_resumed` | silence where an answer is due |
/// | G8 | `no_heartbeat_ack` | heartbeats are not acknowledged |
/// | H1 | `ask_heartbeat` | op 1 |
/// | G9 | `stall` | nothing more is written, everything is still read |
/// | G9 | `trickle` | that many bytes a second are written |
/// | G9 | `half_open` | neither read nor written; the connection stays open |
/// | G10 | `invalid_session` with `when: identify` | identify refused: an op 9 storm |
/// | G11 | `expire` | the sessions are forgotten, their connections cut |
/// | G12 | `garbage` | see [`Garbage`] |
/// | G12 | `fragment` | messages come in WebSocket frames of that many bytes |
/// | R8 | `withhold` | dispatches of these names stop, whatever the intents say |
/// | G13 | `resume_url` | READY names this URL |
/// | G14 | `burst` | each shard in scope makes that many events a second |
/// | G15 | `duplicate` | the last dispatch once more |
/// | G15 | `replay_out_of_order` | a replay with its neighbours swapped |
/// | G16 | `down` | every connection is reset, HTTP and WebSocket alike |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// Op 7.
    Reconnect {
        /// At which step.
        #[serde(default)]
        when: When,
    },
    /// Op 9.
    InvalidSession {
        /// `d`.
        resumable: bool,
        /// At which step.
        #[serde(default)]
        when: When,
    },
    /// A close frame.
    Close {
        /// Its code, if it has one.
        code: Option<u16>,
        /// At which step.
        #[serde(default)]
        when: When,
    },
    /// TCP RST.
    Reset {
        /// At which step.
        #[serde(default)]
        when: When,
    },
    /// TCP FIN.
    Eof {
        /// At which step.
        #[serde(default)]
        when: When,
    },
    /// This HTTP status instead of 101.
    Handshake {
        /// The status.
        status: u16,
    },
    /// HELLO never comes.
    NoHello,
    /// HELLO without an interval.
    MalformedHello,
    /// IDENTIFY is never answered, and no session begins. It is counted all the same.
    NoReady,
    /// RESUME is never answered.
    NoResumed,
    /// Heartbeats are not acknowledged.
    NoHeartbeatAck,
    /// Op 1: the client must heartbeat at once.
    AskHeartbeat,
    /// Nothing more is written.
    Stall,
    /// So little is written.
    Trickle {
        /// Bytes a second, at least 1.
        bytes_per_second: u32,
    },
    /// Nothing more is read or written.
    HalfOpen,
    /// The sessions are forgotten.
    Expire,
    /// What no client should have to read.
    Garbage {
        /// Which.
        what: Garbage,
    },
    /// Messages in WebSocket frames of this many payload bytes, on connections that begin from now on.
    Fragment {
        /// At least 1.
        bytes: usize,
    },
    /// Dispatches that do not come, as was seen of Discord for hours (discord-api-docs #8162). They have no sequence,
    /// so nothing tells the client.
    Withhold {
        /// Their names: of events that happen, or `GUILD_CREATE` behind READY.
        events: BTreeSet<String>,
    },
    /// READY's `resume_gateway_url`.
    ResumeUrl {
        /// The URL.
        url: String,
    },
    /// `GET /gateway/bot` answers so.
    GatewayBot {
        /// The answer.
        answer: GatewayBot,
    },
    /// More events.
    Burst {
        /// For each shard in scope.
        events_per_second: f64,
    },
    /// The last dispatch once more.
    Duplicate,
    /// Replays come with neighbours swapped.
    ReplayOutOfOrder,
    /// Nobody is there.
    Down,
}

/// At which step of a connection a fault strikes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At once, on the connections that are open.
    #[default]
    Now,
    /// When a connection is accepted, before the upgrade.
    Accept,
    /// Before HELLO, which still comes.
    BeforeHello,
    /// Instead of HELLO.
    Hello,
    /// Instead of the answer to IDENTIFY.
    Identify,
    /// Instead of the answer to RESUME.
    Resume,
}

/// What no client should have to read.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Garbage {
    /// Text that is no JSON.
    MalformedJson,
    /// An opcode that does not exist.
    UnknownOpcode,
    /// A dispatch with arrays nested this deep.
    Deep {
        /// Levels.
        depth: usize,
    },
    /// A dispatch of this many random bytes, which compression does not shrink much.
    Large {
        /// Bytes.
        bytes: usize,
    },
    /// A dispatch of this many equal bytes: a bomb where the connection is compressed.
    Bomb {
        /// Bytes.
        bytes: usize,
    },
    /// Text that is no UTF-8.
    InvalidUtf8,
    /// A dispatch with half of a surrogate pair.
    LoneSurrogate,
    /// Bytes that are no compressed stream (text that is no JSON on a plain connection). The connection's context is
    /// spoilt from there on.
    BrokenCompression,
    /// The sequence leaves out this many numbers, for good: a replay has the same hole.
    SequenceJump {
        /// Numbers.
        by: u64,
    },
    /// A dispatch whose sequence lies this far back.
    SequenceRewind {
        /// Numbers.
        by: u64,
    },
    /// So many dispatches are lost on the way, though the session keeps them: a RESUME brings them back.
    Omit {
        /// Dispatches.
        count: u32,
    },
    /// The next payload comes in so many WebSocket messages. zlib's stream allows it: a payload ends with `00 00 ff ff`.
    /// With zstd, and without compression, every message is a payload, and so none of these can be read.
    Split {
        /// Messages, at least 2; at most one for each byte.
        messages: usize,
    },
    /// A dispatch with a valid envelope whose data has the wrong shape; a replay brings it again.
    Undecodable,
    /// A dispatch of a name that no client knows.
    UnknownEvent,
}

/// What `GET /gateway/bot` answers.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayBot {
    /// A status, with Discord's JSON error; 429 says to wait `retry_after_ms`.
    Status {
        /// The status.
        status: u16,
        /// For 429.
        #[serde(default)]
        retry_after_ms: u64,
    },
    /// This number of shards.
    Shards(u32),
    /// This many sessions left.
    Remaining(u32),
    /// This `max_concurrency`.
    MaxConcurrency(u32),
    /// This URL.
    Url(String),
    /// This text with status 200.
    Body(String),
    /// No answer at all, for as long as the client waits.
    Silence,
}

/// Which of the gateway's two URLs a connection came by.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Url {
    /// The one that `GET /gateway/bot` names.
    Main,
    /// READY's `resume_gateway_url`.
    Resume,
}

impl Fault {
    /// The fault on these shards alone.
    #[must_use]
    pub fn on(self, shards: impl IntoIterator<Item = u32>) -> Injection {
        Injection::from(self).on(shards)
    }

    /// The fault, so many times.
    #[must_use]
    pub fn times(self, times: u32) -> Injection {
        Injection::from(self).times(times)
    }

    /// The fault, for so long.
    #[must_use]
    pub fn lasting(self, span: Duration) -> Injection {
        Injection::from(self).lasting(span)
    }

    /// The step at which it strikes; `None` where it acts at once on what is open.
    pub(super) const fn step(&self) -> Option<Step> {
        match self {
            Self::Reconnect { when }
            | Self::InvalidSession { when, .. }
            | Self::Close { when, .. }
            | Self::Reset { when }
            | Self::Eof { when } => when.step(),
            Self::Handshake { .. } => Some(Step::Accept),
            Self::NoHello | Self::MalformedHello => Some(Step::Hello),
            Self::NoReady => Some(Step::Identify),
            Self::NoResumed => Some(Step::Resume),
            Self::NoHeartbeatAck => Some(Step::Heartbeat),
            Self::ResumeUrl { .. } => Some(Step::Ready),
            Self::GatewayBot { .. } => Some(Step::GatewayBot),
            Self::ReplayOutOfOrder => Some(Step::Replay),
            Self::Burst { .. } | Self::Withhold { .. } => Some(Step::Generate),
            Self::Fragment { .. } => Some(Step::Upgrade),
            Self::Down => Some(Step::Down),
            Self::AskHeartbeat
            | Self::Stall
            | Self::Trickle { .. }
            | Self::HalfOpen
            | Self::Expire
            | Self::Garbage { .. }
            | Self::Duplicate => None,
        }
    }

    /// Its name, as it is counted and as JSON calls it.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Reconnect { .. } => "reconnect",
            Self::InvalidSession { .. } => "invalid_session",
            Self::Close { .. } => "close",
            Self::Reset { .. } => "reset",
            Self::Eof { .. } => "eof",
            Self::Handshake { .. } => "handshake",
            Self::NoHello => "no_hello",
            Self::MalformedHello => "malformed_hello",
            Self::NoReady => "no_ready",
            Self::NoResumed => "no_resumed",
            Self::NoHeartbeatAck => "no_heartbeat_ack",
            Self::AskHeartbeat => "ask_heartbeat",
            Self::Stall => "stall",
            Self::Trickle { .. } => "trickle",
            Self::HalfOpen => "half_open",
            Self::Expire => "expire",
            Self::Garbage { .. } => "garbage",
            Self::Fragment { .. } => "fragment",
            Self::Withhold { .. } => "withhold",
            Self::ResumeUrl { .. } => "resume_url",
            Self::GatewayBot { .. } => "gateway_bot",
            Self::Burst { .. } => "burst",
            Self::Duplicate => "duplicate",
            Self::ReplayOutOfOrder => "replay_out_of_order",
            Self::Down => "down",
        }
    }
}

impl When {
    const fn step(self) -> Option<Step> {
        match self {
            Self::Now => None,
            Self::Accept => Some(Step::Accept),
            Self::BeforeHello => Some(Step::BeforeHello),
            Self::Hello => Some(Step::Hello),
            Self::Identify => Some(Step::Identify),
            Self::Resume => Some(Step::Resume),
        }
    }
}

/// The places in the simulator that ask whether a fault is armed for them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Accept,
    Upgrade,
    BeforeHello,
    Hello,
    Identify,
    Resume,
    Ready,
    Replay,
    Heartbeat,
    GatewayBot,
    Generate,
    Down,
}

impl Step {
    pub(super) const fn is_before_the_shard_is_known(self) -> bool {
        matches!(
            self,
            Self::Accept
                | Self::Upgrade
                | Self::BeforeHello
                | Self::Hello
                | Self::GatewayBot
                | Self::Down
        )
    }
}
