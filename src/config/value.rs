//! Text to value, for the settings whose types know nothing of text.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use tracing_subscriber::EnvFilter;
use url::Url;

use crate::model::{Format, NoProfile, Profile, ShardTotal};

use super::{Invalid, LogFormat};

/// A DNS label's length, since the name of a pod is one.
const NAME_BYTES_MAX: usize = 63;

pub(super) fn path(text: &str) -> Result<PathBuf, Invalid> {
    if text.is_empty() { Err(Invalid::new("is empty")) } else { Ok(PathBuf::from(text)) }
}

pub(super) fn name(text: &str) -> Result<String, Invalid> {
    let fits = (1..=NAME_BYTES_MAX).contains(&text.len());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if fits && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(Invalid::new("is no name that a log, a table and a certificate can all carry"))
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, Invalid> {
    text.parse().map_err(|_| match text.strip_prefix(':').map(str::parse::<u16>) {
        Some(Ok(port)) => Invalid::new("has no IP address").instead(format!("0.0.0.0:{port}")),
        _ if text.parse::<std::net::IpAddr>().is_ok() => Invalid::new("has no port"),
        _ if text.starts_with("localhost:") => Invalid::new("is a name, not an IP address")
            .instead(text.replacen("localhost", "127.0.0.1", 1)),
        _ => Invalid::new("is no socket address"),
    })
}

pub(super) fn address_or_none(text: &str) -> Result<Option<SocketAddr>, Invalid> {
    if text == "none" { Ok(None) } else { address(text).map(Some) }
}

/// Names with commas between them.
pub(super) fn names_or_none(text: &str) -> Result<Vec<String>, Invalid> {
    if text == "none" {
        Ok(Vec::new())
    } else {
        list(text)?.iter().map(|item| name(item)).collect()
    }
}

/// A base URL without a slash at the end. What could carry a secret or get lost by appending a path is refused.
pub(super) fn base_url(text: &str) -> Result<Url, Invalid> {
    if text.contains('@') {
        return Err(Invalid::secret("has an @, as if a user name or password were in it"));
    }
    let url = Url::parse(text.trim_end_matches('/'))
        .map_err(|error| Invalid::new(format!("is no URL ({error})")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Invalid::new(format!("has the scheme {}, not http or https", url.scheme())));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Invalid::new("has a query or fragment, which appending a path would break"));
    }
    Ok(url)
}

pub(super) fn count(text: &str, range: RangeInclusive<u64>) -> Result<u64, Invalid> {
    let count: u64 = text.parse().map_err(|_| Invalid::new("is no whole number"))?;
    if range.contains(&count) {
        Ok(count)
    } else {
        Err(Invalid::new(format!("does not lie between {} and {}", range.start(), range.end())))
    }
}

pub(super) fn small(text: &str, range: RangeInclusive<u64>) -> Result<usize, Invalid> {
    count(text, range).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
}

pub(super) fn text(text: &str) -> Result<String, Invalid> {
    if text.is_empty() { Err(Invalid::new("is empty")) } else { Ok(text.to_owned()) }
}

/// What stands between commas.
pub(super) fn list(text: &str) -> Result<Vec<String>, Invalid> {
    let items: Vec<_> = text.split(',').map(str::trim).map(str::to_owned).collect();
    if items.iter().any(String::is_empty) {
        return Err(Invalid::new("has nothing between two commas"));
    }
    Ok(items)
}

pub(super) fn shard_total(text: &str) -> Result<ShardTotal, Invalid> {
    let count: u32 = text.parse().map_err(|_| Invalid::new("is no whole number"))?;
    ShardTotal::new(count).map_err(|_| Invalid::new("is out of range"))
}

/// A bare number counts milliseconds, as the seed's settings do; otherwise a unit is named.
pub(super) fn span(text: &str, millis: RangeInclusive<u64>) -> Result<Duration, Invalid> {
    let span = match text.parse::<u64>() {
        Ok(millis) => Duration::from_millis(millis),
        Err(_) => humantime::parse_duration(text)
            .map_err(|error| Invalid::new(format!("is no time ({error})")))?,
    };
    let (least, most) =
        (Duration::from_millis(*millis.start()), Duration::from_millis(*millis.end()));
    if span < least {
        Err(Invalid::new("is too short"))
    } else if span > most {
        Err(Invalid::new("is too long"))
    } else {
        Ok(span)
    }
}

pub(super) fn profile(text: &str) -> Result<Profile, Invalid> {
    let words = Profile::ALL.map(Profile::as_str);
    text.to_ascii_lowercase()
        .parse()
        .map_err(|error: NoProfile| Invalid::new(error.to_string()).instead_closest(text, words))
}

pub(super) fn format(text: &str) -> Result<Format, Invalid> {
    let range = Format::MIN.0.into()..=Format::MAX.0.into();
    count(text, range).map(|number| Format(u8::try_from(number).unwrap_or(u8::MAX)))
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, Invalid> {
    match text.to_ascii_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(Invalid::new("is no log format")),
    }
}

pub(super) fn log_level(text: &str) -> Result<String, Invalid> {
    // `EnvFilter` takes a lone word for a target's name; a misspelt level would silence every line.
    let words = text.split(',').map(str::trim);
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    for word in words.filter(|word| !word.contains(['=', '[', ':'])) {
        if !levels.contains(&word.to_ascii_lowercase().as_str()) {
            let invalid = Invalid::new(format!("has {word:?} where a level should be"));
            return Err(invalid.instead_closest(word, levels));
        }
    }
    EnvFilter::builder()
        .parse(text)
        .map(|_| text.to_owned())
        .map_err(|error| Invalid::new(format!("is no log filter ({error})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_counts_milliseconds() {
        assert_eq!(span("1500", 0..=2_000), Ok(Duration::from_millis(1_500)));
        assert_eq!(span("1s 500ms", 0..=2_000), Ok(Duration::from_millis(1_500)));
    }

    #[test]
    fn spans_outside_their_bounds_are_refused() {
        for text in ["99", "2001", "1h", "-5", "", "18446744073709551616", "5 bananas"] {
            assert!(span(text, 100..=2_000).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_base_url_loses_its_last_slash_and_carries_no_secret() {
        assert_eq!(base_url("http://127.0.0.1:9/api/v10/").unwrap().path(), "/api/v10");
        for text in [
            "discord.com/api",
            "ws://a",
            "https://me:word@a/",
            "https://a/?x=1",
            "https://a#b",
            "http://",
        ] {
            assert!(base_url(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_address_needs_an_ip_and_a_port_and_says_so() {
        assert_eq!(address("[::]:3000").unwrap().port(), 3_000);
        assert_eq!(address(":80").unwrap_err().instead.as_deref(), Some("0.0.0.0:80"));
        assert_eq!(address("localhost:80").unwrap_err().instead.as_deref(), Some("127.0.0.1:80"));
        for text in ["", "3000", "1.2.3.4", "1.2.3.4:99999", "example.com:80"] {
            assert!(address(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_target() {
        assert_eq!(log_level("inf").unwrap_err().instead.as_deref(), Some("info"));
        for text in ["info", "WARN", "info,apolo::gateway=debug", "off,apolo=trace"] {
            assert_eq!(log_level(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn names_are_what_tables_and_certificates_can_carry() {
        assert!(name("apolo-0").is_ok());
        for text in ["", "a b", "ä", &"x".repeat(64)] {
            assert!(name(text).is_err(), "{text:?}");
        }
    }
}
