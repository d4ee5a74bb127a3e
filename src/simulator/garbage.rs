//! Payloads that no client should have to read.

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use super::{fault::Garbage, writer::Attached};

/// Puts garbage that is a dispatch like any other into the session, where a RESUME finds it again. Returns whether it
/// was such.
pub(super) fn into_session(what: &Garbage, attached: &Attached) -> bool {
    let mut state = attached.shard.lock();
    let mut push = |name, data: &str| state.push_to(&attached.session, name, data);
    match what {
        Garbage::Deep { depth } => push("MESSAGE_CREATE", &nested(*depth)),
        Garbage::LoneSurrogate => push("TYPING_START", LONE_SURROGATE),
        Garbage::Undecodable => push("MESSAGE_CREATE", r#"{"id":["not","a","snowflake"]}"#),
        Garbage::UnknownEvent => push("TIMELINE_SPLIT", r#"{"branches":[1,2]}"#),
        Garbage::SequenceJump { by } => {
            if let Some(session) = state.session(&attached.session) {
                session.skip(*by);
            }
        }
        Garbage::MalformedJson
        | Garbage::UnknownOpcode
        | Garbage::Large { .. }
        | Garbage::Bomb { .. }
        | Garbage::InvalidUtf8
        | Garbage::BrokenCompression
        | Garbage::SequenceRewind { .. }
        | Garbage::Split { .. }
        | Garbage::Omit { .. } => return false,
    }
    true
}

/// Garbage that is on the wire alone. Where it is a dispatch it claims a sequence that was sent before, so that the
/// session's numbers stay whole.
pub(super) fn payload(what: &Garbage, sequence: u64) -> Option<Vec<u8>> {
    let dispatch = |data: Vec<u8>| {
        let mut bytes =
            format!(r#"{{"t":"MESSAGE_CREATE","s":{sequence},"op":0,"d":"#).into_bytes();
        bytes.extend(data);
        bytes.push(b'}');
        bytes
    };
    match what {
        Garbage::MalformedJson | Garbage::BrokenCompression => {
            Some(br#"{"t":"MESSAGE_CREATE","s":"#.to_vec())
        }
        Garbage::UnknownOpcode => Some(br#"{"t":null,"s":null,"op":77,"d":{"x":1}}"#.to_vec()),
        Garbage::Large { bytes } => Some(dispatch(padding(&letters(*bytes)))),
        Garbage::Bomb { bytes } => Some(dispatch(padding(&vec![b'a'; *bytes]))),
        Garbage::InvalidUtf8 => Some(NO_UTF8.to_vec()),
        Garbage::Deep { depth } => Some(dispatch(nested(*depth).into_bytes())),
        Garbage::LoneSurrogate => Some(dispatch(LONE_SURROGATE.as_bytes().to_vec())),
        Garbage::Undecodable | Garbage::UnknownEvent => Some(dispatch(b"[]".to_vec())),
        Garbage::SequenceJump { .. }
        | Garbage::SequenceRewind { .. }
        | Garbage::Split { .. }
        | Garbage::Omit { .. } => None,
    }
}

fn nested(depth: usize) -> String {
    let mut text = String::with_capacity(2 * depth);
    text.extend(std::iter::repeat_n('[', depth));
    text.extend(std::iter::repeat_n(']', depth));
    text
}

fn padding(content: &[u8]) -> Vec<u8> {
    [br#"{"content":""#, content, br#""}"#].concat()
}

/// Six random bits in every byte: compression finds little in it.
fn letters(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    SmallRng::seed_from_u64(count as u64).fill_bytes(&mut bytes);
    for byte in &mut bytes {
        *byte = b'0' + (*byte & 63);
        if *byte == b'\\' {
            *byte = b'~';
        }
    }
    bytes
}

/// Half of a surrogate pair, which JSON's grammar allows and no Unicode text can hold.
const LONE_SURROGATE: &str =
    r#"{"channel_id":"1","user_id":"2","timestamp":1,"member":{"nick":"\ud83d"}}"#;

/// Bytes that are no UTF-8, within a payload that would be JSON.
pub(super) const NO_UTF8: &[u8] = b"{\"t\":\"\xff\xfe\xc3\x28\",\"s\":null,\"op\":11,\"d\":null}";

/// Bytes that begin neither a zlib nor a zstd block.
pub(super) const NOISE: &[u8] = &[0xde, 0xad, 0xbe, 0xef, 0xff, 0xff, 0xff, 0xff, 0x17, 0x2a];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_garbage_is_valid_json_of_its_size() {
        for what in [Garbage::Large { bytes: 100_000 }, Garbage::Bomb { bytes: 100_000 }] {
            let bytes = payload(&what, 7).unwrap();

            let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(value["s"], 7);
            assert_eq!(value["d"]["content"].as_str().unwrap().len(), 100_000);
        }
    }

    #[test]
    fn what_is_no_utf_8_and_no_json_is_neither() {
        assert!(String::from_utf8(NO_UTF8.to_vec()).is_err());
        let malformed = payload(&Garbage::MalformedJson, 1).unwrap();
        assert!(serde_json::from_slice::<serde_json::Value>(&malformed).is_err());
        assert!(serde_json::from_str::<String>(r#""\ud83d""#).is_err());
    }
}
