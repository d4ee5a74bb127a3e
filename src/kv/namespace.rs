//! The keys of one namespace.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Condition, Kind, Kv, KvError, Leaderboard, UserRefusal, Watch};
use crate::state::{
    State,
    user::{Entry, Path, UserOp, UserOutcome, Value},
};

/// What a read has to see.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Consistency {
    /// Every write that was answered before the read began, on whichever node.
    #[default]
    Linearizable,
    /// What this node has applied, which may be old; how old, nobody knows. It costs nothing and needs no quorum.
    Local,
}

/// How a value is put.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PutOptions {
    /// How long it lives; for good where there is none. The leader's clock counts, and it stands still while nobody
    /// leads, so it may be longer, never shorter.
    pub ttl: Option<Duration>,
    /// What must hold, or else nothing happens.
    pub condition: Condition,
}

/// A value, and its place in history.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// The value.
    pub value: Bytes,
    /// The revision that made the key.
    pub created: u64,
    /// The revision that changed it last: what a compare by revision names.
    pub modified: u64,
    /// How long it lives yet, by the state's time.
    pub ttl: Option<Duration>,
}

/// The keys of one namespace. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Namespace {
    pub(super) kv: Kv,
    name: Arc<str>,
    consistency: Consistency,
}

impl Namespace {
    pub(super) const fn new(kv: Kv, name: Arc<str>) -> Self {
        Self { kv, name, consistency: Consistency::Linearizable }
    }

    /// The same, where reads see what this node has applied.
    #[must_use]
    pub fn local(&self) -> Self {
        Self { consistency: Consistency::Local, ..self.clone() }
    }

    /// A value.
    ///
    /// # Errors
    ///
    /// [`KvError`]; [`UserRefusal::WrongKind`] where the key holds something else.
    pub async fn get(&self, key: &str) -> Result<Option<Found>, KvError> {
        let state = self.state().await?;
        let Some(entry) = state.user().get(&self.path(key)) else { return Ok(None) };
        match &entry.value {
            Value::Bytes(value) => Ok(Some(found(&state, entry, value))),
            other => Err(wrong_kind(other, Kind::Value)),
        }
    }

    /// Sets a value, whatever is there. Returns the revision.
    ///
    /// # Errors
    ///
    /// [`KvError`].
    pub async fn put(&self, key: &str, value: impl Into<Bytes>) -> Result<u64, KvError> {
        self.put_with(key, value, PutOptions::default()).await
    }

    /// Sets a value, for a time or if something holds. Returns the revision.
    ///
    /// # Errors
    ///
    /// [`KvError`]; [`UserRefusal::Mismatch`] where the condition does not hold.
    pub async fn put_with(
        &self,
        key: &str,
        value: impl Into<Bytes>,
        options: PutOptions,
    ) -> Result<u64, KvError> {
        let PutOptions { ttl, condition } = options;
        let (path, value, ttl_ms) = (self.path(key), value.into(), ttl.map(millis));
        let put = UserOp::Put { path, value, ttl_ms, condition };
        Ok(self.kv.submit(put).await?.revision().unwrap_or_default())
    }

    /// Sets a value if the key is as expected: absent, at a revision, or of a value. Returns the revision.
    ///
    /// # Errors
    ///
    /// [`KvError`]; [`UserRefusal::Mismatch`] where it is not.
    pub async fn compare_and_set(
        &self,
        key: &str,
        expected: Condition,
        value: impl Into<Bytes>,
    ) -> Result<u64, KvError> {
        self.put_with(key, value, PutOptions { ttl: None, condition: expected }).await
    }

    /// Removes a key, whatever it holds. Whether there was one.
    ///
    /// # Errors
    ///
    /// [`KvError`].
    pub async fn delete(&self, key: &str) -> Result<bool, KvError> {
        self.delete_if(key, Condition::Always).await
    }

