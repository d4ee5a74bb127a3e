//! Secrets: from the environment or a mounted file, never from an argument or the configuration file.

use std::{fs, io::Read, path::PathBuf};

use crate::model::Token;

use super::{ConfigError, Environment, Origin};

/// The variable of the bot's token; with `_FILE`, that of a file which holds it.
pub(super) const DISCORD_TOKEN: &str = "DISCORD_TOKEN";
/// The variable of the API's token; with `_FILE`, that of a file which holds it.
pub(super) const API_TOKEN: &str = "APOLO_API_TOKEN";

/// The variable of what consumers show; with `_FILE`, that of a file which holds it.
pub(super) const BOT_TOKEN: &str = "APOLO_BOT_TOKEN";

/// With `_FILE`, the variable of a file that holds a token to join with. By itself it is none: that token is read from a
/// file alone.
pub(super) const JOIN_TOKEN: &str = "APOLO_JOIN_TOKEN";

/// A token has less than 100 bytes; more is a wrong file.
const FILE_BYTES_MAX: u64 = 4096;

/// The variable to use where `key`, of a file or a flag, looks like a secret.
pub(super) fn variable_for(key: &str) -> Option<&'static str> {
    let key = key.to_ascii_lowercase().replace('_', "-");
    match key.as_str() {
        "token" | "bot-token" | "discord-token" => Some(DISCORD_TOKEN),
        "apolo-bot-token" => Some(BOT_TOKEN),
        "api-token" | "apolo-api-token" => Some(API_TOKEN),
        "join-token" | "apolo-join-token" => Some(JOIN_TOKEN),
        _ => None,
    }
}

/// The secret in `variable`, or in the file that `variable` with `_FILE` names.
pub(super) fn read(
    environment: &Environment,
    variable: &'static str,
) -> Result<Option<Token>, ConfigError> {
    let from_file = format!("{variable}_FILE");
    let not_unicode = |name: &str| ConfigError::NotUnicode { variable: name.to_owned() };
    let text = environment.value(variable).map_err(|_| not_unicode(variable))?;
    let path = environment.value(&from_file).map_err(|_| not_unicode(&from_file))?;
    match (text, path) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(ConfigError::SecretTwice { variable }),
        (Some(text), None) => parse(text, Origin::Environment(variable.to_owned())).map(Some),
        (None, Some(path)) => {
            let path = PathBuf::from(path);
            let mut text = String::new();
            let read = fs::File::open(&path)
                .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
            let origin = Origin::SecretFile { variable: from_file, path };
            match read {
                Ok(bytes) if bytes as u64 > FILE_BYTES_MAX => {
                    let problem = "has more than 4,096 bytes".to_owned();
                    Err(ConfigError::Secret { origin, problem })
                }
                Ok(_) => parse(&text, origin).map(Some),
                Err(error) => {
                    let problem = format!("can't be read: {error}");
                    Err(ConfigError::Secret { origin, problem })
                }
            }
        }
    }
}

fn parse(text: &str, origin: Origin) -> Result<Token, ConfigError> {
    Token::parse(text).ok_or_else(|| {
        let empty = text.trim().is_empty();
        let problem = if empty { "is empty" } else { "holds white space or other than ASCII" };
        ConfigError::Secret { origin, problem: problem.to_owned() }
    })
}
