//! The settings as clap arguments, made from the table.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource, value_parser};

use super::{ConfigError, Environment, Origin, SETTINGS, Scope, Setting, Sources, secret};

/// The flags of commands that run a node. Flatten it into the command.
pub type NodeFlags = Flags<false>;

/// The flags of commands that ask a running node. Flatten it into the command.
pub type ClientFlags = Flags<true>;

/// The flags that were given, for one of the two kinds of commands.
#[derive(Clone, Debug, Default)]
pub struct Flags<const CLIENT: bool> {
    texts: BTreeMap<&'static str, String>,
    file: Option<PathBuf>,
    secret: Option<&'static str>,
}

/// Flags that nobody should use, caught so that the refusal can say why.
const SECRETS: &[&str] = &["token", "discord-token", "api-token", "join-token"];

impl<const CLIENT: bool> Flags<CLIENT> {
    /// What [`load`](super::load) reads.
    ///
    /// # Errors
    ///
    /// [`ConfigError::SecretOutsideEnvironment`] where a secret was given as a flag.
    pub fn sources(self, environment: Environment) -> Result<Sources, ConfigError> {
        match self.secret {
            Some(name) => Err(ConfigError::SecretOutsideEnvironment {
                name: format!("--{name}"),
                origin: Origin::Flag(name),
                variable: secret::variable_for(name).unwrap_or(secret::DISCORD_TOKEN),
            }),
            None => Ok(Sources { flags: self.texts, environment, file: self.file }),
        }
    }

    /// Sets the flag of `key`, unless it was given.
    #[must_use]
    pub fn or(mut self, key: &'static str, text: impl Into<String>) -> Self {
        self.texts.entry(key).or_insert_with(|| text.into());
        self
    }

    /// Words for the command line of another process that is to have the same settings, but for those of `without`.
    #[must_use]
    pub fn words(&self, without: &[&str]) -> Vec<String> {
        let texts = self.texts.iter().filter(|(key, _)| !without.contains(*key));
        let mut words: Vec<_> = texts.map(|(key, text)| format!("--{key}={text}")).collect();
        words.extend(self.file.iter().map(|file| format!("--config={}", file.display())));
        words
    }

    /// Whether the flag of `key` was given.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.texts.contains_key(key)
    }
}

impl<const CLIENT: bool> clap::Args for Flags<CLIENT> {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("Read settings from this TOML file; its keys are these flags without `--` [env: APOLO_CONFIG]");
        let refused = SECRETS.iter().map(|name| {
            Arg::new(*name).long(*name).hide(true).num_args(0..).action(ArgAction::Append)
        });
        let settings = settings(CLIENT).map(|setting| {
            Arg::new(setting.key)
                .long(setting.key)
                .value_name(setting.placeholder)
                .allow_hyphen_values(true)
                .help(help(setting))
        });
        command.args(settings).arg(config).args(refused)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const CLIENT: bool> clap::FromArgMatches for Flags<CLIENT> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let text = |setting: &Setting| {
            Some((setting.key, matches.get_one::<String>(setting.key)?.clone()))
        };
        let given = |name: &&str| matches.value_source(name) == Some(ValueSource::CommandLine);
        Ok(Self {
            texts: settings(CLIENT).filter_map(text).collect(),
            file: matches.get_one::<PathBuf>("config").cloned(),
            secret: SECRETS.iter().copied().find(given),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn settings(client: bool) -> impl Iterator<Item = &'static Setting> {
    let scope = if client { Scope::Client } else { Scope::Node };
    SETTINGS.iter().filter(move |setting| setting.scope == Scope::Both || setting.scope == scope)
}

fn help(setting: &Setting) -> String {
    let default = setting.default.map(|text| format!(" [default: {text}]")).unwrap_or_default();
    format!("{}{default} [env: {}]", setting.help, setting.env.join(", "))
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn given(words: &[&str]) -> Result<Sources, ConfigError> {
        let command = NodeFlags::augment_args(Command::new("apolo"));
        let matches = command.try_get_matches_from(words).unwrap();
        NodeFlags::from_arg_matches(&matches).unwrap().sources(Environment::default())
    }

    #[test]
    fn every_given_flag_arrives_under_its_key() {
        let sources = given(&["apolo", "--http-addr", "[::]:1", "--config=a.toml"]).unwrap();

        assert_eq!(sources.flags, BTreeMap::from([("http-addr", "[::]:1".to_owned())]));
        assert_eq!(sources.file, Some(PathBuf::from("a.toml")));
    }

    #[test]
    fn a_token_on_the_command_line_is_refused_and_not_repeated() {
        let error = given(&["apolo", "--token", "s3cret"]).unwrap_err();

        let said = format!("{error} {:?} {}", error, error.advice().unwrap());
        assert!(said.contains("DISCORD_TOKEN_FILE"), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}
