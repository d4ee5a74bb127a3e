//! Which guild a payload belongs to, without decoding it.
//!
//! Events of one guild are handled in order, so an event that has to wait needs to know its guild. Handlers that are
//! never waited for (most of them) never pay for this scan. It walks the members of the payload's `d` and steps over
//! their values, so that a `guild_id` further inside, such as a quoted message's, is not mistaken for the event's own.

use crate::model::GuildId;

/// Values inside values that the scan follows; deeper payloads do not come from Discord and get no guild.
const DEPTH_MAX: usize = 128;

/// The guild of a dispatch named `name`, where it has one.
pub(crate) fn guild_of(name: &str, json: &str) -> Option<GuildId> {
    let key = match name {
        "GUILD_CREATE" | "GUILD_UPDATE" | "GUILD_DELETE" => "id",
        _ => "guild_id",
    };
    let mut scan = Scan { bytes: json.as_bytes(), at: 0 };
    let mut data = Scan { bytes: scan.member("d")?, at: 0 };
    let value = data.member(key)?;
    let digits = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    str::from_utf8(digits).ok()?.parse().ok().map(GuildId)
}

/// The `d` of a payload, wherever it stands.
pub(super) fn data_within(json: &str) -> Option<&str> {
    let data = Scan { bytes: json.as_bytes(), at: 0 }.member("d")?;
    str::from_utf8(data).ok()
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    /// The bytes of the value of the object's member `wanted`.
    fn member(&mut self, wanted: &str) -> Option<&'a [u8]> {
        self.expect(b'{')?;
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            self.space();
            let start = self.at;
            self.value()?;
            if key == wanted.as_bytes() {
                return self.bytes.get(start..self.at);
            }
            self.expect(b',')?;
        }
    }

    fn value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            self.space();
            match self.peek()? {
                b'"' => drop(self.string()?),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    if depth > DEPTH_MAX {
                        return None;
                    }
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                _ => self.scalar()?,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..)?;
            self.at += memchr::memchr2(b'"', b'\\', rest)?;
            if self.peek()? == b'"' {
                let text = self.bytes.get(start..self.at)?;
                self.at += 1;
                return Some(text);
            }
            self.at += 2;
        }
    }

    /// A number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Option<()> {
        let rest = self.bytes.get(self.at..)?;
        let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        self.at += length;
        (length > 0).then_some(())
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.space();
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn space(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn guild(name: &str, data: &Value) -> Option<u64> {
        let json = json!({"t": name, "s": 3, "op": 0, "d": data}).to_string();
        guild_of(name, &json).map(|guild| guild.0)
    }

    #[test]
    fn the_guild_of_a_message_is_its_own_and_not_the_quoted_ones() {
        let message = json!({
            "content": "a \"quote\" \\ and {\"guild_id\":\"5\"}",
            "a_message": {"guild_id": "7", "list": [1, [2, {"guild_id": "8"}]]},
            "guild_id": "9",
        });

        assert_eq!(guild("MESSAGE_CREATE", &message), Some(9));
    }

    #[test]
    fn a_guild_event_is_its_own_guild() {
        assert_eq!(guild("GUILD_CREATE", &json!({"channels": [{"id": "1"}], "id": "4"})), Some(4));
    }

    #[test]
    fn a_direct_message_has_no_guild() {
        assert_eq!(guild("MESSAGE_CREATE", &json!({"content": "hi"})), None);
        assert_eq!(guild("MESSAGE_CREATE", &json!({"guild_id": null})), None);
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let json = format!(r#"{{"d":{{"a":{deep},"guild_id":"1"}}}}"#);

        assert_eq!(guild_of("MESSAGE_CREATE", &json), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in ".{0,200}") {
            let _ = guild_of("MESSAGE_CREATE", &text);
            let _ = guild_of("MESSAGE_CREATE", &format!("{{\"d\":{text}"));
        }

        #[test]
        fn what_stands_around_the_guild_does_not_matter(
            before in ".{0,20}", after in ".{0,20}", number in any::<u32>()
        ) {
            let data = json!({
                "before": [before, number, true, null, {"guild_id": "1"}],
                "guild_id": "42",
                "zz": {"x": after},
            });
            prop_assert_eq!(guild("MESSAGE_CREATE", &data), Some(42));
        }
    }
}
