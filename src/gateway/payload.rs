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
    /// Checks a payload. Most have fewer brackets than the bound on depth, which is counted many bytes at a time; only
    /// the others are read character by character.
    pub(super) fn check(self, json: &str) -> Result<(), Excess> {
        if json.len() > self.bytes {
            return Err(Excess::Bytes);
        }
        if opened(json.as_bytes()) > self.depth && is_deeper(json.as_bytes(), self.depth) {
            return Err(Excess::Depth);
        }
        Ok(())
    }
}

/// Counts the opening brackets and braces, also those in strings.
fn opened(json: &[u8]) -> usize {
    /// Few enough for a sum in one byte, which is what lets the compiler use vector instructions.
    const CHUNK: usize = 128;
    /// The one bit between `[` and `{`.
    const CASE: u8 = b'[' ^ b'{';

    json.chunks(CHUNK)
        .map(|chunk| {
            let count: u8 = chunk.iter().map(|byte| u8::from(byte | CASE == b'{')).sum();
            usize::from(count)
        })
        .sum()
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
    /// Finds them by twilight's own scan, so that both see the same, and without reading the content.
    pub(super) fn of(json: &'a str) -> Option<Self> {
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
    fn a_string_cannot_hide_depth_behind_closing_brackets() {
        let limits = PayloadLimits { bytes: 100_000, depth: 8 };

        assert_eq!(limits.check(&r#"{"}":"#.repeat(9)), Err(Excess::Depth));
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
