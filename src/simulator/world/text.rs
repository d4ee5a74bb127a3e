//! Appends numbers, times and escaped strings to a text.
//!
//! Messages are full of them, and the standard library's formatting takes several times as long.

use std::fmt::Write as _;

use jiff::{Timestamp, tz::Offset};

use crate::model::UnixMillis;

/// Appends a number in decimal.
pub(super) fn push_number(text: &mut String, number: impl itoa::Integer) {
    text.push_str(itoa::Buffer::new().format(number));
}

/// Appends 16 hexadecimal digits.
pub(super) fn push_hex(text: &mut String, number: u64) {
    for shift in (0..16).rev() {
        text.push(char::from(DIGITS[(number >> (4 * shift)) as usize & 0xf]));
    }
}

/// Appends a time as Discord writes it: ISO 8601 in UTC with microseconds.
pub(super) fn push_time(text: &mut String, time: UnixMillis) {
    let millis = i64::try_from(time.0).unwrap_or(i64::MAX);
    let instant = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    let at = Offset::UTC.to_datetime(instant);
    let (date, clock) = (at.date(), at.time());
    let fields = [
        (date.year(), 1_000, '-'),
        (i16::from(date.month()), 10, '-'),
        (i16::from(date.day()), 10, 'T'),
        (i16::from(clock.hour()), 10, ':'),
        (i16::from(clock.minute()), 10, ':'),
        (i16::from(clock.second()), 10, '.'),
    ];
    for (number, place, end) in fields {
        push_digits(text, number, place);
        text.push(end);
    }
    push_digits(text, clock.millisecond(), 100);
    text.push_str("000+00:00");
}

/// Appends the digits of a number from the given place of ten on, with leading zeros.
fn push_digits(text: &mut String, number: i16, mut place: i16) {
    while place > 0 {
        text.push(char::from(DIGITS[usize::from((number / place % 10).unsigned_abs())]));
        place /= 10;
    }
}

/// Appends `string` with what JSON demands escaped (RFC 8259, section 7): quotes, backslashes, control characters.
pub(super) fn push_escaped(text: &mut String, string: &str) {
    let mut plain = 0;
    for (at, byte) in string.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        text.push_str(&string[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            _ => write!(text, "\\u{byte:04x}").expect("writing to a string can't fail"),
        }
    }
    text.push_str(&string[plain..]);
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_written_as_the_standard_library_writes_them(number: u64) {
            let mut text = String::new();
            push_number(&mut text, number);
            push_hex(&mut text, number);

            prop_assert_eq!(text, format!("{number}{number:016x}"));
        }

        #[test]
        fn times_are_read_back_as_they_were(millis in 0_u64..4_102_444_800_000) {
            let mut text = String::new();
            push_time(&mut text, UnixMillis(millis));

            let read: Timestamp = text.parse().unwrap();

            prop_assert_eq!(read.as_millisecond(), i64::try_from(millis).unwrap());
            prop_assert_eq!(text.len(), "2026-01-01T00:00:00.042000+00:00".len());
        }
    }

    #[test]
    fn times_are_written_as_discord_writes_them() {
        let mut text = String::new();
        push_time(&mut text, UnixMillis(1_767_225_600_042));

        assert_eq!(text, "2026-01-01T00:00:00.042000+00:00");
    }
}
