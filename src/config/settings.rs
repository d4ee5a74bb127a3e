//! The table of everything that can be set.

use super::{Config, Intents, Invalid, Presence, value};

/// One thing that can be set: its names, its help, its default and how its text becomes a value.
#[derive(Debug)]
pub struct Setting {
    /// Its name in the file; with `--` in front, its flag.
    pub key: &'static str,
    /// Its names in the environment; the first that is set wins.
    pub env: &'static [&'static str],
    /// What stands for the value in the help.
    pub placeholder: &'static str,
    /// What it is for.
    pub help: &'static str,
    /// What would be right; reads after "expected ".
    pub expected: &'static str,
    /// Its text where nobody sets it.
    pub default: Option<&'static str>,
    /// Which commands take its flag.
    pub scope: Scope,
    /// Parses the text and puts the value in its place.
    pub set: fn(&mut Config, &str) -> Result<(), Invalid>,
}

/// Which commands take a setting's flag.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Those that run a node.
    Node,
    /// Those that ask a running node.
    Client,
    /// Both.
    Both,
}

impl Setting {
    /// The setting called `key`.
    #[must_use]
    pub fn of(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }
}

/// Every setting but the secrets, which come from the environment alone (`DISCORD_TOKEN`, `APOLO_API_TOKEN`,
/// `APOLO_BOT_TOKEN`, each with `_FILE`), in the order of the help.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "data-dir",
        env: &["APOLO_DATA_DIR"],
        placeholder: "DIR",
        help: "Where the node keeps its log, its identity and its socket",
        expected: "a directory",
        default: Some("./apolo-data"),
        scope: Scope::Both,
        set: |config, text| value::path(text).map(|dir| config.data_dir = dir),
    },
    Setting {
        key: "endpoint",
        env: &["APOLO_ENDPOINT"],
        placeholder: "URL",
        help: "Ask the node at this HTTP address instead of the one on the data directory's socket; there, what changes something needs its token in APOLO_API_TOKEN[_FILE]",
        expected: "a base URL such as http://127.0.0.1:3000",
        default: None,
        scope: Scope::Client,
        set: |config, text| value::base_url(text).map(|url| config.endpoint = Some(url)),
    },
    Setting {
        key: "name",
        env: &["POD_NAME", "SHARD_ID", "POD_ORDINAL"],
        placeholder: "NAME",
        help: "This node's name for people [default: the host's name]",
        expected: "1 to 63 letters, digits, '-', '_' or '.'",
        default: None,
        scope: Scope::Node,
        set: |config, text| value::name(text).map(|name| config.name = name),
    },
    Setting {
        key: "http-addr",
        env: &["APOLO_HTTP_ADDR"],
        placeholder: "ADDR",
        help: "Where /health, /ready, /metrics and the API listen",
        expected: "an IP address and a port, such as 0.0.0.0:3000 or [::]:3000",
        default: Some("0.0.0.0:3000"),
        scope: Scope::Node,
        set: |config, text| value::address(text).map(|addr| config.http_addr = addr),
    },
    Setting {
        key: "bot-addr",
        env: &["APOLO_BOT_ADDR"],
        placeholder: "ADDR",
        help: "Where bots in any language connect (WebSocket, not encrypted); none switches it off",
        expected: "an IP address and a port, such as 127.0.0.1:3001, or none",
        default: Some("127.0.0.1:3001"),
        scope: Scope::Node,
        set: |config, text| value::address_or_none(text).map(|address| config.bot_addr = address),
    },
    Setting {
        key: "wait-for",
        env: &["APOLO_WAIT_FOR"],
        placeholder: "GROUPS",
        help: "The groups of consumers that every event waits for, with commas; with none, events pass where nobody is connected",
        expected: "names with commas, each of letters, digits, '-', '_' or '.', or none",
        default: Some("bot"),
        scope: Scope::Node,
        set: |config, text| value::names_or_none(text).map(|groups| config.wait_for = groups),
    },
    Setting {
        key: "quic-addr",
        env: &["APOLO_QUIC_ADDR"],
        placeholder: "ADDR",
        help: "Where other nodes find this one (UDP)",
        expected: "an IP address and a port, such as 0.0.0.0:7400 or [::]:7400",
        default: Some("0.0.0.0:7400"),
        scope: Scope::Node,
        set: |config, text| value::address(text).map(|addr| config.quic_addr = addr),
    },
    Setting {
        key: "peers",
        env: &["APOLO_PEERS"],
        placeholder: "PEERS",
        help: "Where other nodes may be: HOST[:PORT] with commas; this node may be among them",
        expected: "hosts with commas, such as apolo-0.apolo,apolo-1.apolo:7400",
        default: None,
        scope: Scope::Node,
        set: |config, text| value::list(text).map(|peers| config.peers = peers),
    },
    Setting {
        key: "discover",
        env: &["APOLO_DISCOVER"],
        placeholder: "dns:NAME",
        help: "A name under which all nodes are found: A, AAAA and SRV records, asked for again and again",
        expected: "dns: and a name, such as dns:apolo.default.svc or dns:_quic._udp.apolo.default.svc",
        default: None,
        scope: Scope::Node,
        set: |config, text| value::text(text).map(|name| config.discover = Some(name)),
    },
    Setting {
        key: "expect",
        env: &["APOLO_EXPECT"],
        placeholder: "COUNT",
        help: "How many nodes form a new cluster: exactly so many, and all of them; others join it later",
        expected: "a number from 1 to 5: all of them vote, and more nodes join afterwards",
        default: Some("1"),
        scope: Scope::Node,
        set: |config, text| value::small(text, 1..=5).map(|count| config.expect = count),
    },
    Setting {
        key: "voters",
        env: &["APOLO_VOTERS"],
        placeholder: "COUNT",
        help: "How many nodes vote: 3 survive the loss of one, 5 of two; all others follow and run shards too",
        expected: "a number from 1 to 5",
        default: Some("3"),
        scope: Scope::Node,
        set: |config, text| value::small(text, 1..=5).map(|count| config.voters = count),
    },
    Setting {
        key: "profile",
        env: &["APOLO_PROFILE"],
        placeholder: "PROFILE",
        help: "How soon a silent node is given up: lan, fast (one data centre, where nothing ever stalls for 30 ms) or wan (several regions); all nodes of a cluster have the same",
        expected: "lan, fast or wan",
        default: Some("lan"),
        scope: Scope::Node,
        set: |config, text| value::profile(text).map(|profile| config.profile = profile),
    },
    Setting {
        key: "format-max",
        env: &["APOLO_FORMAT_MAX"],
        placeholder: "NUMBER",
        help: "The newest format the cluster may write: while one node holds it back, all can go back to an apolo that reads no newer one [default: the newest that all nodes read]",
        expected: "the number that `apolo status --json` calls format, or the next one",
        default: None,
        scope: Scope::Node,
        set: |config, text| value::format(text).map(|format| config.format_max = format),
    },
    Setting {
        key: "ca-dir",
        env: &["APOLO_CA_DIR"],
        placeholder: "DIR",
        help: "Where the cluster's authority is (ca.crt, ca.key) [default: run makes its own, join reads /etc/apolo/ca]",
        expected: "a directory",
        default: None,
        scope: Scope::Node,
        set: |config, text| value::path(text).map(|dir| config.ca_dir = Some(dir)),
    },
    Setting {
        key: "join-token-file",
        env: &["APOLO_JOIN_TOKEN_FILE"],
        placeholder: "FILE",
        help: "Join without the authority's key: a file with a token that `apolo token create` has made",
        expected: "a file",
        default: None,
        scope: Scope::Node,
        set: |config, text| value::path(text).map(|file| config.join_token_file = Some(file)),
    },
    Setting {
        key: "kubernetes-api",
        env: &["APOLO_KUBERNETES_API"],
        placeholder: "URL",
        help: "Kubernetes' API: a node whose pod may read its StatefulSet asks it, when it is told to stop, whether it is scaled away, and leaves the cluster then",
        expected: "a base URL such as https://kubernetes.default.svc",
        default: Some("https://kubernetes.default.svc"),
        scope: Scope::Node,
        set: |config, text| value::base_url(text).map(|url| config.kubernetes_api = url),
    },
    Setting {
        key: "service-account-dir",
        env: &["APOLO_SERVICE_ACCOUNT_DIR"],
        placeholder: "DIR",
        help: "Where a pod's rights are (token, namespace, ca.crt); without a token there, Kubernetes is not asked",
        expected: "a directory",
        default: Some("/var/run/secrets/kubernetes.io/serviceaccount"),
        scope: Scope::Node,
        set: |config, text| value::path(text).map(|path| config.service_account_dir = path),
    },
    Setting {
        key: "discord-api",
        env: &["DISCORD_API"],
        placeholder: "URL",
        help: "Discord's API, or that of any server that speaks its protocol",
        expected: "a base URL such as https://discord.com/api/v10 or http://127.0.0.1:9900/api/v10",
        default: Some("https://discord.com/api/v10"),
        scope: Scope::Node,
        set: |config, text| value::base_url(text).map(|url| config.discord_api = url),
    },
    Setting {
        key: "intents",
        env: &["DISCORD_INTENTS"],
        placeholder: "NAMES",
        help: "The events to ask Discord for: names with commas, ALL, UNPRIVILEGED, or a number",
        expected: "names with commas such as GUILDS,GUILD_MESSAGES, or ALL, UNPRIVILEGED, or the number",
        default: Some("UNPRIVILEGED"),
        scope: Scope::Node,
        set: |config, text| Intents::parse(text).map(|intents| config.intents = intents),
    },
    Setting {
        key: "presence",
        env: &["DISCORD_PRESENCE"],
        placeholder: "TEXT",
        help: "The bot's status, and what it does: 'dnd: playing chess'",
        expected: "online, idle, dnd or invisible, and perhaps ': ' and playing, watching, listening to, competing in or any text",
        default: None,
        scope: Scope::Node,
        set: |config, text| Presence::parse(text).map(|presence| config.presence = Some(presence)),
    },
    Setting {
        key: "total-shards",
        env: &["TOTAL_SHARDS"],
        placeholder: "COUNT",
        help: "How many shards the bot is split into [default: chosen once, at the first start]",
        expected: "a number from 1 to 65536",
        default: None,
        scope: Scope::Node,
        set: |config, text| value::shard_total(text).map(|total| config.total_shards = Some(total)),
    },
    Setting {
        key: "users-per-shard",
        env: &["USERS_PER_SHARD"],
        placeholder: "COUNT",
        help: "Guilds on one shard, for choosing the total; Discord's recommendation is the least",
        expected: "a number from 1 to 1000000000",
        default: Some("100000"),
        scope: Scope::Node,
        set: |config, text| {
            value::count(text, 1..=1_000_000_000).map(|n| config.guilds_per_shard = n)
        },
    },
    Setting {
        key: "shards-per-pod",
        env: &["SHARDS_PER_POD"],
        placeholder: "COUNT",
        help: "How many shards one node should run; no shard stays down for it, but it shows where one runs more [default: no bound]",
        expected: "a number from 1 to 65536",
        default: None,
        scope: Scope::Node,
        set: |config, text| {
            value::shard_total(text).map(|count| config.shards_per_pod = Some(count.get()))
        },
    },
    Setting {
        key: "health-check-interval",
        env: &["HEALTH_CHECK_INTERVAL"],
        placeholder: "TIME",
        help: "Between two looks at a shard's health, in ms or such as 30s",
        expected: "milliseconds, or a time such as 30s, from 100ms to 1h",
        default: Some("30000"),
        scope: Scope::Node,
        set: |config, text| {
            value::span(text, 100..=3_600_000).map(|span| config.health_check_interval = span)
        },
    },
    Setting {
        key: "shard-timeout",
        env: &["SHARD_TIMEOUT"],
        placeholder: "TIME",
        help: "A shard without a connection for this long is dead, in ms or such as 3min",
        expected: "milliseconds, or a time such as 3min, from 1s to 1day",
        default: Some("180000"),
        scope: Scope::Node,
        set: |config, text| {
            value::span(text, 1_000..=86_400_000).map(|span| config.shard_timeout = span)
        },
    },
    Setting {
        key: "shard-spawn-delay",
        env: &["SHARD_SPAWN_DELAY"],
        placeholder: "TIME",
        help: "Extra time between two identifies, in ms or such as 2s",
        expected: "milliseconds, or a time such as 2s, from 0 to 10min",
        default: Some("0"),
        scope: Scope::Node,
        set: |config, text| {
            value::span(text, 0..=600_000).map(|span| config.shard_spawn_delay = span)
        },
    },
    Setting {
        key: "log-format",
        env: &["APOLO_LOG_FORMAT"],
        placeholder: "FORMAT",
        help: "How log lines are written: text or json",
        expected: "text or json",
        default: Some("text"),
        scope: Scope::Node,
        set: |config, text| value::log_format(text).map(|format| config.log_format = format),
    },
    Setting {
        key: "log-level",
        env: &["APOLO_LOG", "RUST_LOG"],
        placeholder: "LEVEL",
        help: "Which log lines are written: a level, or directives such as info,apolo::gateway=debug",
        expected: "off, error, warn, info, debug or trace, or directives such as info,apolo::gateway=debug",
        default: Some("info"),
        scope: Scope::Node,
        set: |config, text| value::log_level(text).map(|level| config.log_level = level),
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_default_can_be_set() {
        for setting in SETTINGS {
            if let Some(text) = setting.default {
                assert_eq!((setting.set)(&mut Config::default(), text), Ok(()), "{}", setting.key);
            }
        }
    }

    #[test]
    fn no_name_is_used_twice() {
        let mut keys = BTreeSet::new();
        let mut variables = BTreeSet::new();

        for setting in SETTINGS {
            assert!(keys.insert(setting.key), "{}", setting.key);
            for name in setting.env {
                assert!(variables.insert(name), "{name}");
            }
        }
    }
}
