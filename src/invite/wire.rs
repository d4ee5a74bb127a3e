//! What is said at the door, and between members about leaves: a version byte and then postcard.
//!
//! Enums grow at the end, and so does each of their variants: bytes behind what a version knows are ignored.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    model::{NodeId, TokenId},
    transport::Bundle,
};

/// The version of these messages.
const VERSION: u8 = 1;

/// A joiner's request. It has no `Debug`: the secret is in it.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Knock {
    pub(super) token: TokenId,
    pub(super) secret: [u8; 32],
    pub(super) node: NodeId,
    pub(super) name: String,
    /// A request to sign, PKCS #10 in DER form.
    pub(super) request: Vec<u8>,
}

/// A leaf, and whom its holder trusts.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Signed {
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) authorities: Bundle,
}

/// What a joiner is answered.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum Welcome {
    /// It is let in.
    In {
        signed: Signed,
        /// Other members, and where they are.
        members: Vec<(NodeId, SocketAddr)>,
    },
    /// It is not.
    Refused { reason: String },
    /// It may be, later.
    Later { reason: String },
    /// This member holds no key; others may.
    NoKey { members: Vec<SocketAddr> },
}

/// What a member asks.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum Ask {
    /// The trusted authorities.
    Authorities,
    /// A new leaf.
    Leaf {
        /// A request to sign, PKCS #10 in DER form.
        request: Vec<u8>,
    },
}

/// What it is answered.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum Reply {
    Authorities(Bundle),
    Leaf(Signed),
    /// This member holds no key.
    NoKey,
    Refused {
        reason: String,
    },
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub(super) enum WireError {
    #[error("it is written in version {0}, which is newer than this apolo")]
    Newer(u8),
    #[error("it can't be read")]
    Malformed,
}

pub(super) fn encode(message: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(message, vec![VERSION])
        .expect("a Vec takes any length, and our types serialize")
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            let (message, _newer) =
                postcard::take_from_bytes(rest).map_err(|_| WireError::Malformed)?;
            Ok(message)
        }
        Some((&found, _)) if found > VERSION => Err(WireError::Newer(found)),
        _ => Err(WireError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn messages() -> Vec<(&'static str, Vec<u8>)> {
        let authorities: Bundle =
            postcard::from_bytes(&[1, 2, 7, 8, 0xac, 2, 2, 5, 6]).expect("a bundle");
        let signed = Signed { chain: vec![vec![1, 2]], authorities: authorities.clone() };
        let members = vec![(NodeId(300), "10.0.0.7:7400".parse().expect("an address"))];
        let reason = || "no".to_owned();
        let knock = Knock {
            token: TokenId(0xbeef),
            secret: [3; 32],
            node: NodeId(300),
            name: "a".to_owned(),
            request: vec![4, 5],
        };
        vec![
            ("knock", encode(&knock)),
            ("in", encode(&Welcome::In { signed: signed.clone(), members: members.clone() })),
            ("refused", encode(&Welcome::Refused { reason: reason() })),
            ("later", encode(&Welcome::Later { reason: reason() })),
            ("no-key", encode(&Welcome::NoKey { members: vec![members[0].1] })),
            ("ask-authorities", encode(&Ask::Authorities)),
            ("ask-leaf", encode(&Ask::Leaf { request: vec![4, 5] })),
            ("authorities", encode(&Reply::Authorities(authorities))),
            ("leaf", encode(&Reply::Leaf(signed))),
            ("reply-no-key", encode(&Reply::NoKey)),
            ("reply-refused", encode(&Reply::Refused { reason: reason() })),
        ]
    }

    #[test]
    fn bytes_of_version_1_are_still_written_the_same() {
        let mut written = String::new();
        for (name, bytes) in messages() {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = writeln!(written, "{name} {hex}");
        }

        assert_eq!(written, include_str!("../../tests/data/invite/messages-v1.txt"));
    }

    #[test]
    fn what_a_later_version_adds_is_ignored_and_a_later_version_is_refused() {
        let mut bytes = encode(&Ask::Leaf { request: vec![4, 5] });
        bytes.extend([1, 2, 3]);

        assert_eq!(decode(&bytes), Ok(Ask::Leaf { request: vec![4, 5] }));
        assert_eq!(decode::<Ask>(&[2, 0]), Err(WireError::Newer(2)));
        assert_eq!(decode::<Ask>(&[1, 9]), Err(WireError::Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let versioned = [&[VERSION], &bytes[..]].concat();
            let _ = decode::<Knock>(&versioned);
            let _ = decode::<Welcome>(&versioned);
            let _ = decode::<Ask>(&versioned);
            let _ = decode::<Reply>(&versioned);
        }
    }
}
