//! The configuration file: one TOML table of settings by key.

use std::{collections::BTreeMap, fs, io::Read, path::Path};

use toml::de::{DeTable, DeValue};

use super::{ConfigError, Origin, SETTINGS, Setting, error::closest, secret};

/// Texts by key, with the line that each stands on.
pub(super) type Texts = BTreeMap<&'static str, (String, Origin)>;

/// A configuration is a page; more is a wrong file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads the file at `path`, which `named` asked for. Whatever is wrong with single keys is added to `errors`.
pub(super) fn read(path: &Path, named: &Origin, errors: &mut Vec<ConfigError>) -> Texts {
    match text_of(path) {
        Ok(text) => parse(path, &text, errors),
        Err(reason) => {
            let origin = named.clone();
            errors.push(ConfigError::File { path: path.to_owned(), reason, origin });
            Texts::new()
        }
    }
}

fn text_of(path: &Path) -> Result<String, String> {
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    match read.map_err(|error| error.to_string())? as u64 {
        0..=FILE_BYTES_MAX => Ok(text),
        _ => Err("it is larger than 1 MiB".to_owned()),
    }
}

fn parse(path: &Path, text: &str, errors: &mut Vec<ConfigError>) -> Texts {
    let mut texts = Texts::new();
    let table = match DeTable::parse(text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            // The parser's own rendering quotes the line, which may hold what should not be shown.
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            let reason = format!("line {line}: {}", error.message());
            errors.push(ConfigError::Syntax { path: path.to_owned(), reason });
            return texts;
        }
    };
    for (key, value) in table {
        let origin = Origin::File { path: path.to_owned(), line: line_of(text, key.span().start) };
        let key = key.into_inner().into_owned();
        if let Some(variable) = secret::variable_for(&key) {
            errors.push(ConfigError::SecretOutsideEnvironment { name: key, origin, variable });
            continue;
        }
        let Some(setting) = Setting::of(&key) else {
            let closest = closest(&key, SETTINGS.iter().map(|setting| setting.key));
            errors.push(ConfigError::UnknownKey { key, origin, closest });
            continue;
        };
        let value = value.into_inner();
        match plain(&value) {
            Some(text) => drop(texts.insert(setting.key, (text, origin))),
            None => errors.push(ConfigError::WrongKind { key, kind: value.type_str(), origin }),
        }
    }
    texts
}

/// A value as a flag would carry it; a list becomes words with commas.
fn plain(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Integer(number) => {
            u64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Array(values) => {
            let words: Option<Vec<_>> = values.iter().map(|word| plain(word.get_ref())).collect();
            words.map(|words| words.join(","))
        }
        DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Texts, Vec<String>) {
        let mut errors = Vec::new();
        let texts = parse(Path::new("apolo.toml"), text, &mut errors);
        (texts, errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn numbers_texts_and_lists_become_texts_with_their_line() {
        let (texts, errors) =
            parsed("total-shards = 1_6\n\nintents = [\"GUILDS\", \"GUILD_MESSAGES\"]\n");

        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(texts["total-shards"].0, "16");
        assert_eq!(texts["intents"].0, "GUILDS,GUILD_MESSAGES");
        assert_eq!(texts["intents"].1.to_string(), "from apolo.toml, line 3");
    }

    #[test]
    fn unknown_keys_tables_and_secrets_are_each_an_error() {
        let (texts, errors) =
            parsed("data_dir = 'a'\ntoken = 's3cret'\n[http-addr]\nport = 3000\n");

        assert!(texts.is_empty());
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors.iter().all(|error| !error.contains("s3cret")), "{errors:?}");
    }

    #[test]
    fn a_syntax_error_names_the_line_and_shows_none_of_the_text() {
        let (_, errors) = parsed("name = 'a'\nDISCORD_TOKEN = s3cret\n");

        assert_eq!(errors.len(), 1);
        assert!(errors[0].contains("line 2"), "{errors:?}");
        assert!(!errors[0].contains("s3cret"), "{errors:?}");
    }
}
