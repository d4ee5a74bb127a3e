//! What a backup holds, in words.

use std::{fmt::Write as _, path::Path};

use serde::Serialize;

use super::Failure;
use crate::backup::{Counts, Header, VERSION};
use crate::cli::output::thousands;
use crate::model::UnixMillis;
use crate::state::user::TOTAL_BYTES_MAX;

/// A file, and what it says of itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'a> {
    file: String,
    format: u32,
    file_bytes: usize,
    #[serde(flatten)]
    header: &'a Header,
}

impl<'a> Shown<'a> {
    pub(super) fn new(file: &Path, bytes: usize, header: &'a Header) -> Self {
        Self { file: file.display().to_string(), format: VERSION, file_bytes: bytes, header }
    }

    pub(super) fn json(&self) -> Result<String, Failure> {
        serde_json::to_string_pretty(self)
            .map_err(|error| Failure::failed(format!("can't write JSON: {error}")))
    }

    /// One line.
    pub(super) fn summary(&self) -> String {
        let to = if self.file == "-" { String::new() } else { format!(" in {}", self.file) };
        let Header { counts, revision, .. } = self.header;
        format!(
            "backed up {} at revision {}: {} bytes{to}",
            keys(counts),
            thousands(*revision),
            thousands(self.file_bytes as u64)
        )
    }

    /// Line by line.
    pub(super) fn table(&self) -> String {
        let Header { cluster, made_at, apolo, revision, counts, bytes, locks } = self.header;
        let mut text = String::new();
        let mut row = |name: &str, what: &str| {
            let _ = writeln!(text, "{name:<10} {what}");
        };
        let size = thousands(self.file_bytes as u64);
        row("file", &format!("{}: whole, {size} bytes, format version {}", self.file, self.format));
        row("made", &format!("{} by apolo {apolo}", utc(*made_at)));
        row("cluster", &cluster.to_string());
        row("revision", &thousands(*revision));
        row("holds", &keys(counts));
        let (bytes, most) = (thousands(*bytes), thousands(TOTAL_BYTES_MAX));
        row("counts", &format!("{bytes} of the {most} bytes that a cluster keeps"));
        if *locks > 0 {
            row("without", &format!("{} of that time", many(*locks, "held lock")));
        }
        text
    }
}

/// `1 key`, `2,000 keys`.
pub(super) fn many(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", thousands(number))
}

fn keys(counts: &Counts) -> String {
    let Counts { values, counters, leaderboards, members } = *counts;
    let mut parts = Vec::new();
    if values > 0 {
        parts.push(many(values, "value"));
    }
    if counters > 0 {
        parts.push(many(counters, "counter"));
    }
    if leaderboards > 0 {
        let members = many(members, "member");
        parts.push(format!("{} of {members}", many(leaderboards, "leaderboard")));
    }
    match parts.pop() {
        None => "no keys".to_owned(),
        Some(only) if parts.is_empty() => only,
        Some(last) => format!("{} and {last}", parts.join(", ")),
    }
}

/// The time as people and scripts read it.
fn utc(at: UnixMillis) -> String {
    let seconds = std::time::Duration::from_millis(at.0).as_secs();
    humantime::format_rfc3339_seconds(
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds),
    )
    .to_string()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::ClusterId;

    fn header(counts: Counts) -> Header {
        Header {
            cluster: ClusterId(Uuid::from_u128(0x42)),
            made_at: UnixMillis(1_790_000_000_123),
            apolo: "0.1.0".to_owned(),
            revision: 4_711,
            counts,
            bytes: 12_345,
            locks: 1,
        }
    }

    #[test]
    fn a_backup_says_what_it_is() {
        let counts = Counts { values: 1_000, counters: 1, leaderboards: 2, members: 70 };
        let header = header(counts);
        let shown = Shown::new(Path::new("bot.apolo"), 98_765, &header);

        let expected = "\
file       bot.apolo: whole, 98,765 bytes, format version 1
made       2026-09-21T14:13:20Z by apolo 0.1.0
cluster    00000000-0000-0000-0000-000000000042
revision   4,711
holds      1,000 values, 1 counter and 2 leaderboards of 70 members
counts     12,345 of the 67,108,864 bytes that a cluster keeps
without    1 held lock of that time
";
        assert_eq!(shown.table(), expected);
        assert_eq!(
            shown.summary(),
            "backed up 1,000 values, 1 counter and 2 leaderboards of 70 members at revision 4,711: 98,765 bytes in bot.apolo"
        );
    }

    #[test]
    fn nothing_is_a_backup_too() {
        let header = header(Counts::default());
        let shown = Shown::new(Path::new("-"), 70, &header);

        assert_eq!(shown.summary(), "backed up no keys at revision 4,711: 70 bytes");
    }
}
