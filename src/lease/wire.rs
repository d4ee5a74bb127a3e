//! Renewals and their answers as bytes: a version, then postcard. Enums grow at the end.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::model::{BootEpoch, LogIndex, NodeId};
use crate::state::ShardReport;

/// The version that is written.
const VERSION: u8 = 1;

/// A node asks for its lease, and says how far its shards have come.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Renewal {
    /// Which start of it asks. Which node it is, its certificate says.
    pub boot: BootEpoch,
    /// What its shards have done since the last committed report.
    pub reports: Vec<ShardReport>,
}

/// What a leader answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// The lease counts from the sending of the renewal, once the node has applied as far as this.
    Granted {
        /// The leader's term.
        term: u64,
        /// How far the leader had applied.
        index: LogIndex,
    },
    /// Not this node. Another may lead.
    NotLeader {
        /// Who does, if it is known.
        leader: Option<NodeId>,
    },
    /// It leads, and grants nothing at present.
    Refused(Refusal),
}

/// Why a leader grants nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Refusal {
    /// The node's start is not committed yet.
    NotStarted,
    /// The node counts as lost; it is being taken back.
    Lost,
    /// The leader has lost its quorum, or hands over.
    NotSure,
}

/// Bytes that are no message.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum WireError {
    /// Nothing, or a version that this apolo does not know.
    #[error("version {0} of the lease protocol is not {VERSION}, which this apolo speaks")]
    Version(u8),
    /// Not what the version says.
    #[error("malformed: {0}")]
    Malformed(#[from] postcard::Error),
}

/// A message as bytes.
#[must_use]
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_extend(message, vec![VERSION])
        .expect("a Vec takes any length, and our types serialize")
}

/// The message that `bytes` hold.
///
/// # Errors
///
/// [`WireError`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => Ok(postcard::from_bytes(rest)?),
        other => Err(WireError::Version(other.map_or(0, |(version, _)| *version))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_version_1_stay_as_they_are() {
        let renewal = Renewal { boot: BootEpoch(3), reports: Vec::new() };
        let answers = [
            Answer::Granted { term: 2, index: LogIndex(300) },
            Answer::NotLeader { leader: Some(NodeId(5)) },
            Answer::Refused(Refusal::NotStarted),
            Answer::Refused(Refusal::NotSure),
        ];

        assert_eq!(encode(&renewal), [1, 3, 0]);
        let bytes: Vec<_> = answers.iter().map(encode).collect();
        assert_eq!(bytes, [vec![1, 0, 2, 0xac, 2], vec![1, 1, 1, 5], vec![1, 2, 0], vec![1, 2, 2]]);
        for (bytes, answer) in bytes.iter().zip(answers) {
            assert_eq!(decode::<Answer>(bytes), Ok(answer));
        }
    }

    #[test]
    fn an_unknown_version_is_refused_by_name() {
        assert_eq!(decode::<Answer>(&[2, 0]), Err(WireError::Version(2)));
        assert!(matches!(decode::<Answer>(&[1, 9]), Err(WireError::Malformed(_))));
    }
}
