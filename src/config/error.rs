//! What can be wrong with a configuration, said so that the operator can mend it.

use std::{fmt, path::PathBuf};

use thiserror::Error;

use super::{Origin, Setting, secret};

/// Why a text is no value of its setting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Invalid {
    /// What is wrong; reads after the value.
    pub problem: String,
    /// What was probably meant.
    pub instead: Option<String>,
    /// The text may hold a secret and must not be shown.
    pub secret: bool,
}

impl Invalid {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), instead: None, secret: false }
    }

    pub(super) fn secret(problem: impl Into<String>) -> Self {
        Self { secret: true, ..Self::new(problem) }
    }

    pub(super) fn instead(self, text: impl Into<String>) -> Self {
        Self { instead: Some(text.into()), ..self }
    }

    pub(super) fn instead_closest<'a>(
        self,
        word: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self { instead: closest(word, known).map(str::to_owned), ..self }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A setting's text is no value of it.
    #[error("{} {} ({origin})", Shown { key, text, secret: invalid.secret }, invalid.problem)]
    Invalid {
        /// The setting.
        key: &'static str,
        /// Its text.
        text: String,
        /// Where the text came from.
        origin: Origin,
        /// Why it won't do.
        invalid: Box<Invalid>,
    },
    /// A variable's bytes are no text.
    #[error("the environment variable {variable} is not UTF-8")]
    NotUnicode {
        /// The variable.
        variable: String,
    },
    /// The file has a key that no setting has.
    #[error("{key} is no setting ({origin})")]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// The setting that was probably meant.
        closest: Option<&'static str>,
    },
    /// The file holds a table or a date where text, a number or a list should be.
    #[error("{key} is a {kind}, not a text or number ({origin})")]
    WrongKind {
        /// The key.
        key: String,
        /// What it is.
        kind: &'static str,
        /// Where it stands.
        origin: Origin,
    },
    /// The file or the command line holds a secret.
    #[error("{name} must not be set here ({origin})")]
    SecretOutsideEnvironment {
        /// The key or flag.
        name: String,
        /// Where it stands.
        origin: Origin,
        /// The variable to use instead.
        variable: &'static str,
    },
    /// The file can't be read.
    #[error("the file {} can't be read: {reason} ({origin})", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
        /// Who named the file.
        origin: Origin,
    },
    /// The file is no TOML.
    #[error("the file {} is no TOML: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's words, without the file's text.
        reason: String,
    },
    /// A secret can't be used.
    #[error("the secret {origin} {problem}")]
    Secret {
        /// Where it came from.
        origin: Origin,
        /// What is wrong with it.
        problem: String,
    },
    /// A secret's variable and its `_FILE` variable are both set.
    #[error("{variable} and {variable}_FILE are both set")]
    SecretTwice {
        /// The first of the two.
        variable: &'static str,
    },
    /// The command needs the bot's token.
    #[error("there is no bot token: neither DISCORD_TOKEN nor DISCORD_TOKEN_FILE is set")]
    TokenMissing,
    /// Two settings that can't both be.
    #[error("{0}")]
    Conflict(String),
}

impl ConfigError {
    /// What would be right, in a sentence.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Invalid { key, invalid, .. } => {
                let expected = Setting::of(key).map_or("another value", |setting| setting.expected);
                Some(match &invalid.instead {
                    Some(text) => format!("Expected {expected}. Did you mean {text:?}?"),
                    None => format!("Expected {expected}."),
                })
            }
            Self::UnknownKey { closest: Some(key), .. } => Some(format!("Did you mean {key:?}?")),
            Self::UnknownKey { .. } => Some(
                "`apolo run --help` lists the settings; a key is a flag's name without `--`."
                    .to_owned(),
            ),
            Self::WrongKind { .. } => Some("Write `key = \"value\"`.".to_owned()),
            Self::SecretOutsideEnvironment { variable: secret::JOIN_TOKEN, .. } => Some(
                "Arguments are read by more people than should know a secret: put the token into a file, and name that with --join-token-file or APOLO_JOIN_TOKEN_FILE."
                    .to_owned(),
            ),
            Self::SecretOutsideEnvironment { variable, .. } => Some(format!(
                "Arguments and files are read by more people than should know a secret: set {variable}, or {variable}_FILE with the name of a file that holds it."
            )),
            Self::Secret { .. } => {
                Some("Expected the token alone, as the developer portal shows it.".to_owned())
            }
            Self::SecretTwice { variable } => {
                Some(format!("Keep one of them: {variable}_FILE where secrets are mounted as files."))
            }
            Self::TokenMissing => Some(
                "Set DISCORD_TOKEN, or try it without one: `apolo dev` runs against the built-in simulator."
                    .to_owned(),
            ),
            Self::NotUnicode { .. } | Self::File { .. } | Self::Syntax { .. } | Self::Conflict(_) => None,
        }
    }
}

/// All that is wrong: mending one thing at a time would be tedious. Never empty.
#[derive(Debug, Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, error) in self.0.iter().enumerate() {
            if nth > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
            if let Some(advice) = error.advice() {
                write!(f, ". {advice}")?;
            }
        }
        Ok(())
    }
}

struct Shown<'a> {
    key: &'a str,
    text: &'a str,
    secret: bool,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.secret {
            return write!(f, "the value of {}", self.key);
        }
        let shown: String = self.text.chars().take(TEXT_SHOWN_MAX).collect();
        let more = if shown.len() < self.text.len() { "…" } else { "" };
        write!(f, "{} = {shown:?}{more}", self.key)
    }
}

/// The one of `known` that `word` is a misspelling of, if it is near enough to be one.
pub(super) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: String = word.chars().take(TEXT_SHOWN_MAX).collect::<String>().to_ascii_lowercase();
    let distance =
        |candidate: &str| strsim::damerau_levenshtein(&word, &candidate.to_ascii_lowercase());
    known
        .into_iter()
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, candidate)| *distance * 3 <= candidate.len().max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Enough of a wrong value to recognise it by.
const TEXT_SHOWN_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_finds_its_word_and_nonsense_finds_none() {
        let known = ["data-dir", "http-addr", "quic-addr"];

        assert_eq!(closest("data_dir", known), Some("data-dir"));
        assert_eq!(closest("HTTP-ADR", known), Some("http-addr"));
        assert_eq!(closest("colour", known), None);
    }
}
