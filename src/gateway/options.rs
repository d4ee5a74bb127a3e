//! What a supervisor needs to know.

use std::{fmt, time::Duration};

use twilight_gateway::{Config, ConfigBuilder, Intents};
use twilight_model::gateway::payload::outgoing::{
    identify::IdentifyProperties, update_presence::UpdatePresencePayload,
};

use super::{feed::FeedLimits, gate::Gate, hosts::Hosts, ladder::Backoff, payload::PayloadLimits};
use crate::model::{Sequence, Session, SessionNumber, ShardId, ShardTotal, Token};

/// What one shard's supervisor needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The shard.
    pub shard: ShardId,
    /// How many there are. It is part of the session: a resume under another total is refused.
    pub total: ShardTotal,
    /// What the bot says of itself; the same for all shards.
    pub profile: Profile,
    /// The gateway URL that `/gateway/bot` returned.
    pub url: String,
    /// Which URLs are trusted with the token.
    pub hosts: Hosts,
    /// Where to go on. Without it, the shard identifies.
    pub resume: Option<ResumePoint>,
    /// The number of the shard's last session, whether or not it can be resumed: the next gets one more.
    pub previous: SessionNumber,
    /// How long is waited for what.
    pub timers: Timers,
    /// How long is waited between attempts.
    pub backoff: Backoff,
    /// How much may wait for whoever delivers.
    pub feed: FeedLimits,
    /// The largest payload that is kept.
    pub payload: PayloadLimits,
}

/// A session, and how far it has been delivered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResumePoint {
    /// The session.
    pub session: Session,
    /// The highest sequence that needs no second delivery.
    pub after: Sequence,
}

impl Options {
    /// Options with the defaults of everything that has one: a new session on Discord's own hosts.
    #[must_use]
    pub fn new(shard: ShardId, total: ShardTotal, profile: Profile, url: String) -> Self {
        Self {
            shard,
            total,
            profile,
            url,
            hosts: Hosts::discord(),
            resume: None,
            previous: SessionNumber::default(),
            timers: Timers::default(),
            backoff: Backoff::default(),
            feed: FeedLimits::default(),
            payload: PayloadLimits::default(),
        }
    }
}

/// How long is waited for what, before the connection is given up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timers {
    /// For HELLO, from the start of the attempt. twilight gives TCP, TLS and the handshake 10 s of it.
    pub hello: Duration,
    /// For READY, from IDENTIFY. Long: in an outage "the Gateway will eventually respond" (Gateway docs), and each new
    /// attempt spends one of the day's identifies.
    pub ready: Duration,
    /// For the next dispatch of a replay, or RESUMED. A replay that makes progress may take as long as it likes.
    pub resumed: Duration,
    /// Heartbeat intervals without anything at all received. twilight itself gives up after a heartbeat that nothing
    /// followed, but not while the socket takes no bytes.
    pub silent_beats: u32,
    /// For the answer to our close frame.
    pub close: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(20),
            ready: Duration::from_secs(300),
            resumed: Duration::from_secs(30),
            silent_beats: 2,
            close: Duration::from_millis(100),
        }
    }
}

/// What a bot says of itself in IDENTIFY, and its TLS set-up. Built once and shared by all shards, since the latter
/// holds the root certificates.
///
/// Its `Debug` shows no token.
#[derive(Clone)]
pub struct Profile {
    config: Config<Gate>,
}

impl Profile {
    /// A profile with these intents and Discord's defaults for the rest.
    ///
    /// # Panics
    ///
    /// Without a process-wide rustls provider: install one first thing in `main`.
    #[must_use]
    pub fn new(token: &Token, intents: Intents) -> Self {
        let properties = IdentifyProperties::new("apolo", "apolo", std::env::consts::OS);
        let config = ConfigBuilder::new(token.expose().to_owned(), intents)
            .queue(Gate::default())
            .identify_properties(properties)
            .build();
        Self { config }
    }

    /// The presence that the bot starts with.
    #[must_use]
    pub fn presence(self, presence: UpdatePresencePayload) -> Self {
        Self { config: ConfigBuilder::from(self.config).presence(presence).build() }
    }

    /// From how many members on a guild's offline members are left out: 50 to 250, other numbers are brought into that
    /// range (Gateway docs, Identify).
    #[must_use]
    pub fn large_threshold(self, members: u64) -> Self {
        let members = members.clamp(50, 250);
        Self { config: ConfigBuilder::from(self.config).large_threshold(members).build() }
    }

    /// twilight's configuration of one connection. Its identify queue is `gate` alone.
    pub(super) fn connection(&self, url: &str, gate: Gate) -> ConfigBuilder<Gate> {
        ConfigBuilder::from(self.config.clone()).queue(gate).proxy_url(url.to_owned())
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile").field("intents", &self.config.intents()).finish_non_exhaustive()
    }
}