    /// Removes a key if something holds.
    ///
    /// # Errors
    ///
    /// [`KvError`]; [`UserRefusal::Mismatch`] where it does not.
    pub async fn delete_if(&self, key: &str, condition: Condition) -> Result<bool, KvError> {
        let delete = UserOp::Delete { path: self.path(key), condition };
        Ok(self.kv.submit(delete).await?.revision().is_some())
    }

    /// Adds to a counter, which begins at 0. Returns what it is then.
    ///
    /// # Errors
    ///
    /// [`KvError`].
    pub async fn increment(&self, key: &str, by: i64) -> Result<i64, KvError> {
        self.count(key, by, None).await
    }

    /// Adds to a counter that is gone so long after its first increment: so many of something within a window.
    ///
    /// # Errors
    ///
    /// [`KvError`].
    pub async fn increment_within(
        &self,
        key: &str,
        by: i64,
        window: Duration,
    ) -> Result<i64, KvError> {
        self.count(key, by, Some(millis(window))).await
    }

    async fn count(&self, key: &str, by: i64, ttl_ms: Option<u64>) -> Result<i64, KvError> {
        self.number(UserOp::Increment { path: self.path(key), by, ttl_ms }).await
    }

    pub(super) async fn number(&self, op: UserOp) -> Result<i64, KvError> {
        match self.kv.submit(op).await? {
            UserOutcome::Number { value, .. } => Ok(value),
            other => unreachable!("{other:?} does not answer it"),
        }
    }

    /// A counter; 0 where there is none.
    ///
    /// # Errors
    ///
    /// [`KvError`].
    pub async fn counter(&self, key: &str) -> Result<i64, KvError> {
        let state = self.state().await?;
        match state.user().get(&self.path(key)).map(|entry| &entry.value) {
            None => Ok(0),
            Some(Value::Counter(value)) => Ok(*value),
            Some(other) => Err(wrong_kind(other, Kind::Counter)),
        }
    }

    /// The values whose keys begin with `prefix`, in order, at most so many; from behind the key `after` on, where that
    /// is given. All are of one moment. Keys that hold something else are left out.
    ///
    /// # Errors
    ///
    /// [`KvError`].
    pub async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<(Arc<str>, Found)>, KvError> {
        let state = self.state().await?;
        let values = state.user().scan(&self.name, prefix, after).filter_map(|(path, entry)| {
            let Value::Bytes(value) = &entry.value else { return None };
            Some((Arc::clone(&path.key), found(&state, entry, value)))
        });
        Ok(values.take(most).collect())
    }

    /// Follows what changes from now on, of keys that begin with `prefix`.
    #[must_use]
    pub fn watch(&self, prefix: &str) -> Watch {
        let next = self.kv.states.borrow().user().revision() + 1;
        self.watch_from(prefix, next)
    }

    /// Follows what changes from a revision on, which may lie in the past as far as changes are remembered: 8,192 of
    /// them, or 8 MiB.
    #[must_use]
    pub fn watch_from(&self, prefix: &str, revision: u64) -> Watch {
        Watch::new(self.kv.clone(), Arc::clone(&self.name), prefix.into(), revision)
    }

    /// A leaderboard.
    #[must_use]
    pub fn leaderboard(&self, name: &str) -> Leaderboard {
        Leaderboard::new(self.clone(), self.path(name))
    }

    pub(super) fn path(&self, key: &str) -> Path {
        Path::new(Arc::clone(&self.name), key)
    }

    pub(super) async fn state(&self) -> Result<Arc<State>, KvError> {
        self.kv.read(self.consistency).await
    }
}

fn found(state: &State, entry: &Entry, value: &Bytes) -> Found {
    let left = |at: u64| Duration::from_millis(at.saturating_sub(state.user().now_ms()));
    Found {
        value: value.clone(),
        created: entry.created,
        modified: entry.modified,
        ttl: entry.expires_at.map(left),
    }
}

pub(super) const fn wrong_kind(value: &Value, wanted: Kind) -> KvError {
    KvError::Refused(UserRefusal::WrongKind { is: value.kind(), wanted })
}

/// Rounded up, so that nothing ends sooner.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
