//! What really happened: the log against which a client's account is checked.

use std::{collections::BTreeMap, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

use super::{fault::Url, rules::Rule};
use crate::model::UnixMillis;

/// What really happened since the simulator started, at one moment.
///
/// It is ranges and counters, not one record for an event. Lists keep their newest entries, [`RECORDS_MAX`] of each;
/// counters never forget. Times are milliseconds since the start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Truth {
    /// When the simulator started.
    pub started_at: UnixMillis,
    /// When this was taken.
    pub at_ms: u64,
    /// The identify budget was overspent, and Discord would have taken the token away.
    pub token_reset: bool,
    /// IDENTIFYs that went through.
    pub identifies_accepted: u64,
    /// IDENTIFYs that did not.
    pub identifies_refused: u64,
    /// RESUMEs that went through.
    pub resumes_accepted: u64,
    /// RESUMEs that did not.
    pub resumes_refused: u64,
    /// TCP connections for the gateway.
    pub connections_opened: u64,
    /// Requests for `GET /gateway/bot`.
    pub gateway_bot_requests: u64,
    /// When they came.
    pub gateway_bot_at_ms: Vec<u64>,
    /// Rules that a client broke.
    pub broken: BTreeMap<Rule, Broken>,
    /// How often each kind of fault struck.
    pub faults: BTreeMap<String, u64>,
    /// Sessions, the ended ones first.
    pub sessions: Vec<SessionTruth>,
    /// Connections, the ended ones first.
    pub connections: Vec<ConnectionTruth>,
    /// IDENTIFYs.
    pub identifies: Vec<IdentifyTruth>,
    /// RESUMEs.
    pub resumes: Vec<ResumeTruth>,
    /// Interaction callbacks.
    pub interactions: Vec<InteractionTruth>,
    /// The guilds of every shard that anybody asked for.
    #[serde(default)]
    pub shards: Vec<ShardTruth>,
}

/// How many guilds a shard has, and how many members they have, now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ShardTruth {
    /// The shard.
    pub shard: u32,
    /// Of how many.
    pub total: u32,
    /// Guilds that the bot is in, those in an outage included.
    pub guilds: u32,
    /// Guilds in an outage.
    pub unavailable: u32,
    /// The members of all of them.
    pub members: u64,
}

/// How often a rule was broken, and how the last time.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Broken {
    /// Times.
    pub count: u64,
    /// When last.
    pub last_ms: u64,
    /// What happened then.
    pub last: String,
}

/// A session.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct SessionTruth {
    /// Discord's id.
    pub id: String,
    /// The shard.
    pub shard: u32,
    /// Of how many.
    pub total: u32,
    /// Its intents.
    pub intents: u64,
    /// When READY was due.
    pub began_ms: u64,
    /// The highest sequence that exists. The first is 1, which is READY.
    pub last: u64,
    /// The highest sequence that was ever given to a connection.
    pub sent: u64,
    /// The highest sequence that a heartbeat named.
    pub heartbeat: u64,
    /// What a RESUME can no longer bring: everything up to here.
    pub trimmed: u64,
    /// Numbers that were left out on purpose, and so never existed.
    pub skipped: Vec<RangeInclusive<u64>>,
    /// Dispatches that were sent again by a RESUME.
    pub replayed: u64,
    /// Whether a connection has it.
    pub connected: bool,
    /// Its end, if it ended.
    pub end: Option<SessionEnd>,
    /// When.
    pub ended_ms: Option<u64>,
}

impl SessionTruth {
    /// The sequences that exist.
    #[must_use]
    pub const fn dispatched(&self) -> RangeInclusive<u64> {
        1..=self.last
    }
}

/// Why a session is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionEnd {
    /// The client closed with 1000 or 1001.
    ClosedByClient,
    /// Without a connection for longer than the time-out.
    TimedOut,
    /// A RESUME came too late for its buffer.
    Outrun,
    /// Op 9 with `d: false`, or a close code that ends a session.
    Invalidated,
    /// The fault `expire`.
    Expired,
    /// The identify budget was overspent.
    TokenReset,
}

/// A connection to the gateway.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ConnectionTruth {
    /// Counted from 1.
    pub id: u64,
    /// By which URL it came.
    pub url: Url,
    /// Its shard and total, from IDENTIFY or RESUME on.
    pub shard: Option<(u32, u32)>,
    /// Its session.
    pub session: Option<String>,
    /// Accepted.
    pub opened_ms: u64,
    /// READY or RESUMED was due: from here on it gets the session's events.
    pub established_ms: Option<u64>,
    /// The last payload came.
    pub last_received_ms: Option<u64>,
    /// Payloads that came.
    pub received: u64,
    /// Bytes that came, the upgrade included.
    pub received_bytes: u64,
    /// Closed.
    pub closed_ms: Option<u64>,
    /// By whom and how.
    pub end: Option<ConnectionEnd>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionEnd {
    /// The client sent a close frame.
    Client {
        /// Its code.
        code: Option<u16>,
    },
    /// The client was gone without one.
    Gone,
    /// The simulator sent a close frame.
    Server {
        /// Its code.
        code: Option<u16>,
    },
    /// The simulator cut it without one.
    Cut,
    /// It was never upgraded.
    Refused {
        /// The HTTP status.
        status: u16,
    },
}

