//! What an operator asks of the leader, and its answers, as bytes: a version, then postcard. Enums grow at the end.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::lease::{WireError, decode, encode};
use crate::model::NodeId;

/// What only the leader can do, and only beside the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Wish {
    /// The leadership is to go to this voter, or to the one that has caught up furthest.
    TransferLeader {
        /// To whom.
        to: Option<NodeId>,
    },
    /// The node is dead, and is to be forgotten.
    Remove(NodeId),
    /// The node wants to be no member any more.
    Leave {
        /// The node, which asks for itself.
        node: NodeId,
        /// Only whether it may; it has its shards still.
        check: bool,
    },
}

/// What came of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Fulfilled {
    /// This node leads.
    Leads(NodeId),
    /// This node is no member any more.
    Removed(NodeId),
    /// This node may leave.
    MayLeave(NodeId),
}

/// Why a wish is not fulfilled.
#[derive(Clone, Debug, Eq, Error, PartialEq, Serialize, Deserialize)]
pub enum WishRefusal {
    /// The node that is to lead leads.
    #[error("it leads already")]
    LeadsAlready,
    /// Nobody knows the node.
    #[error("the cluster knows no such node")]
    Unknown,
    /// Only voters lead.
    #[error(
        "it does not vote, so it can't lead; `apolo status` shows who votes, and the leader makes a learner a voter by \
         itself when one is missing"
    )]
    NotVoter,
    /// The node is not there.
    #[error("it is lost; name a node that is present")]
    Lost,
    /// The node would first have to catch up.
    #[error("it lacks {entries} entries of the log; ask again when it has caught up")]
    Behind {
        /// So many.
        entries: u64,
    },
    /// No other voter is there.
    #[error("no other voter is present and caught up; start one first")]
    NobodyElse,
    /// It was tried, and nothing came of it.
    #[error("it did not work: {0}; ask again")]
    Failed(String),
    /// The node that is to be forgotten is there.
    #[error(
        "it is present: run `apolo leave` there, or stop it, and ask again once `apolo status` shows it as lost"
    )]
    Present,
    /// Nobody would be left.
    #[error(
        "it is the cluster's last node; to end the cluster, stop it and delete its data directory"
    )]
    Last,
    /// A node that may still run shards.
    #[error("it owns {shards} shards; run `apolo drain` and wait until `apolo status` shows none")]
    StillOwns {
        /// How many.
        shards: usize,
    },
    /// Those who stay would not be enough.
    #[error(
        "of the voters that stay {living} are present, and {needed} are needed: start the lost ones again first, or \
         remove the dead ones among them"
    )]
    NoQuorum {
        /// So many would be present.
        living: usize,
        /// So many must be.
        needed: usize,
    },
    /// A leader has to hand over first.
    #[error("it leads; run `apolo transfer-leader` first")]
    Leads,
    /// All who would vote are about to leave too.
    #[error(
        "every other voter is being emptied as well, and no node that stays has caught up enough to vote: ask again in some \
         seconds"
    )]
    NobodyStays,
}

/// What a node answers.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum WishAnswer {
    /// It is done.
    Done(Fulfilled),
    /// The node that was asked does not lead.
    NotLeader {
        /// Who does, if it is known.
        leader: Option<NodeId>,
    },
    /// It is not to be done.
    Refused(WishRefusal),
}

impl Wish {
    pub(super) fn encode(self) -> Vec<u8> {
        encode(&self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        decode(bytes)
    }
}

impl WishAnswer {
    pub(super) fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_version_1_stay_as_they_are() {
        let wishes = [
            (Wish::TransferLeader { to: None }, vec![1, 0, 0]),
            (Wish::TransferLeader { to: Some(NodeId(5)) }, vec![1, 0, 1, 5]),
            (Wish::Remove(NodeId(5)), vec![1, 1, 5]),
            (Wish::Leave { node: NodeId(5), check: true }, vec![1, 2, 5, 1]),
        ];
        let answers = [
            (WishAnswer::Done(Fulfilled::Leads(NodeId(5))), vec![1, 0, 0, 5]),
            (WishAnswer::Done(Fulfilled::Removed(NodeId(5))), vec![1, 0, 1, 5]),
            (WishAnswer::NotLeader { leader: Some(NodeId(5)) }, vec![1, 1, 1, 5]),
            (WishAnswer::Refused(WishRefusal::LeadsAlready), vec![1, 2, 0]),
            (WishAnswer::Refused(WishRefusal::Behind { entries: 3 }), vec![1, 2, 4, 3]),
            (WishAnswer::Refused(WishRefusal::Failed("x".into())), vec![1, 2, 6, 1, 120]),
            (WishAnswer::Refused(WishRefusal::Present), vec![1, 2, 7]),
            (
                WishAnswer::Refused(WishRefusal::NoQuorum { living: 1, needed: 2 }),
                vec![1, 2, 10, 1, 2],
            ),
        ];

        for (wish, bytes) in wishes {
            assert_eq!((wish.encode(), Wish::decode(&bytes)), (bytes, Ok(wish)));
        }
        for (answer, bytes) in answers {
            assert_eq!((answer.encode(), WishAnswer::decode(&bytes)), (bytes, Ok(answer)));
        }
    }
}
