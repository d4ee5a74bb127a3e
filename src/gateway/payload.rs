//! What is looked at in every payload: its size, its depth and its envelope. Never its content.

use serde::Deserialize;
use twilight_model::gateway::event::GatewayEventDeserializer;

/// The largest and the deepest payload that is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PayloadLimits {
    /// Bytes, inflated. The default, 16 MiB, is several times a GUILD_CREATE of the largest guilds.
    pub bytes: usize,
    /// Objects and arrays within each other. The default, 128, is where `serde_json` stops.
    pub depth: usize,
}

impl Default for PayloadLimits {
    fn default() -> Self {
        Self { bytes: 16 * 1_024 * 1_024, depth: 128 }
    }
}

/// Why a payload is not kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Excess {
    Bytes,
    Depth,
}

impl PayloadLimits {
    /// Checks a payload. Only one whose brackets, those in strings included, could lie so deep is read character by
    /// character. Brackets in strings can hide depth from that guess; what gets by meets the limit of whoever parses it.
    pub(super) fn check(self, json: &str) -> Result<(), Excess> {
        if json.len() > self.bytes {
            return Err(Excess::Bytes);
        }
        let json = json.as_bytes();
        if openings(json) > self.depth
            && may_be_deeper(json, self.depth)
            && is_deeper(json, self.depth)
        {
            return Err(Excess::Depth);
        }
        Ok(())
    }
}

/// Few enough for a sum in one byte.
const CHUNK: usize = 128;

/// How many brackets and braces of `wanted`'s direction, `{` or `}`, are among these: no more than [`CHUNK`] bytes.
/// Neither a remainder nor an overflow is looked for, or the compiler could use no vectors.
fn count(bytes: &[u8], wanted: u8) -> usize {
    /// The one bit between `[` and `{`, and between `]` and `}`.
    const CASE: u8 = b'[' ^ b'{';

    let add = |sum: u8, byte: &u8| sum.wrapping_add(u8::from(byte | CASE == wanted));
    usize::from(bytes.iter().fold(0, add))
}

/// How many brackets and braces are opened.
fn openings(json: &[u8]) -> usize {
    let (chunks, rest) = json.as_chunks::<CHUNK>();
    chunks.iter().map(|chunk| count(chunk, b'{')).sum::<usize>() + count(rest, b'{')
}

/// Whether brackets and braces are open somewhere by more than `depth`, told to within a chunk, and quickly.
fn may_be_deeper(json: &[u8], depth: usize) -> bool {
    let (chunks, rest) = json.as_chunks::<CHUNK>();
    let mut open = 0_usize;
    for chunk in chunks {
        let opened = count(chunk, b'{');
        if open + opened > depth {
            return true;
        }
        open = (open + opened).saturating_sub(count(chunk, b'}'));
    }
    open + count(rest, b'{') > depth
}

