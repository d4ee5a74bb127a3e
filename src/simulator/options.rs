//! What a simulator is started with.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use crate::model::{ShardTotal, Token};

/// What a simulator is started with. Every default is Discord's documented or observed number.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where HTTP and WebSocket are served; port 0 takes a free one.
    pub addr: SocketAddr,
    /// Guilds, members, events and ids follow from it.
    pub seed: u64,
    /// Guilds over the whole bot.
    pub guilds: u64,
    /// `shards` of `GET /gateway/bot`.
    pub recommended_shards: ShardTotal,
    /// Dispatches a second over the whole bot; every shard gets its even part.
    pub event_rate: f64,
    /// `session_start_limit.max_concurrency`: the number of identify buckets.
    pub max_concurrency: u32,
    /// The one token that is accepted; where there is none, any non-empty token is.
    pub token: Option<Token>,
    /// `session_start_limit.total`: IDENTIFYs in 24 hours.
    pub session_start_total: u32,
    /// `session_start_limit.remaining` at the start.
    pub session_start_remaining: u32,
    /// HELLO's `heartbeat_interval`.
    pub heartbeat_interval: Duration,
    /// How long a session without a connection can be resumed.
    pub session_timeout: Duration,
    /// How many dispatches a session keeps for a RESUME; by default `max(100, min(3500, guilds × 75))` of the shard's
    /// guilds (discord-api-docs #24).
    pub buffer: Option<usize>,
    /// Whether a heartbeat's sequence frees what lies up to it. Discord does not document which it does.
    pub trim_at_heartbeat: bool,
    /// Whether a RESUME takes its session from a connection that is still open, which is then closed. Discord does not
    /// document it; otherwise the answer is op 9 with `d` true until that connection is gone.
    pub resume_takes_over: bool,
    /// The path of `resume_gateway_url`, by which the resume URL and the main URL can be told apart.
    pub resume_path: String,
    /// Privileged intents that the application may not use: IDENTIFY with one is closed with 4014.
    pub disallowed_intents: u64,
    /// `num_shards` must be a multiple of it (4010 otherwise): 1, or what Discord assigns to a large bot.
    pub shard_multiple: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 1,
            guilds: 16_000,
            recommended_shards: ShardTotal::ONE,
            event_rate: 500.0,
            max_concurrency: 16,
            token: None,
            session_start_total: 1_000,
            session_start_remaining: 1_000,
            heartbeat_interval: Duration::from_millis(41_250),
            session_timeout: Duration::from_secs(120),
            buffer: None,
            trim_at_heartbeat: false,
            resume_takes_over: true,
            resume_path: "/resume".to_owned(),
            disallowed_intents: 0,
            shard_multiple: 1,
        }
    }
}

impl Options {
    /// How many dispatches a session that sees `guilds` guilds keeps.
    pub(super) fn buffer_for(&self, guilds: usize) -> usize {
        self.buffer.unwrap_or_else(|| (guilds * 75).clamp(100, 3_500)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_follows_the_observed_formula_unless_set() {
        let options = Options::default();

        assert_eq!([0, 2, 40, 2_500].map(|n| options.buffer_for(n)), [100, 150, 3_000, 3_500]);
        assert_eq!(Options { buffer: Some(7), ..options }.buffer_for(40), 7);
    }
}
