//! What was found, for people and for scripts.

use std::{iter, time::Duration};

use super::super::{
    Failure,
    output::{say, say_bytes, say_json, table, thousands},
};
use crate::http::{KvChange, KvDone, KvRow, KvScore, KvText};

/// A value in a table, in characters: a line of a terminal holds its key beside it.
const SHOWN_MAX: usize = 60;

/// The value alone: what was put is what comes out. Other kinds are described.
pub(super) fn row(row: &KvRow, json: bool) -> Result<(), Failure> {
    match &row.value {
        _ if json => say_json(row),
        Some(KvText::Text(text)) => say(text),
        Some(hex) => say_bytes(&hex.bytes().unwrap_or_default()),
        None => say(content(row)),
    }
}

pub(super) fn rows(rows: &[KvRow], json: bool) -> Result<(), Failure> {
    if json {
        return say_json(&rows);
    }
    let lines = rows.iter().map(|row| {
        let ttl = row.ttl_ms.map_or_else(|| "-".to_owned(), left);
        let (kind, revision) = (row.kind.to_string(), row.modified.to_string());
        vec![row.key.clone(), kind, revision, ttl, content(row)]
    });
    say(table(&["key", "kind", ">revision", ">ttl", "content"], lines))
}

pub(super) fn scores(scores: &[KvScore], json: bool) -> Result<(), Failure> {
    if json {
        return say_json(&scores);
    }
    let lines = scores.iter().zip(1_usize..).map(|(KvScore { member, score }, rank)| {
        vec![rank.to_string(), number(*score), member.clone()]
    });
    say(table(&[">rank", ">score", "member"], lines))
}

/// A number alone where there is one, for scripts.
pub(super) fn done(done: &KvDone, json: bool) -> Result<(), Failure> {
    match done {
        _ if json => say_json(done),
        KvDone { number: Some(number), .. } => say(number),
        KvDone { revision: Some(revision), .. } => say(format_args!("revision {revision}")),
        _ => say("nothing to do"),
    }
}

/// One line, whatever the value holds.
pub(super) fn change(change: &KvChange, json: bool) -> Result<String, Failure> {
    if json {
        let line = serde_json::to_string(change);
        return line.map_err(|error| Failure::failed(format!("can't write JSON: {error}")));
    }
    let KvChange { revision, key, change: what, value, number, name } = change;
    let words = iter::once(format!("{revision}  {what}  {key}"))
        .chain(name.clone())
        .chain(number.map(|number| number.to_string()))
        .chain(value.as_ref().map(shortened));
    Ok(words.collect::<Vec<_>>().join("  "))
}

fn content(row: &KvRow) -> String {
    match row {
        KvRow { value: Some(value), .. } => shortened(value),
        KvRow { holder: Some(holder), created, .. } => {
            format!("held by {holder} with token {created}")
        }
        KvRow { number: Some(members), kind: crate::state::user::Kind::Leaderboard, .. } => {
            format!("{} members", number(*members))
        }
        KvRow { number: Some(count), .. } => count.to_string(),
        KvRow { .. } => String::new(),
    }
}

fn shortened(value: &KvText) -> String {
    let (text, prefix) = match value {
        KvText::Text(text) => (text, ""),
        KvText::Hex(digits) => (digits, "0x"),
    };
    let line: String =
        text.chars().take(SHOWN_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let more = if text.chars().nth(SHOWN_MAX).is_some() { "…" } else { "" };
    format!("{prefix}{line}{more}")
}

fn number(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", thousands(number.unsigned_abs()))
}

fn left(ttl_ms: u64) -> String {
    let span = Duration::from_secs(ttl_ms.div_ceil(1_000));
    humantime::format_duration(span).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_or_one_of_many_lines_takes_one_line() {
        let text = KvText::Text(format!("two\nlines {}", "x".repeat(100)));

        let line = shortened(&text);

        assert!(line.starts_with("two lines xxx") && line.ends_with('…'), "{line}");
        assert_eq!(line.chars().count(), SHOWN_MAX + 1);
        assert_eq!(shortened(&KvText::Hex("ff00".to_owned())), "0xff00");
        assert_eq!(number(-1_234), "-1,234");
    }
}
