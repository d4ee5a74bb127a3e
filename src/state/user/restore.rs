//! What a restore is asked in, and what it answers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest that a restore may be given, in milliseconds: a day's work on the slowest link, and what it has put aside
/// is not kept for ever.
pub const RESTORE_MS_MAX: u64 = 60 * 60 * 1_000;

/// A restore's own number, drawn by whoever begins it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RestoreId(pub u64);

/// A step of a restore.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Restore {
    /// The leader's logical time, in milliseconds.
    pub now_ms: u64,
    /// What is done.
    pub step: RestoreStep,
}

/// What is done. Each may come twice, and counts once.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum RestoreStep {
    /// It begins; what an earlier one has put aside is thrown away.
    Begin(RestorePlan),
    /// Some items are put aside.
    Chunk {
        /// Of which restore.
        id: RestoreId,
        /// From 0 on, without a gap.
        number: u32,
        /// See [`UserState::chunks`](super::UserState::chunks).
        chunk: Bytes,
    },
    /// What was put aside takes the place of what is kept.
    Finish(RestoreId),
    /// What was put aside is thrown away.
    Abandon(RestoreId),
}

/// What is to be restored.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestorePlan {
    /// The restore's number.
    pub id: RestoreId,
    /// The last revision of the state that was backed up.
    pub revision: u64,
    /// What the digest begins with.
    pub seed: [u8; 32],
    /// What it is behind the last chunk: [`chained`](super::chained).
    pub digest: [u8; 32],
    /// How many chunks there are.
    pub chunks: u32,
    /// How many keys they hold.
    pub keys: u64,
    /// Whether keys that are there are to go.
    pub replace: bool,
    /// In how much of the logical time it has to finish, in milliseconds. So much longer do keys live that have an end.
    pub within_ms: u64,
}

/// What a restore has done.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// Which.
    pub id: RestoreId,
    /// The revision of all that was restored. It is above every one that either cluster has given.
    pub revision: u64,
    /// How many keys it has brought.
    pub keys: u64,
    /// How many keys are gone for it.
    pub replaced: u64,
    /// How many locks were held, and still are.
    pub locks: u64,
}

/// Why a step was refused. What is kept has not changed.
#[derive(Clone, Debug, Eq, Error, PartialEq, Serialize, Deserialize)]
pub enum RestoreRefusal {
    /// There are keys already.
    #[error(
        "the cluster keeps {keys} keys already, and a restore would take them away; add --replace if it may"
    )]
    NotEmpty {
        /// How many, without locks.
        keys: u64,
    },
    /// It has not begun, or is over.
    #[error(
        "this restore is not under way: it took longer than it was given, or another has begun after it; nothing was changed"
    )]
    NotUnderWay,
    /// A chunk came too soon.
    #[error("chunk {expected} of the restore is missing; nothing was changed")]
    Missing {
        /// Which.
        expected: u32,
    },
    /// What has come is not what was announced.
    #[error("what has arrived is not what the backup's end says; nothing was changed")]
    Differs,
    /// A chunk holds what can't be kept.
    #[error("the backup holds what can't be kept: {0}; nothing was changed")]
    Malformed(String),
    /// There is more than may be kept.
    #[error(
        "the backup holds more than the {limit} bytes that a cluster keeps; nothing was changed"
    )]
    Full {
        /// The most.
        limit: u64,
    },
    /// It was given no time, or too much.
    #[error("a restore has 1 ms to one hour, not {0} ms")]
    Within(u64),
}

impl RestoreRefusal {
    /// Whether nothing more can come of the restore.
    pub(super) const fn is_final(&self) -> bool {
        matches!(self, Self::Malformed(_) | Self::Full { .. })
    }
}
