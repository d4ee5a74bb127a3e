//! What can be asked of the users' state, and what is answered.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Kind, NAME_BYTES_MAX, Path, VALUE_BYTES_MAX, path::length};
use crate::model::{BootEpoch, NodeId};

/// Operations that are committed together, one after another. New variants of what it holds go to the end of their
/// enums: their position is their number on disk.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct UserBatch {
    /// Whose it is, so that it counts once however often it is proposed.
    pub sent: Option<Sender>,
    /// The leader's logical time, in milliseconds.
    pub now_ms: u64,
    /// At most [`BATCH_OPS_MAX`](super::BATCH_OPS_MAX).
    pub ops: Vec<UserOp>,
}

/// A node's batch.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Sender {
    /// The node.
    pub node: NodeId,
    /// Which start of it.
    pub boot: BootEpoch,
    /// Grows from batch to batch within that start.
    pub number: u64,
}

/// One operation.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum UserOp {
    /// Sets a value, if the condition holds.
    Put {
        /// Where.
        path: Path,
        /// To what.
        value: Bytes,
        /// For how long, in milliseconds; for good where there is none.
        ttl_ms: Option<u64>,
        /// If what.
        condition: Condition,
    },
    /// Removes a key, whatever it holds, if the condition holds.
    Delete {
        /// Which.
        path: Path,
        /// If what.
        condition: Condition,
    },
    /// Adds to a counter, which begins at 0.
    Increment {
        /// Which.
        path: Path,
        /// How much.
        by: i64,
        /// How long a counter lives that begins here, in milliseconds. One that is there keeps its end.
        ttl_ms: Option<u64>,
    },
    /// Adds to a member's score, which begins at 0.
    AddScore {
        /// The leaderboard.
        path: Path,
        /// Whose.
        member: Arc<str>,
        /// How much.
        by: i64,
    },
    /// Sets a member's score.
    SetScore {
        /// The leaderboard.
        path: Path,
        /// Whose.
        member: Arc<str>,
        /// To what.
        score: i64,
    },
    /// Takes a member off a leaderboard. One without members is gone.
    RemoveMember {
        /// The leaderboard.
        path: Path,
        /// Whom.
        member: Arc<str>,
    },
    /// Takes a lock that nobody holds. Its holder gets the same token once more, and the time anew.
    Acquire {
        /// Which.
        path: Path,
        /// For whom. Different holders have different names.
        holder: Arc<str>,
        /// For how long, in milliseconds.
        ttl_ms: u64,
    },
    /// Prolongs a lock. It is no change that watches see.
    Renew {
        /// Which.
        path: Path,
        /// The acquisition's token.
        token: u64,
        /// For how long from here on, in milliseconds.
        ttl_ms: u64,
    },
    /// Gives a lock back.
    Release {
        /// Which.
        path: Path,
        /// The acquisition's token.
        token: u64,
    },
}

/// What must hold of a key, or else nothing happens.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// There is no such key.
    Absent,
    /// It was changed last at this revision.
    Revision(u64),
    /// It holds this value. Both values together are no longer than one may be.
    Value(Bytes),
}

impl Condition {
    fn bytes(&self) -> usize {
        match self {
            Self::Value(value) => value.len(),
            Self::Always | Self::Absent | Self::Revision(_) => 0,
        }
    }
}

/// What became of one operation.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum UserOutcome {
    /// It changed something.
    Changed {
        /// The revision that it made.
        revision: u64,
    },
    /// All was as wished already.
    Unchanged,
    /// The counter, or the member's score, has changed.
    Number {
        /// The revision that it made.
        revision: u64,
        /// What it is now.
        value: i64,
    },
    /// The lock is the holder's.
    Held {
        /// The acquisition's token: greater than any that was given before.
        token: u64,
    },
    /// Nothing happened.
    Refused(UserRefusal),
}