/// An IDENTIFY.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct IdentifyTruth {
    /// When.
    pub at_ms: u64,
    /// The connection.
    pub connection: u64,
    /// The shard.
    pub shard: u32,
    /// Of how many.
    pub total: u32,
    /// Its bucket.
    pub bucket: u32,
    /// The session that it began, or why not.
    pub outcome: Result<String, String>,
}

/// A RESUME.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ResumeTruth {
    /// When.
    pub at_ms: u64,
    /// The connection.
    pub connection: u64,
    /// The session.
    pub session: String,
    /// The shard, if the session was known.
    pub shard: Option<u32>,
    /// The sequence that it named.
    pub from: u64,
    /// How many dispatches were sent again, or why none.
    pub outcome: Result<u64, String>,
}

/// An answer to an interaction.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct InteractionTruth {
    /// When.
    pub at_ms: u64,
    /// The interaction.
    pub id: String,
    /// The callback's `type`.
    pub kind: u64,
    /// Its body, shortened to 512 characters.
    pub body: String,
}

impl Truth {
    /// The session of this id.
    #[must_use]
    pub fn session(&self, id: &str) -> Option<&SessionTruth> {
        self.sessions.iter().find(|session| session.id == id)
    }

    /// The sequences that exist in a session.
    #[must_use]
    pub fn dispatched(&self, session: &str) -> Option<RangeInclusive<u64>> {
        self.session(session).map(SessionTruth::dispatched)
    }

    /// When connections that belonged to this shard were opened, in order.
    #[must_use]
    pub fn attempts(&self, shard: u32) -> Vec<u64> {
        let mut attempts: Vec<u64> = self
            .connections
            .iter()
            .filter(|connection| connection.shard.is_some_and(|(id, _)| id == shard))
            .map(|connection| connection.opened_ms)
            .collect();
        attempts.sort_unstable();
        attempts
    }

    /// Sessions that a connection has, for one total.
    #[must_use]
    pub fn connected(&self, total: u32) -> usize {
        self.sessions.iter().filter(|session| session.connected && session.total == total).count()
    }

    /// Pairs of connections that had the same shard at the same time for more than `slack_ms`.
    #[must_use]
    pub fn overlaps(&self, slack_ms: u64) -> Vec<(u64, u64)> {
        /// From, until, which connection.
        type Span = (u64, u64, u64);
        let mut shards: BTreeMap<_, Vec<Span>> = BTreeMap::new();
        for connection in &self.connections {
            if let (Some(shard), Some(from)) = (connection.shard, connection.established_ms) {
                let until = connection.closed_ms.unwrap_or(self.at_ms);
                shards.entry(shard).or_default().push((from, until, connection.id));
            }
        }
        let mut overlaps = Vec::new();
        for spans in shards.values_mut() {
            spans.sort_unstable();
            for (index, &(_, until, first)) in spans.iter().enumerate() {
                let later = spans[index + 1..].iter().take_while(|span| span.0 < until);
                overlaps.extend(
                    later
                        .filter(|span| until.min(span.1) - span.0 > slack_ms)
                        .map(|span| (first, span.2)),
                );
            }
        }
        overlaps
    }
}

/// So many of each kind of record are kept: a day's identifies of the largest bot, at about 200 bytes each.
pub const RECORDS_MAX: usize = 32_768;

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(id: u64, from: u64, until: u64) -> ConnectionTruth {
        ConnectionTruth {
            id,
            url: Url::Main,
            shard: Some((0, 1)),
            session: None,
            opened_ms: from,
            established_ms: Some(from),
            last_received_ms: None,
            received: 0,
            received_bytes: 0,
            closed_ms: Some(until),
            end: None,
        }
    }

    #[test]
    fn overlaps_are_found_for_the_same_shard_alone() {
        let other = ConnectionTruth { shard: Some((1, 1)), ..connection(4, 0, 99) };
        let connections =
            vec![connection(1, 0, 50), connection(2, 50, 80), connection(3, 70, 90), other];
        let truth = Truth { connections, ..Truth::default() };

        assert_eq!(truth.overlaps(0), [(2, 3)]);
        assert_eq!(truth.overlaps(10), []);
    }
}
