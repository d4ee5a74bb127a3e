//! Words and tables on stdout.

use std::{
    fmt,
    io::{self, Write},
    time::{Duration, UNIX_EPOCH},
};

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use super::Failure;
use crate::model::UnixMillis;

/// Prints a line. A reader that has gone (`| head`) is no failure.
pub(super) fn say(line: impl fmt::Display) -> Result<(), Failure> {
    written(writeln!(io::stdout().lock(), "{line}"))
}

/// Prints JSON for other programs.
pub(super) fn say_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::failed(format!("can't write JSON: {error}")))?;
    say(text)
}

/// Prints in place of what a terminal shows. Elsewhere, one after the other.
pub(super) fn redraw(text: &str) -> Result<(), Failure> {
    let terminal = console::Term::stdout();
    if terminal.is_term() {
        written(terminal.clear_screen())?;
    }
    say(text)
}

/// Prints JSON on one line, for programs that read a line at a time.
pub(super) fn say_line_of_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::failed(format!("can't write JSON: {error}")))?;
    say(text)
}

/// `2026-11-27T19:33:20.123Z`.
pub(super) fn timestamp(at: UnixMillis) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at.0)).to_string()
}

/// Prints bytes.
pub(super) fn say_bytes(bytes: &[u8]) -> Result<(), Failure> {
    written(io::stdout().lock().write_all(bytes))
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("can't write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// A table without frames, so that `awk` and eyes can both read it. Columns whose title starts with `>` are aligned to
/// the right.
pub(super) fn table(titles: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let plain = titles.iter().map(|title| title.trim_start_matches('>'));
    let right: Vec<bool> = titles.iter().map(|title| title.starts_with('>')).collect();
    let align = |text: String, right: bool| {
        let side = if right { CellAlignment::Right } else { CellAlignment::Left };
        Cell::new(text).set_alignment(side)
    };
    table.set_header(plain.zip(&right).map(|(title, right)| align(title.to_owned(), *right)));
    for row in rows {
        table.add_row(row.into_iter().zip(&right).map(|(text, right)| align(text, *right)));
    }
    table
}

/// `1234567` as `1,234,567`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let texts = [0, 999, 1_000, 1_234_567].map(thousands);

        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn numbers_are_aligned_to_the_right() {
        let row = |shard: &str, status: &str| vec![shard.to_owned(), status.to_owned()];
        let table = table(&[">shard", "status"], [row("7", "ready"), row("10", "dead")]);

        let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();

        assert_eq!(lines, [" shard  status", "     7  ready", "    10  dead"]);
    }
}
