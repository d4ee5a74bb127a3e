//! From sources to a [`Config`].

use std::{collections::BTreeSet, path::PathBuf};

use super::{
    Config, ConfigError, ConfigErrors, Environment, Origin, SETTINGS, Setting, Sources,
    error::closest,
    file::{self, Texts},
    secret, value,
};

/// A configuration, and what the operator should hear about it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Sentences: what was ignored, what deserves a second look.
    pub warnings: Vec<String>,
}

/// Where the configuration file is named, other than by `--config`.
const FILE_VARIABLE: &str = "APOLO_CONFIG";

/// Reads everything, checks everything.
///
/// # Errors
///
/// [`ConfigErrors`] with all that is wrong, not the first thing alone.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let environment = &sources.environment;
    let mut errors = Vec::new();
    let texts = match file_of(sources, &mut errors) {
        Some((path, named)) => file::read(&path, &named, &mut errors),
        None => Texts::new(),
    };

    let mut config = Config::default();
    for setting in SETTINGS {
        if let Some((text, origin)) = nearest(setting, sources, &texts, &mut errors) {
            match (setting.set)(&mut config, &text) {
                Ok(()) => drop(config.origins.insert(setting.key, origin)),
                Err(invalid) => {
                    let text = if invalid.secret { String::new() } else { text };
                    let invalid = Box::new(invalid);
                    errors.push(ConfigError::Invalid { key: setting.key, text, origin, invalid });
                }
            }
        }
    }
    let mut keep = |secret: Result<_, _>| {
        secret.unwrap_or_else(|error| {
            errors.push(error);
            None
        })
    };
    config.token = keep(secret::read(environment, secret::DISCORD_TOKEN));
    config.api_token = keep(secret::read(environment, secret::API_TOKEN));
    config.bot_token = keep(secret::read(environment, secret::BOT_TOKEN));
    if config.name.is_empty() {
        config.name = host_name();
        config.origins.insert("name", Origin::Host);
    }
    errors.extend(conflict(&config));

    if errors.is_empty() {
        let warnings = warnings(&config, environment);
        Ok(Loaded { config, warnings })
    } else {
        Err(ConfigErrors(errors))
    }
}

fn file_of(sources: &Sources, errors: &mut Vec<ConfigError>) -> Option<(PathBuf, Origin)> {
    if let Some(path) = &sources.file {
        return Some((path.clone(), Origin::Flag("config")));
    }
    match sources.environment.value(FILE_VARIABLE) {
        Ok(path) => {
            path.map(|path| (PathBuf::from(path), Origin::Environment(FILE_VARIABLE.to_owned())))
        }
        Err(_) => {
            errors.push(ConfigError::NotUnicode { variable: FILE_VARIABLE.to_owned() });
            None
        }
    }
}

/// The text of the nearest source that has one: flag, environment, file.
fn nearest(
    setting: &Setting,
    sources: &Sources,
    file: &Texts,
    errors: &mut Vec<ConfigError>,
) -> Option<(String, Origin)> {
    if let Some(text) = sources.flags.get(setting.key) {
        return Some((text.clone(), Origin::Flag(setting.key)));
    }
    for name in setting.env {
        match sources.environment.value(name) {
            Ok(Some(text)) => {
                return Some((text.to_owned(), Origin::Environment((*name).to_owned())));
            }
            Ok(None) => {}
            Err(_) => {
                errors.push(ConfigError::NotUnicode { variable: (*name).to_owned() });
                return None;
            }
        }
    }
    file.get(setting.key).cloned()
}

fn conflict(config: &Config) -> Option<ConfigError> {
    let Config { health_check_interval: interval, shard_timeout: timeout, .. } = config;
    (timeout < interval).then(|| {
        let (interval_from, timeout_from) =
            (config.origin("health-check-interval"), config.origin("shard-timeout"));
        ConfigError::Conflict(format!(
            "shard-timeout = {timeout:?} ({timeout_from}) is shorter than health-check-interval = {interval:?} ({interval_from}): a shard would be dead before anybody looked"
        ))
    })
}

fn warnings(config: &Config, environment: &Environment) -> Vec<String> {
    let mut warnings = Vec::new();
    let redis: Vec<_> = environment.names().filter(|name| name.starts_with("REDIS_")).collect();
    if !redis.is_empty() {
        warnings.push(format!(
            "{} ignored: apolo keeps its state itself and needs no Redis",
            redis.join(", ")
        ));
    }
    let privileged: Vec<_> = config.intents.privileged().collect();
    if !privileged.is_empty() {
        warnings.push(format!(
            "the intents {} are privileged: Discord closes with 4014 unless they are enabled in the developer portal",
            privileged.join(", ")
        ));
    }
    if config.discord_api.scheme() == "http" && !is_loopback(&config.discord_api) {
        warnings.push(format!(
            "discord-api = {} ({}) is not encrypted: everybody on the way can read the token",
            config.discord_api,
            config.origin("discord-api")
        ));
    }
    warnings.extend(misspelt(environment));
    warnings
}

/// Variables that look like a misspelt setting. No error, since an orchestrator sets variables of its own: a service
/// called `apolo` makes Kubernetes set `APOLO_PORT`.
fn misspelt(environment: &Environment) -> Vec<String> {
    let secrets = [
        "DISCORD_TOKEN",
        "DISCORD_TOKEN_FILE",
        "APOLO_API_TOKEN",
        "APOLO_API_TOKEN_FILE",
        "APOLO_BOT_TOKEN",
        "APOLO_BOT_TOKEN_FILE",
    ];
    let known: BTreeSet<&str> = SETTINGS
        .iter()
        .flat_map(|setting| setting.env.iter().copied())
        .chain(secrets)
        .chain([FILE_VARIABLE])
        .collect();
    environment
        .names()
        .filter(|name| name.starts_with("APOLO_") || name.starts_with("DISCORD_"))
        .filter(|name| !known.contains(name))
        .filter_map(|name| {
            let meant = closest(name, known.iter().copied())?;
            Some(format!(
                "the environment variable {name} is none of apolo's; did you mean {meant}?"
            ))
        })
        .collect()
}

fn is_loopback(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(domain)) => domain == "localhost",
        None => false,
    }
}

fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_str().unwrap_or_default();
    value::name(name).unwrap_or_else(|_| "apolo".to_owned())
}
