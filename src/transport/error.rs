//! What can go wrong between two nodes.

use std::{io, net::SocketAddr, time::Duration};

use thiserror::Error;

use crate::model::NodeId;

use super::{AuthorityError, Protocol};

/// Why a connection was closed on purpose: the number that the peer sees. Grows at the end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum CloseCode {
    /// The node stops.
    Stopping = 0,
    /// A newer connection has taken its place.
    Superseded = 1,
    /// The hello is none of ours.
    NotApolo = 2,
    /// The two versions have no protocol in common.
    NoCommonVersion = 3,
    /// The hello names another cluster.
    OtherCluster = 4,
    /// The hello names another node than the certificate.
    OtherNode = 5,
    /// The node has been started again since.
    StaleBoot = 6,
    /// The peer's certificate has ended, or its authority is no longer trusted.
    Certificate = 7,
    /// The hello took too long.
    Late = 8,
    /// This node does not want that one: the reason says why.
    NotAdmitted = 9,
    /// A node has dialled itself.
    Myself = 10,
    /// Too many streams that had to be turned away.
    Misconduct = 11,
    /// The node's data directory is an old copy of what it was.
    OldCopy = 12,
}

impl CloseCode {
    /// Every code, in the order of its number.
    pub const ALL: [Self; 13] = [
        Self::Stopping,
        Self::Superseded,
        Self::NotApolo,
        Self::NoCommonVersion,
        Self::OtherCluster,
        Self::OtherNode,
        Self::StaleBoot,
        Self::Certificate,
        Self::Late,
        Self::NotAdmitted,
        Self::Myself,
        Self::Misconduct,
        Self::OldCopy,
    ];
}

/// How a connection ended, or why there was none.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Ended {
    /// The peer closed it.
    #[error("closed by the peer ({code}): {reason}")]
    ByPeer {
        /// A [`CloseCode`], or a number that this version does not know.
        code: u64,
        /// For a person.
        reason: String,
    },
    /// This node closed it.
    #[error("closed by this node")]
    ByUs,
    /// The peer has been silent for too long.
    #[error("the peer is silent")]
    Silent,
    /// The certificates or the protocol do not fit.
    #[error("the handshake failed: {reason}")]
    Handshake {
        /// For a person.
        reason: String,
    },
    /// Anything else.
    #[error("{reason}")]
    Failed {
        /// For a person.
        reason: String,
    },
}

impl Ended {
    /// Whether the peer closed it with `code`.
    #[must_use]
    pub fn is(&self, code: CloseCode) -> bool {
        matches!(self, Self::ByPeer { code: found, .. } if *found == code as u64)
    }
}

/// Why one stream was turned away: the number that the peer sees. Grows at the end.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[repr(u32)]
pub enum Refused {
    /// The role may not open such a stream.
    #[error("the role may not ask for this")]
    NotAllowed = 1,
    /// Nobody serves the protocol there (yet).
    #[error("nobody serves this protocol there")]
    NotServed = 2,
    /// Too many streams at once.
    #[error("too many streams at once")]
    Busy = 3,
    /// A frame was larger than its protocol allows.
    #[error("the frame is too large")]
    TooLarge = 4,
    /// The bytes took too long.
    #[error("the bytes took too long")]
    Late = 5,
    /// The handler could not answer.
    #[error("the handler failed")]
    Failed = 6,
    /// Whoever held the other end let it go.
    #[error("it was given up")]
    GivenUp = 7,
}

impl Refused {
    pub(super) const ALL: [Self; 7] = [
        Self::NotAllowed,
        Self::NotServed,
        Self::Busy,
        Self::TooLarge,
        Self::Late,
        Self::Failed,
        Self::GivenUp,
    ];

    pub(super) fn from_code(code: u64) -> Self {
        Self::ALL.into_iter().find(|refused| *refused as u64 == code).unwrap_or(Self::GivenUp)
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::NotServed => "not_served",
            Self::Busy => "busy",
            Self::TooLarge => "too_large",
            Self::Late => "late",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
        }
    }

    /// Whether the handler was certainly never called.
    #[must_use]
    pub const fn is_before_handling(self) -> bool {
        matches!(self, Self::NotAllowed | Self::NotServed | Self::Busy)
    }
}

