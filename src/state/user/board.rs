//! A leaderboard: members by name and by rank.

use std::{cmp::Reverse, sync::Arc};

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};
use serde::{Deserialize, Serialize};

use super::limits::MEMBER_BYTES;

/// Members and their scores. The highest score is first; of equal ones the name that comes first.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(from = "RedBlackTreeMapSync<Arc<str>, i64>", into = "RedBlackTreeMapSync<Arc<str>, i64>")]
pub struct Board {
    scores: RedBlackTreeMapSync<Arc<str>, i64>,
    /// The same, by rank.
    order: RedBlackTreeSetSync<(Reverse<i64>, Arc<str>)>,
    bytes: u64,
}

impl Board {
    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scores.size()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// What the members count, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A member's score.
    #[must_use]
    pub fn score(&self, member: &str) -> Option<i64> {
        self.scores.get(member).copied()
    }

    /// All members, the first first.
    pub fn ranked(&self) -> impl Iterator<Item = (&Arc<str>, i64)> {
        self.order.iter().map(|(Reverse(score), member)| (member, *score))
    }

    /// How many are before the member. It looks at each of them.
    #[must_use]
    pub fn rank(&self, member: &str) -> Option<usize> {
        let score = self.score(member)?;
        self.ranked().position(|(other, its)| its == score && **other == *member)
    }

    pub(super) fn set(&mut self, member: Arc<str>, score: i64) {
        self.remove(&member);
        self.bytes += cost(&member);
        self.order.insert_mut((Reverse(score), Arc::clone(&member)));
        self.scores.insert_mut(member, score);
    }

    pub(super) fn remove(&mut self, member: &Arc<str>) -> bool {
        let Some(score) = self.score(member) else { return false };
        self.bytes -= cost(member);
        self.order.remove_mut(&(Reverse(score), Arc::clone(member)));
        self.scores.remove_mut(member)
    }
}

/// What a member counts, in bytes.
pub(super) fn cost(member: &str) -> u64 {
    MEMBER_BYTES + member.len() as u64
}

impl From<RedBlackTreeMapSync<Arc<str>, i64>> for Board {
    fn from(scores: RedBlackTreeMapSync<Arc<str>, i64>) -> Self {
        let order = scores.iter().map(|(member, score)| (Reverse(*score), Arc::clone(member)));
        Self {
            order: order.collect(),
            bytes: scores.keys().map(|member| cost(member)).sum(),
            scores,
        }
    }
}

impl From<Board> for RedBlackTreeMapSync<Arc<str>, i64> {
    fn from(board: Board) -> Self {
        board.scores
    }
}
