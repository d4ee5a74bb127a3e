//! What nodes say to each other before and beside Raft, on [`Protocol::Join`](crate::transport::Protocol::Join): one
//! frame each way, a version byte and then postcard.
//!
//! Both enums grow at the end, and so does each of their variants: bytes behind what a version knows are ignored.
//! Invitations (a token, a request to sign, an admission) have their places after the last variant.

use std::{collections::BTreeSet, net::SocketAddr};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    model::{BootEpoch, ClusterId, NodeId},
    store::Promise,
};

/// The version of these messages.
const VERSION: u8 = 1;

/// The longest name, in bytes: a host name's bound.
pub(super) const NAME_BYTES_MAX: usize = 253;

/// The most nodes in one message. A frame would hold more; the largest cluster that is planned for has fewer.
pub(super) const NODES_MAX: usize = 4096;

/// The longest reason, in bytes: some sentences.
pub(super) const REASON_BYTES_MAX: usize = 2048;

/// Who asks. The node must be the certificate's.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Caller {
    /// The node.
    pub node: NodeId,
    /// Its name, for people.
    pub name: String,
    /// Which start of it this is.
    pub boot: BootEpoch,
}

/// What is asked.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// Who is there, and of which cluster?
    WhoAreYou {
        /// Who asks.
        from: Caller,
        /// The nodes that it sees, itself among them.
        sees: BTreeSet<NodeId>,
    },
    /// The founder asks for a promise.
    Promise(Promise),
}

/// A member, and where it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Neighbour {
    /// The node.
    pub node: NodeId,
    /// Its name, empty if it is not known.
    pub name: String,
    /// Where it is.
    pub address: SocketAddr,
}

/// What is answered.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// A node that belongs to no cluster and has promised nothing.
    Empty {
        /// The node.
        node: NodeId,
        /// Its name.
        name: String,
        /// How many nodes it expects to form a cluster.
        expect: u64,
        /// The nodes that it sees, itself among them.
        sees: BTreeSet<NodeId>,
    },
    /// A node that has promised to form a cluster, which is not formed as far as it knows.
    Promised {
        /// The node.
        node: NodeId,
        /// Its name.
        name: String,
        /// The cluster.
        cluster: ClusterId,
        /// The only one who may form it.
        founder: NodeId,
        /// The nodes that it sees, itself among them.
        sees: BTreeSet<NodeId>,
    },
    /// A member of a cluster.
    Member {
        /// The node.
        node: NodeId,
        /// Its name.
        name: String,
        /// The cluster.
        cluster: ClusterId,
        /// Other members, and where they are.
        peers: Vec<Neighbour>,
    },
    /// A node that belongs to a cluster and holds nothing of it: it has lost that, or is about to join.
    Lost {
        /// The node.
        node: NodeId,
        /// Its name.
        name: String,
        /// The cluster, if it is known.
        cluster: Option<ClusterId>,
    },
    /// The promise is durable.
    Kept,
    /// It is not, or the question was not understood.
    Refused {
        /// For a person.
        reason: String,
    },
}

impl Answer {
    /// Who answers, by its own word.
    #[must_use]
    pub fn who(&self) -> Option<(NodeId, &str)> {
        match self {
            Self::Empty { node, name, .. }
            | Self::Promised { node, name, .. }
            | Self::Member { node, name, .. }
            | Self::Lost { node, name, .. } => Some((*node, name)),
            Self::Kept | Self::Refused { .. } => None,
        }
    }

    /// That the question was not understood.
    #[must_use]
    pub fn refused(reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        if reason.len() > REASON_BYTES_MAX {
            reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        }
        Self::Refused { reason }
    }
}

/// Why bytes are no message.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum WireError {
    /// They are of a later version.
    #[error(
        "the message has version {found}, and this node reads {VERSION}; upgrade the older node"
    )]
    Version {
        /// The version.
        found: u8,
    },
    /// They are of no kind that is known, or cut short.
    #[error("the message is malformed, or of a kind that this node does not know")]
    Malformed,
    /// A part is larger than it may be.
    #[error("the message's {part} is too large or holds what it may not")]
    Part {
        /// Which.
        part: &'static str,
    },
}

impl Question {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// From bytes.
    ///
    /// # Errors
    ///
    /// [`WireError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let question = decode(bytes)?;
        match &question {
            Self::WhoAreYou { from, sees } => {
                name(&from.name)?;
                nodes(sees.len())?;
            }
            Self::Promise(promise) => {
                nodes(promise.members.len())?;
                promise.members.values().try_for_each(|member| name(member))?;
            }
        }
        Ok(question)
    }
}

impl Answer {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// From bytes.
    ///
    /// # Errors
    ///
    /// [`WireError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let answer = decode(bytes)?;
        if let Some((_, of)) = Self::who(&answer) {
            name(of)?;
        }
        match &answer {
            Self::Empty { sees, .. } | Self::Promised { sees, .. } => nodes(sees.len())?,
            Self::Member { peers, .. } => {
                nodes(peers.len())?;
                let named = peers.iter().filter(|peer| !peer.name.is_empty());
                named.map(|peer| &peer.name).try_for_each(|peer| name(peer))?;
            }
            Self::Refused { reason } if reason.len() > REASON_BYTES_MAX => {
                return Err(WireError::Part { part: "reason" });
            }
            Self::Lost { .. } | Self::Kept | Self::Refused { .. } => {}
        }
        Ok(answer)
    }
}