/// Whether objects and arrays lie within each other more than `depth` deep.
fn is_deeper(json: &[u8], depth: usize) -> bool {
    let (mut now, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in json {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                now += 1;
                if now > depth {
                    return true;
                }
            }
            b'}' | b']' => now = now.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// A payload's opcode, sequence and event name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Envelope<'a> {
    pub(super) op: u8,
    pub(super) sequence: Option<u64>,
    pub(super) name: Option<&'a str>,
}

impl<'a> Envelope<'a> {
    /// Finds them without reading the content: where Discord puts them, and else by twilight's own scan. Both see the
    /// same, since twilight's finds the first of each key, and Discord's place is before the content.
    pub(super) fn of(json: &'a str) -> Option<Self> {
        Self::of_dispatch(json).or_else(|| Self::scan(json))
    }

    /// The form that Discord gives every dispatch: `{"t":"NAME","s":7,"op":0,"d":…`.
    fn of_dispatch(json: &'a str) -> Option<Self> {
        let in_name = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'_';
        let rest = json.strip_prefix(r#"{"t":""#)?;
        let (name, rest) = rest.split_at(rest.bytes().take_while(in_name).count());
        let rest = rest.strip_prefix(r#"","s":"#)?;
        let (sequence, rest) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
        if !rest.starts_with(r#","op":0,"d":"#) {
            return None;
        }
        Some(Self { op: 0, sequence: Some(sequence.parse().ok()?), name: Some(name) })
    }

    fn scan(json: &'a str) -> Option<Self> {
        let (op, sequence, name) = GatewayEventDeserializer::from_json(json)?.into_parts();
        let name = name.and_then(|name| match name {
            std::borrow::Cow::Borrowed(name) => Some(name),
            std::borrow::Cow::Owned(_) => None,
        });
        Some(Self { op, sequence, name })
    }
}

/// The `d` of a payload.
pub(super) fn data<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    #[derive(Deserialize)]
    struct Payload<T> {
        d: T,
    }

    serde_json::from_str::<Payload<T>>(json).ok().map(|payload| payload.d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn a_payload_at_the_bounds_is_kept_and_one_beyond_is_not() {
        let limits = PayloadLimits { bytes: 1_000, depth: 8 };

        assert_eq!(limits.check(&"x".repeat(1_000)), Ok(()));
        assert_eq!(limits.check(&"x".repeat(1_001)), Err(Excess::Bytes));
        assert_eq!(limits.check(&nested(8)), Ok(()));
        assert_eq!(limits.check(&nested(9)), Err(Excess::Depth));
        assert_eq!(limits.check(&"[".repeat(9)), Err(Excess::Depth));
    }

    #[test]
    fn brackets_in_strings_and_side_by_side_are_no_depth() {
        let limits = PayloadLimits { bytes: 100_000, depth: 8 };
        let wide = format!("[{}]", "{},".repeat(1_000));
        let text = format!(r#"{{"content":"\"{}"}}"#, "[".repeat(1_000));

        assert_eq!(limits.check(&wide), Ok(()));
        assert_eq!(limits.check(&text), Ok(()));
    }

    #[test]
    fn depth_is_found_wherever_it_lies() {
        let limits = PayloadLimits { bytes: 100_000, depth: 200 };
        let wide = "{},".repeat(500);

        for deep in [nested(201), format!("[{wide}{}]", nested(200)), "[".repeat(201)] {
            assert_eq!(limits.check(&deep), Err(Excess::Depth), "{deep}");
        }
        assert_eq!(limits.check(&format!("[{wide}{}]", nested(199))), Ok(()));
    }

    #[test]
    fn both_ways_to_the_envelope_of_a_dispatch_agree() {
        for name in ["READY", "GUILD_MEMBER_ADD", "X"] {
            for data in ["{}", r#"{"op":9,"t":"OTHER","s":1}"#, "null"] {
                let json =
                    format!(r#"{{"t":"{name}","s":18446744073709551615,"op":0,"d":{data}}}"#);

                let envelope = Envelope::of_dispatch(&json).unwrap();

                let expected = Envelope { op: 0, sequence: Some(u64::MAX), name: Some(name) };
                assert_eq!((envelope, Envelope::scan(&json)), (expected, Some(expected)));
            }
        }
    }

    #[test]
    fn a_dispatch_in_any_other_form_is_left_to_the_scan() {
        for json in [
            r#"{"t":"A\"B","s":1,"op":0,"d":{}}"#,
            r#"{"t":"AB","s":-1,"op":0,"d":{}}"#,
            r#"{"t":"AB","s":1,"op":10,"d":{}}"#,
            r#"{"t":"AB","s":null,"op":0,"d":{}}"#,
            r#"{"t":null,"s":null,"op":11,"d":null}"#,
            r#"{"op":0,"t":"AB","s":1,"d":{}}"#,
            r#"{"t":"AB"#,
        ] {
            assert_eq!(Envelope::of_dispatch(json), None, "{json}");
        }
    }

    #[test]
    fn the_envelope_is_found_without_reading_the_content() {
        let json = r#"{"t":"TYPING_START","s":7,"op":0,"d":{"broken"#;

        let envelope = Envelope::of(json).unwrap();

        assert_eq!(envelope, Envelope { op: 0, sequence: Some(7), name: Some("TYPING_START") });
        assert_eq!(Envelope::of("{}"), None);
        assert_eq!(data::<bool>(r#"{"op":9,"d":true}"#), Some(true));
    }
}
