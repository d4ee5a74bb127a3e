//! Messages as bytes: a version, then postcard. The data is JSON, so that a bot in any language can have sent it.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::{
    error::IpcError,
    message::{MessageId, MessageKind, Receiver},
    route::Tenure,
};
use crate::model::{BootEpoch, ShardId, UnixMillis};

/// What a node sends before it has seen the answer is understood by the other; a change takes a new version.
const VERSION: u8 = 1;

/// The longest name of an event, in bytes.
pub(super) const EVENT_MAX: usize = 256;

/// Receivers in one letter: every shard of the largest bot that is planned for. More take several letters.
pub(super) const RECEIVERS_MAX: usize = 16_384;

/// A message for one or many receivers on one node.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Letter {
    pub(super) id: MessageId,
    pub(super) kind: MessageKind,
    pub(super) event: String,
    /// The shard that sends it. The node is whoever opened the stream.
    pub(super) sender: Option<ShardId>,
    pub(super) sent_at: UnixMillis,
    /// How long an answer is waited for.
    pub(super) left_ms: u32,
    pub(super) receivers: Vec<Address>,
    pub(super) data: Data,
}

/// A receiver on the node that a letter goes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Address {
    pub(super) receiver: Receiver,
    /// What the sender sees. In another tenure the message may have run before: only the sender knows.
    pub(super) tenure: Tenure,
    /// The start of the node that may have met the message already. It tells what became of it, also after the tenure.
    pub(super) met: Option<BootEpoch>,
}

/// What became of a letter for one of its receivers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) receiver: Receiver,
    pub(super) answer: Result<Data, Failure>,
}

/// JSON, in one piece and not element by element.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Data(#[serde(with = "bytes")] pub(super) Vec<u8>);

/// Why a handler has no answer to give.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// The receiver does not run here in that tenure. The handler has not run, and will not.
    Moved,
    /// Nothing is registered for the event.
    NoHandler,
    /// The handler says why.
    Failed(String),
    /// The handler panicked.
    Panicked,
    /// Its answer has so many bytes.
    TooLarge(u64),
    /// The deadline came first. The handler goes on.
    Late,
    /// Too many handlers run. This one has not run.
    Overloaded,
    /// The data is not what the handler takes.
    Undecodable(String),
    /// The message may have met this node, which does not know any more what became of it.
    Forgotten,
}

impl Failure {
    /// For whoever asked; `None` where it is not the end yet.
    pub(super) fn into_error(self, event: &str) -> Option<IpcError> {
        Some(match self {
            Self::Moved => return None,
            Self::NoHandler => IpcError::NoHandler { event: event.to_owned() },
            Self::Failed(message) => IpcError::HandlerFailed { message },
            Self::Panicked => IpcError::HandlerPanicked,
            Self::TooLarge(bytes) => {
                IpcError::TooLarge { bytes: usize::try_from(bytes).unwrap_or(usize::MAX) }
            }
            Self::Late => IpcError::TimedOut { may_have_run: true },
            Self::Overloaded => IpcError::Overloaded,
            Self::Undecodable(why) => IpcError::Undecodable(why),
            Self::Forgotten => IpcError::OwnerLost { may_have_run: true },
        })
    }
}

/// Bytes that are no message.
#[derive(Debug, Error)]
pub(super) enum WireError {
    #[error("nothing")]
    Empty,
    #[error("version {0} is newer than what this apolo reads")]
    Newer(u8),
    #[error("{0}")]
    Malformed(#[from] postcard::Error),
    #[error("{0} bytes too many")]
    Trailing(usize),
    #[error("out of bounds")]
    Bounds,
}

pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION])
        .expect("a Vec takes any length, and our types serialize")
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    match bytes.split_first().ok_or(WireError::Empty)? {
        (&VERSION, rest) => {
            let (value, trailing) = postcard::take_from_bytes(rest)?;
            if trailing.is_empty() { Ok(value) } else { Err(WireError::Trailing(trailing.len())) }
        }
        (newer, _) => Err(WireError::Newer(*newer)),
    }
}

impl Letter {
    /// The letter that `bytes` hold, if it keeps to the bounds.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let letter: Self = decode(bytes)?;
        let fits = letter.event.len() <= EVENT_MAX && letter.receivers.len() <= RECEIVERS_MAX;
        if fits { Ok(letter) } else { Err(WireError::Bounds) }
    }
}

mod bytes {
    use serde::{Deserializer, Serializer, de::Visitor};

    pub(super) fn serialize<S: Serializer>(data: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(data)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        from.deserialize_bytes(Bytes)
    }
}