/// Why a frame was not sent or received.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum StreamError {
    /// The connection is over.
    #[error("the connection ended: {0}")]
    Ended(#[from] Ended),
    /// The peer turned the stream away.
    #[error("refused by the peer: {0}")]
    Refused(#[from] Refused),
    /// The frame is larger than the protocol allows. Nothing was allocated for it.
    #[error("a frame of {length} bytes, and {max} is the most")]
    TooLarge {
        /// Its length.
        length: usize,
        /// The most.
        max: usize,
    },
    /// The stream ended within a frame.
    #[error("the stream ended within a frame")]
    Truncated,
    /// The bytes took too long.
    #[error("the bytes took too long")]
    Late,
}

/// Why a request has no answer.
#[derive(Clone, Debug, Error)]
pub enum TransportError {
    /// The node was never named to this transport.
    #[error("node {node} is unknown here")]
    Unknown {
        /// The node.
        node: NodeId,
    },
    /// There was no connection within the deadline. The request was not sent.
    #[error("node {node} is unreachable: {last}")]
    Unreachable {
        /// The node.
        node: NodeId,
        /// How the last attempt ended.
        last: String,
    },
    /// This node's own role may not ask for this.
    #[error("this node may not open a stream of {protocol}")]
    NotAllowed {
        /// The protocol.
        protocol: Protocol,
    },
    /// The request was sent, or a part of it, and its stream broke. It may have been carried out.
    #[error("lost node {node} on the way: {reason}")]
    Lost {
        /// The node.
        node: NodeId,
        /// How.
        reason: StreamError,
    },
    /// The peer turned the request away.
    #[error("node {node} refused: {reason}")]
    Refused {
        /// The node.
        node: NodeId,
        /// Why.
        reason: Refused,
    },
    /// The request is larger than its protocol allows. It was not sent.
    #[error("a request of {length} bytes, and {max} is the most")]
    TooLarge {
        /// Its length.
        length: usize,
        /// The most.
        max: usize,
    },
    /// The request was sent and not answered in time. It may have been carried out.
    #[error("node {node} did not answer within {within:?}")]
    Late {
        /// The node.
        node: NodeId,
        /// The deadline.
        within: Duration,
    },
    /// The transport is stopping.
    #[error("the transport is stopping")]
    Stopping,
}

impl TransportError {
    /// Whether the peer may have carried the request out.
    #[must_use]
    pub const fn may_have_happened(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::Late { .. } => true,
            Self::Refused { reason, .. } => !reason.is_before_handling(),
            Self::Unknown { .. }
            | Self::Unreachable { .. }
            | Self::NotAllowed { .. }
            | Self::TooLarge { .. }
            | Self::Stopping => false,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } | Self::Late { .. } => true,
            Self::Refused { reason, .. } => {
                !matches!(reason, Refused::NotAllowed | Refused::TooLarge)
            }
            Self::Unknown { .. }
            | Self::NotAllowed { .. }
            | Self::TooLarge { .. }
            | Self::Stopping => false,
        }
    }
}

/// Why a transport did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The UDP port can't be had.
    #[error("can't listen on UDP {address}: {reason}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: io::Error,
    },
    /// rustls can't be set up.
    #[error(transparent)]
    Credentials(#[from] AuthorityError),
    /// The credentials' key exchange can't be used for QUIC.
    #[error("can't set up QUIC: {0}")]
    Quic(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_on_the_wire_keep_their_numbers() {
        assert_eq!(
            CloseCode::ALL.map(|code| code as u32),
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
        );
        assert_eq!(Refused::ALL.map(|code| code as u32), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(Refused::from_code(3), Refused::Busy);
        assert_eq!(Refused::from_code(999), Refused::GivenUp);
    }
}