/// Why an operation was refused.
#[derive(Clone, Debug, Eq, Error, PartialEq, Serialize, Deserialize)]
pub enum UserRefusal {
    /// The condition does not hold.
    #[error("{}", mismatch(*current))]
    Mismatch {
        /// The revision at which the key was changed last, if there is one.
        current: Option<u64>,
    },
    /// The key holds something else.
    #[error("the key holds a {is}, no {wanted}; delete it first, or take another key")]
    WrongKind {
        /// What it holds.
        is: Kind,
        /// What is needed.
        wanted: Kind,
    },
    /// The sum does not fit 64 bits.
    #[error("{value} and {by} do not fit a signed 64-bit number; nothing was added")]
    Overflow {
        /// What there is.
        value: i64,
        /// What was to be added.
        by: i64,
    },
    /// There is no room.
    #[error(
        "the users' state is full: {used} of {limit} bytes are used, and {more} more are needed; delete keys, or let them expire with a TTL"
    )]
    Full {
        /// Used.
        used: u64,
        /// The most.
        limit: u64,
        /// What this would have added.
        more: u64,
    },
    /// The leaderboard is full.
    #[error("the leaderboard has {0} members, and no more find room; remove some")]
    MembersMany(usize),
    /// Something is too long, or empty.
    #[error("the {what} has {bytes} bytes; {least} to {most} are allowed")]
    Length {
        /// What.
        what: String,
        /// How long it is.
        bytes: usize,
        /// How long it must be.
        least: usize,
        /// How long it may be.
        most: usize,
    },
    /// A time to live of nothing, or of more than ten years.
    #[error("a time to live is 1 ms to ten years, not {0} ms")]
    Ttl(u64),
    /// Another holds the lock.
    #[error("{holder:?} holds the lock, for {for_ms} ms more unless it renews it")]
    Taken {
        /// Who.
        holder: Arc<str>,
        /// For how long it would without renewing it.
        for_ms: u64,
    },
    /// The token's holder does not hold the lock any more.
    #[error("the lock is not held with token {token} any more: it expired, or was released")]
    NotHeld {
        /// The token that was shown.
        token: u64,
    },
    /// The batch was proposed by a node that has proposed a later one since.
    #[error("a later write of this node came first; nothing happened")]
    Overtaken,
    /// The batch has more operations than one may have.
    #[error("{0} operations are too many for one batch")]
    OpsMany(usize),
}

fn mismatch(current: Option<u64>) -> String {
    match current {
        Some(revision) => format!(
            "the condition does not hold: the key was changed at revision {revision}; read it, and decide anew"
        ),
        None => "the condition does not hold: there is no such key".to_owned(),
    }
}

impl UserOutcome {
    /// The revision that it made, if it changed anything.
    #[must_use]
    pub const fn revision(&self) -> Option<u64> {
        match self {
            Self::Changed { revision } | Self::Number { revision, .. } => Some(*revision),
            Self::Unchanged | Self::Held { .. } | Self::Refused(_) => None,
        }
    }
}

impl UserOp {
    /// The key that it is about.
    #[must_use]
    pub const fn path(&self) -> &Path {
        match self {
            Self::Put { path, .. }
            | Self::Delete { path, .. }
            | Self::Increment { path, .. }
            | Self::AddScore { path, .. }
            | Self::SetScore { path, .. }
            | Self::RemoveMember { path, .. }
            | Self::Acquire { path, .. }
            | Self::Renew { path, .. }
            | Self::Release { path, .. } => path,
        }
    }

    /// Whether every part of it has an allowed length. What passes fits a batch, and an entry of the log.
    ///
    /// # Errors
    ///
    /// [`UserRefusal::Length`].
    pub fn check(&self) -> Result<(), UserRefusal> {
        self.path().check()?;
        match self {
            Self::Put { value, condition, .. } => {
                length("value", value.len(), 0, VALUE_BYTES_MAX)?;
                let both = value.len() + condition.bytes();
                length("value and the one that is expected", both, 0, VALUE_BYTES_MAX)
            }
            Self::Delete { condition, .. } => {
                length("value that is expected", condition.bytes(), 0, VALUE_BYTES_MAX)
            }
            Self::AddScore { member, .. }
            | Self::SetScore { member, .. }
            | Self::RemoveMember { member, .. } => {
                length("member", member.len(), 1, NAME_BYTES_MAX)
            }
            Self::Acquire { holder, .. } => length("holder", holder.len(), 1, NAME_BYTES_MAX),
            Self::Increment { .. } | Self::Renew { .. } | Self::Release { .. } => Ok(()),
        }
    }

    /// How much room it takes in a batch, in bytes: never less than what it is encoded to.
    #[must_use]
    pub fn bytes(&self) -> usize {
        /// Numbers, tags and lengths.
        const FRAME: usize = 48;
        let own = match self {
            Self::Put { value, condition, .. } => value.len() + condition.bytes(),
            Self::Delete { condition, .. } => condition.bytes(),
            Self::AddScore { member, .. }
            | Self::SetScore { member, .. }
            | Self::RemoveMember { member, .. } => member.len(),
            Self::Acquire { holder, .. } => holder.len(),
            Self::Increment { .. } | Self::Renew { .. } | Self::Release { .. } => 0,
        };
        FRAME + self.path().bytes() + own
    }
}