/// A name goes into log lines, so it holds nothing that could break one.
fn name(name: &str) -> Result<(), WireError> {
    let sound = !name.is_empty() && name.len() <= NAME_BYTES_MAX;
    if sound && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(WireError::Part { part: "name" })
}

const fn nodes(count: usize) -> Result<(), WireError> {
    if count > NODES_MAX { Err(WireError::Part { part: "number of nodes" }) } else { Ok(()) }
}

fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_extend(message, vec![VERSION])
        .expect("a Vec takes any length, and our types serialize")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            let (message, _newer) =
                postcard::take_from_bytes(rest).map_err(|_| WireError::Malformed)?;
            Ok(message)
        }
        Some((&found, _)) if found > VERSION => Err(WireError::Version { found }),
        _ => Err(WireError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(0x0102_0304));

    fn sees() -> BTreeSet<NodeId> {
        [NodeId(3), NodeId(300)].into()
    }

    fn questions() -> Vec<(&'static str, Question)> {
        let from = Caller { node: NodeId(3), name: "a".to_owned(), boot: BootEpoch(2) };
        let members = [(NodeId(3), "a".to_owned()), (NodeId(300), "b".to_owned())].into();
        let promise = Promise { cluster: CLUSTER, founder: NodeId(3), members };
        vec![
            ("who-are-you", Question::WhoAreYou { from, sees: sees() }),
            ("promise", Question::Promise(promise)),
        ]
    }

    fn answers() -> Vec<(&'static str, Answer)> {
        let (node, name, cluster) = (NodeId(300), "b".to_owned(), CLUSTER);
        let at = |address: &str, name: &str| Neighbour {
            node: NodeId(3),
            name: name.to_owned(),
            address: address.parse().unwrap(),
        };
        let peers = vec![at("10.0.0.7:7400", "a"), at("[2001:db8::7]:7400", "")];
        let founder = NodeId(3);
        vec![
            ("empty", Answer::Empty { node, name: name.clone(), expect: 3, sees: sees() }),
            (
                "promised",
                Answer::Promised { node, name: name.clone(), cluster, founder, sees: sees() },
            ),
            ("member", Answer::Member { node, name: name.clone(), cluster, peers }),
            ("lost", Answer::Lost { node, name: name.clone(), cluster: Some(cluster) }),
            ("lost-unknown", Answer::Lost { node, name, cluster: None }),
            ("kept", Answer::Kept),
            ("refused", Answer::refused("no")),
        ]
    }

    #[test]
    fn bytes_of_version_1_are_still_read_and_written_the_same() {
        let mut written = String::new();
        let mut note = |name: &str, bytes: &[u8]| {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = writeln!(written, "{name} {hex}");
        };
        for (name, question) in questions() {
            note(name, &question.encode());
            assert_eq!(Question::decode(&question.encode()), Ok(question));
        }
        for (name, answer) in answers() {
            note(name, &answer.encode());
            assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        }

        assert_eq!(written, include_str!("../../tests/data/cluster/messages-v1.txt"));
    }

    #[test]
    fn a_later_version_and_a_kind_of_the_future_are_refused() {
        assert_eq!(Question::decode(&[2, 0, 0]), Err(WireError::Version { found: 2 }));
        assert_eq!(Answer::decode(&[9]), Err(WireError::Version { found: 9 }));
        assert_eq!(Question::decode(&[1, 2, 0, 0]), Err(WireError::Malformed));
        assert_eq!(Answer::decode(&[1, 6, 0, 0]), Err(WireError::Malformed));
        assert_eq!(Answer::decode(&[0, 4]), Err(WireError::Malformed));
        assert_eq!(Answer::decode(&[]), Err(WireError::Malformed));
    }

    #[test]
    fn what_a_later_version_adds_to_a_message_is_ignored() {
        for (_, question) in questions() {
            let bytes = [question.encode(), vec![1, 2, 3]].concat();
            assert_eq!(Question::decode(&bytes), Ok(question));
        }
    }

    #[test]
    fn no_prefix_of_a_message_is_a_message() {
        for (name, answer) in answers() {
            let bytes = answer.encode();
            for end in 0..bytes.len() {
                assert!(Answer::decode(&bytes[..end]).is_err(), "{name} {end}");
            }
        }
    }

    #[test]
    fn names_that_would_spoil_a_log_and_sets_without_end_are_refused() {
        let named = |name: &str| {
            let (node, name) = (NodeId(1), name.to_owned());
            Answer::decode(&Answer::Lost { node, name, cluster: None }.encode())
        };
        let sees = (0..=NODES_MAX as u64).map(NodeId).collect();
        let many = Answer::Empty { node: NodeId(1), name: "a".to_owned(), expect: 1, sees };

        for wrong in ["", "a\nb", "\u{1b}[2J", &"a".repeat(NAME_BYTES_MAX + 1)] {
            assert_eq!(named(wrong), Err(WireError::Part { part: "name" }), "{wrong:?}");
        }
        assert!(named("größe-1").is_ok());
        assert!(matches!(Answer::decode(&many.encode()), Err(WireError::Part { .. })));
        assert!(Answer::decode(&Answer::refused("ä".repeat(2000)).encode()).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let versioned = [&[VERSION], &bytes[..]].concat();
            for bytes in [&bytes, &versioned] {
                let _ = Question::decode(bytes);
                let _ = Answer::decode(bytes);
            }
        }
    }
}
