//! What the operator wants, from flags, environment and file, as one validated [`Config`].
//!
//! It promises that a value is read in one place by one table ([`SETTINGS`]), that the nearest source wins (flag,
//! environment, file, default), that every error names the value, where it came from and what would be right, and that
//! no secret is ever taken from an argument or the file, nor shown. It is the only reader of the environment.
//!
//! It does not open ports, make directories or talk to Discord.
//!
//! ```text
//!  flags ─▶ environment ─▶ file ─▶ default
//!      └──────────┴──────────┴───────┴──▶ text + Origin ──▶ SETTINGS[key].set ──▶ Config
//! ```

mod error;
mod file;
mod flags;
mod intents;
mod load;
mod presence;
mod secret;
mod settings;
mod sources;
#[cfg(test)]
mod tests;
mod value;

pub use error::{ConfigError, ConfigErrors, Invalid};
pub use flags::{ClientFlags, Flags, NodeFlags};
pub use intents::{INTENTS, Intents, NamedIntent};
pub use load::{Loaded, load};
pub use presence::{Activity, ActivityKind, OnlineStatus, Presence};
pub use settings::{SETTINGS, Scope, Setting};
pub use sources::{Environment, Origin, Sources};

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use url::Url;

use crate::model::{Format, GUILDS_PER_SHARD_DEFAULT, Profile, ShardTotal, Token};

/// Everything that can be set. Made by [`load`]; [`Config::default`] is what nobody asked to be otherwise.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the node keeps its log, its identity and its socket.
    pub data_dir: PathBuf,
    /// Where probes, metrics and the API listen.
    pub http_addr: SocketAddr,
    /// Where consumers connect, unless nobody is to.
    pub bot_addr: Option<SocketAddr>,
    /// The groups of consumers that every event waits for.
    pub wait_for: Vec<String>,
    /// What consumers show; without one the node makes its own.
    pub bot_token: Option<Token>,
    /// Where the other nodes find this one.
    pub quic_addr: SocketAddr,
    /// Where the other nodes may be, as the operator wrote it: `HOST[:PORT]` each.
    pub peers: Vec<String>,
    /// A name under which all nodes are found, as the operator wrote it: `dns:NAME`.
    pub discover: Option<String>,
    /// How many nodes form a cluster.
    pub expect: usize,
    /// How many nodes vote.
    pub voters: usize,
    /// By which spans the cluster goes: elections, leases, renewals.
    pub profile: Profile,
    /// The newest format that the cluster may write.
    pub format_max: Format,
    /// Where the cluster's authority is. Without one the node makes its own.
    pub ca_dir: Option<PathBuf>,
    /// Kubernetes' API, where the node runs in a pod that has rights to ask it.
    pub kubernetes_api: Url,
    /// Where these rights are.
    pub service_account_dir: PathBuf,
    /// Where the token is by which a node joins that holds no authority's key.
    pub join_token_file: Option<PathBuf>,
    /// This node's name for people.
    pub name: String,
    /// Discord's API, or whatever speaks its protocol; without a slash at the end.
    pub discord_api: Url,
    /// The bot's token. Commands that need none run without.
    pub token: Option<Token>,
    /// The events that the bot asks Discord for.
    pub intents: Intents,
    /// How many shards the bot is split into, where the operator wants to fix it.
    pub total_shards: Option<ShardTotal>,
    /// What the bot shows next to its name.
    pub presence: Option<Presence>,
    /// The most shards that one node should run, where the operator wants a bound.
    pub shards_per_pod: Option<u32>,
    /// Guilds on one shard: the seed's formula divides by it.
    pub guilds_per_shard: u64,
    /// The time between two looks at a shard's health.
    pub health_check_interval: Duration,
    /// A shard without a connection for this long is dead.
    pub shard_timeout: Duration,
    /// Extra time between two identifies, on top of Discord's 5 s for each bucket.
    pub shard_spawn_delay: Duration,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Which log lines are written, as `tracing-subscriber` directives.
    pub log_level: String,
    /// What a caller of the API over TCP must show before it changes anything.
    pub api_token: Option<Token>,
    /// The API of the node that a command asks, where that isn't the one behind the data directory's socket.
    pub endpoint: Option<Url>,
    pub(crate) origins: BTreeMap<&'static str, Origin>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

impl Config {
    /// Where the value of the setting `key` came from.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// The bot's token, for commands that can't do without one.
    ///
    /// # Errors
    ///
    /// [`ConfigError::TokenMissing`].
    pub fn require_token(&self) -> Result<&Token, ConfigError> {
        self.token.as_ref().ok_or(ConfigError::TokenMissing)
    }
}

impl Default for Config {
    fn default() -> Self {
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut config = Self {
            data_dir: PathBuf::new(),
            http_addr: any,
            bot_addr: None,
            wait_for: Vec::new(),
            bot_token: None,
            quic_addr: any,
            peers: Vec::new(),
            discover: None,
            expect: 1,
            voters: 3,
            profile: Profile::default(),
            format_max: Format::MAX,
            ca_dir: None,
            kubernetes_api: Url::parse("https://localhost").expect("a constant that parses"),
            service_account_dir: PathBuf::new(),
            join_token_file: None,
            name: String::new(),
            discord_api: Url::parse("https://discord.com").expect("a constant that parses"),
            token: None,
            intents: Intents::UNPRIVILEGED,
            total_shards: None,
            presence: None,
            shards_per_pod: None,
            guilds_per_shard: GUILDS_PER_SHARD_DEFAULT,
            health_check_interval: Duration::ZERO,
            shard_timeout: Duration::ZERO,
            shard_spawn_delay: Duration::ZERO,
            log_format: LogFormat::Text,
            log_level: String::new(),
            api_token: None,
            endpoint: None,
            origins: BTreeMap::new(),
        };
        for setting in SETTINGS {
            if let Some(text) = setting.default {
                (setting.set)(&mut config, text).expect("a test sets every default");
            }
        }
        config
    }
}
