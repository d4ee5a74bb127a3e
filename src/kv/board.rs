//! Leaderboards.

use std::sync::Arc;

use super::{Kind, KvError, Namespace, namespace::wrong_kind};
use crate::state::{
    State,
    user::{Board, Path, UserOp, Value},
};

/// A member's place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rank {
    /// How many are before it.
    pub rank: usize,
    /// Its score.
    pub score: i64,
}

/// Members and their scores, the highest first; of equal ones, the name that comes first. Scores are added up where they
/// are, so that no two nodes overwrite each other's.
#[derive(Clone, Debug)]
pub struct Leaderboard {
    namespace: Namespace,
    path: Path,
}

impl Leaderboard {
    pub(super) const fn new(namespace: Namespace, path: Path) -> Self {
        Self { namespace, path }
    }

    /// Adds to a member's score, which begins at 0. Returns what it is then.
    ///
    /// # Errors
    ///
    /// [`KvError`].
    pub async fn add(&self, member: &str, by: i64) -> Result<i64, KvError> {
        let (path, member) = (self.path.clone(), member.into());
        self.namespace.number(UserOp::AddScore { path, member, by }).await
    }

    /// Sets a member's score.
    ///
    /// # Errors
    ///
    /// [`KvError`].
    pub async fn set(&self, member: &str, score: i64) -> Result<(), KvError> {
        let (path, member) = (self.path.clone(), member.into());
        self.namespace.number(UserOp::SetScore { path, member, score }).await.map(drop)
    }

    /// Takes a member off. Whether it was there.
    ///
    /// # Errors
    ///
    /// [`KvError`].
    pub async fn remove(&self, member: &str) -> Result<bool, KvError> {
        let remove = UserOp::RemoveMember { path: self.path.clone(), member: member.into() };
        Ok(self.namespace.kv.submit(remove).await?.revision().is_some())
    }

    /// The first so many members.
    ///
    /// # Errors
    ///
    /// [`KvError`].
    pub async fn top(&self, most: usize) -> Result<Vec<(Arc<str>, i64)>, KvError> {
        let state = self.namespace.state().await?;
        let Some(board) = self.board(&state)? else { return Ok(Vec::new()) };
        Ok(board.ranked().take(most).map(|(name, score)| (Arc::clone(name), score)).collect())
    }

    /// A member's place. It takes the longer the further down that is.
    ///
    /// # Errors
    ///
    /// [`KvError`].
    pub async fn rank(&self, member: &str) -> Result<Option<Rank>, KvError> {
        let state = self.namespace.state().await?;
        let Some(board) = self.board(&state)? else { return Ok(None) };
        let score = board.score(member);
        Ok(score.zip(board.rank(member)).map(|(score, rank)| Rank { rank, score }))
    }

    fn board<'a>(&self, state: &'a State) -> Result<Option<&'a Board>, KvError> {
        match state.user().get(&self.path).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::Board(board)) => Ok(Some(board)),
            Some(other) => Err(wrong_kind(other, Kind::Leaderboard)),
        }
    }
}
