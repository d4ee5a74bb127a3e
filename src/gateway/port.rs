//! The types through which a shard's supervisor and the rest of the node speak.

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::{sync::oneshot, time::Instant};

use super::name::EventName;
use crate::model::{Sequence, Session, SessionNumber, ShardId, ShardStatus};

/// What a shard's connection yields, in the order in which it happened.
#[derive(Debug)]
pub enum Item {
    /// READY came, and with it a new session. Its own dispatch (sequence 1) follows. Whoever delivers commits the
    /// session first: an event of a session that nobody remembers could not be resumed to.
    SessionStarted(Session),
    /// A dispatch of the current session.
    Dispatch(Dispatch),
    /// READY or RESUMED came on this connection.
    Connected {
        /// Whether the session went on, rather than began.
        resumed: bool,
    },
    /// A connection that had yielded [`Item::Connected`] ended.
    Disconnected {
        /// In words, for the log and the bot: "closed with 4000", "no heartbeat acknowledgement".
        reason: String,
    },
    /// Discord dropped the session: what it would have sent after `after` is gone.
    SessionLost {
        /// The session.
        session: SessionNumber,
        /// The highest sequence that was put into this queue.
        after: Sequence,
        /// The highest sequence that was seen on the wire, whether or not there was room for it.
        received: Sequence,
        /// Why.
        reason: LostReason,
    },
    /// The answer to [`Control::resume_from`](super::Control::resume_from): what follows starts again behind `after`.
    Rewound {
        /// The session.
        session: SessionNumber,
        /// The sequence that was asked for, or the highest that was put into this queue where that is lower.
        after: Sequence,
    },
}

/// A dispatch as it came from the socket, inflated but not decoded.
#[derive(Debug)]
pub struct Dispatch {
    /// Its place in the session.
    pub sequence: Sequence,
    /// Discord's name of the event, such as `MESSAGE_CREATE`.
    pub name: EventName,
    /// The whole payload.
    pub json: String,
    /// Why it should be looked at twice.
    pub oddity: Option<Oddity>,
}

/// What was wrong with a dispatch that is delivered all the same, since resuming did not cure it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Oddity {
    /// Sequences before this one never came, or could not be kept, twice.
    Gap {
        /// The last sequence before the hole.
        after: Sequence,
    },
    /// It could not be read, twice. Its JSON is handed over raw.
    Undecodable,
}

/// Why Discord no longer has a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LostReason {
    /// Op 9 with `d: false`: too late, or the buffer no longer reaches the sequence.
    InvalidSession,
    /// A close code that ends the session: 4003, 4007 or 4009.
    Closed(u16),
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidSession => f.write_str("op 9: the session is no longer valid"),
            Self::Closed(code) => write!(f, "close code {code}"),
        }
    }
}

/// Why a supervisor returned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Exit {
    /// It was told to stop, or nobody is left to read its queue. The session lives, and can be resumed behind the last
    /// checkpoint.
    Stopped,
    /// Discord said that trying again is of no use.
    Halted(FatalClose),
}

/// A close code that Discord marks as not to be reconnected after (Gateway close event codes).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FatalClose(pub u16);

impl FatalClose {
    /// The fatal code that `code` is, if it is one.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        match code {
            4004 | 4010..=4014 => Some(Self(code)),
            _ => None,
        }
    }

    /// What the operator must do, in one sentence.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self.0 {
            4004 => {
                "Discord refused the token: put the bot's current token into DISCORD_TOKEN, then run `apolo unhalt`."
            }
            4010 => {
                "Discord refused the shard id or total: check --total-shards against what `GET /gateway/bot` recommends, then run `apolo unhalt`."
            }
            4011 => {
                "A shard would see more than 2,500 guilds: raise --total-shards, then run `apolo unhalt`."
            }
            4012 => {
                "Discord no longer speaks this gateway version: update apolo, then run `apolo unhalt`."
            }
            4013 => "The intents are no valid number: correct --intents, then run `apolo unhalt`.",
            4014 => {
                "A privileged intent is not enabled for this bot: enable it in the developer portal or take it out of --intents, then run `apolo unhalt`."
            }
            _ => {
                "Discord closed the connection for good: see its close code, then run `apolo unhalt`."
            }
        }
    }
}

/// Leave to identify, from whoever keeps the ledger.
pub trait Permits: Send + Sync + fmt::Debug {
    /// Waits until this shard may send one IDENTIFY. It may wait for hours (the daily budget) and for ever (a halt);
    /// dropping the future withdraws the request.
    fn acquire(&self, shard: ShardId) -> BoxFuture<'static, Result<Permit, PermitError>>;
}

/// Leave to send one IDENTIFY, before it expires. It counts as spent even where it is dropped.
#[derive(Debug)]
pub struct Permit {
    /// After this it must not be used.
    pub expires: Instant,
    /// Reports that the IDENTIFY was sent; dropped, it says that it was not.
    pub sent: Option<oneshot::Sender<()>>,
    /// Reports that READY came, so that the IDENTIFY was with Discord by then; dropped, it says nothing.
    pub answered: Option<oneshot::Sender<()>>,
}

/// The ledger's keeper is gone: the node is stopping.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the identify ledger is closed")]
pub struct PermitError;

/// What an observer sees of a shard's connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// Ready, spawning, disconnected or dead.
    pub shard: ShardStatus,
    /// What it is doing.
    pub phase: Phase,
    /// The session that it is in.
    pub session: Option<SessionNumber>,
    /// Round trip of the last heartbeat.
    pub latency: Option<Duration>,
    /// Connections opened since the start.
    pub connects: u64,
    /// Why the last connection ended.
    pub last_disconnect: Option<String>,
}

/// The steps of a connection's life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Waits before the next attempt.
    BackingOff {
        /// When it will try.
        until: Instant,
    },
    /// TCP, TLS, WebSocket, HELLO.
    Connecting,
    /// Waits for leave to identify.
    WaitingForPermit,
    /// Sent IDENTIFY, waits for READY.
    Identifying,
    /// Sent RESUME, waits for RESUMED.
    Resuming,
    /// Events flow.
    Connected,
    /// Connected, but what comes is dropped until the handlers have caught up; then it resumes.
    Behind,
    /// Identified too often because its handlers stay behind; waits out the ten minutes.
    Parked {
        /// When it may identify again.
        until: Instant,
    },
    /// Ended by a fatal close code.
    Halted(FatalClose),
}
