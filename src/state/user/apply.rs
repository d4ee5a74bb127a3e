//! Applying a batch.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    BATCH_OPS_MAX, Board, Condition, EXPIRED_MAX, Entry, Kind, MEMBERS_MAX, Path, Sender, Sent,
    TOTAL_BYTES_MAX, TTL_MS_MAX, UserBatch, UserChange, UserEvent, UserOp, UserOutcome,
    UserRefusal, UserState, Value,
};

type Done = Result<UserOutcome, UserRefusal>;

impl UserState {
    /// Applies a batch, and says what became of each of its operations, in order. One that was applied already is
    /// answered as it was then.
    pub fn apply(&mut self, batch: UserBatch) -> Vec<UserOutcome> {
        let UserBatch { sent, now_ms, ops } = batch;
        if let Some(answered) = sent.and_then(|sent| self.answered(sent, ops.len())) {
            return answered;
        }
        self.pass(now_ms);
        let outcomes: Vec<_> = if ops.len() > BATCH_OPS_MAX {
            let refused = UserOutcome::Refused(UserRefusal::OpsMany(ops.len()));
            vec![refused; ops.len()]
        } else {
            ops.into_iter().map(|op| self.act(op).unwrap_or_else(UserOutcome::Refused)).collect()
        };
        if let Some(Sender { node, boot, number }) = sent {
            let outcomes = Arc::from(&*outcomes);
            self.senders.insert_mut(node, Sent { boot, number, outcomes });
        }
        outcomes
    }

    /// The outcomes of a batch that is no news.
    fn answered(&self, sent: Sender, ops: usize) -> Option<Vec<UserOutcome>> {
        let last = self.senders.get(&sent.node)?;
        let (this, known) = ((sent.boot, sent.number), (last.boot, last.number));
        if this == known {
            return Some(last.outcomes.to_vec());
        }
        let overtaken = UserOutcome::Refused(UserRefusal::Overtaken);
        (this < known).then(|| vec![overtaken; ops])
    }

    /// Time passes.
    pub(super) fn pass(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        self.restoring.expire(self.now_ms);
        self.expire();
    }

    fn expire(&mut self) {
        for _ in 0..EXPIRED_MAX {
            let due = self.table.next_due().filter(|(at, _)| *at <= self.now_ms);
            let Some((_, path)) = due.cloned() else { return };
            self.remove(&path, UserChange::Expired);
        }
    }

    fn act(&mut self, op: UserOp) -> Done {
        op.check()?;
        if self.table.get(op.path()).is_some_and(|entry| entry.is_over(self.now_ms)) {
            self.remove(op.path(), UserChange::Expired);
        }
        match op {
            UserOp::Put { path, value, ttl_ms, condition } => {
                self.put(path, value, ttl_ms, &condition)
            }
            UserOp::Delete { path, condition } => {
                self.check(&path, &condition)?;
                Ok(self.remove(&path, UserChange::Deleted))
            }
            UserOp::Increment { path, by, ttl_ms } => self.increment(path, by, ttl_ms),
            UserOp::AddScore { path, member, by } => self.score(path, member, |score| {
                let value = score.unwrap_or(0);
                value.checked_add(by).ok_or(UserRefusal::Overflow { value, by })
            }),
            UserOp::SetScore { path, member, score } => self.score(path, member, |_| Ok(score)),
            UserOp::RemoveMember { path, member } => self.remove_member(path, member),
            UserOp::Acquire { path, holder, ttl_ms } => self.acquire(path, holder, ttl_ms),
            UserOp::Renew { path, token, ttl_ms } => {
                let entry = self.held(&path, token)?.clone();
                let expires_at = self.end(Some(ttl_ms))?;
                self.table.place(path, Entry { expires_at, ..entry });
                Ok(UserOutcome::Held { token })
            }
            UserOp::Release { path, token } => {
                self.held(&path, token)?;
                Ok(self.remove(&path, UserChange::Released))
            }
        }
    }

    fn put(
        &mut self,
        path: Path,
        value: Bytes,
        ttl_ms: Option<u64>,
        condition: &Condition,
    ) -> Done {
        let expires_at = self.end(ttl_ms)?;
        self.check(&path, condition)?;
        self.of_kind(&path, Kind::Value)?;
        let change = UserChange::Put(value.clone());
        let revision = self.write(path, Value::Bytes(value), expires_at, change)?;
        Ok(UserOutcome::Changed { revision })
    }

    fn increment(&mut self, path: Path, by: i64, ttl_ms: Option<u64>) -> Done {
        let ends = self.end(ttl_ms)?;
        let (value, expires_at) = match self.of_kind(&path, Kind::Counter)? {
            Some(Entry { value: Value::Counter(value), expires_at, .. }) => (*value, *expires_at),
            _ => (0, ends),
        };
        let sum = value.checked_add(by).ok_or(UserRefusal::Overflow { value, by })?;
        let change = UserChange::Count(sum);
        let revision = self.write(path, Value::Counter(sum), expires_at, change)?;
        Ok(UserOutcome::Number { revision, value: sum })
    }

    fn score(
        &mut self,
        path: Path,
        member: Arc<str>,
        score: impl FnOnce(Option<i64>) -> Result<i64, UserRefusal>,
    ) -> Done {
        let mut board = self.board(&path)?;
        let before = board.score(&member);
        if before.is_none() && board.len() >= MEMBERS_MAX {
            return Err(UserRefusal::MembersMany(MEMBERS_MAX));
        }
        let value = score(before)?;
        board.set(Arc::clone(&member), value);
        let change = UserChange::Score(member, Some(value));
        let revision = self.write(path, Value::Board(board), None, change)?;
        Ok(UserOutcome::Number { revision, value })
    }

    fn remove_member(&mut self, path: Path, member: Arc<str>) -> Done {
        let mut board = self.board(&path)?;
        if !board.remove(&member) {
            return Ok(UserOutcome::Unchanged);
        }
        let change = UserChange::Score(member, None);
        if board.is_empty() {
            return Ok(self.remove(&path, change));
        }
        let revision = self.write(path, Value::Board(board), None, change)?;
        Ok(UserOutcome::Changed { revision })
    }

    fn board(&self, path: &Path) -> Result<Board, UserRefusal> {
        Ok(match self.of_kind(path, Kind::Leaderboard)?.map(|entry| &entry.value) {
            Some(Value::Board(board)) => board.clone(),
            _ => Board::default(),
        })
    }

    fn acquire(&mut self, path: Path, holder: Arc<str>, ttl_ms: u64) -> Done {
        let expires_at = self.end(Some(ttl_ms))?;
        let Some(entry) = self.of_kind(&path, Kind::Lock)?.cloned() else {
            let value = Value::Lock { holder: Arc::clone(&holder) };
            let token = self.write(path, value, expires_at, UserChange::Acquired(holder))?;
            return Ok(UserOutcome::Held { token });
        };
        if let Value::Lock { holder: other } = &entry.value
            && *other != holder
        {
            let until = entry.expires_at.unwrap_or(self.now_ms);
            let for_ms = until.saturating_sub(self.now_ms);
            return Err(UserRefusal::Taken { holder: Arc::clone(other), for_ms });
        }
        let token = entry.created;
        self.table.place(path, Entry { expires_at, ..entry });
        Ok(UserOutcome::Held { token })
    }

    /// The lock that was acquired with the token.
    fn held(&self, path: &Path, token: u64) -> Result<&Entry, UserRefusal> {
        let entry = self.of_kind(path, Kind::Lock)?;
        entry.filter(|entry| entry.created == token).ok_or(UserRefusal::NotHeld { token })
    }

    fn of_kind(&self, path: &Path, wanted: Kind) -> Result<Option<&Entry>, UserRefusal> {
        match self.table.get(path) {
            Some(entry) if entry.value.kind() != wanted => {
                Err(UserRefusal::WrongKind { is: entry.value.kind(), wanted })
            }
            found => Ok(found),
        }
    }

    fn check(&self, path: &Path, condition: &Condition) -> Result<(), UserRefusal> {
        let found = self.table.get(path);
        let holds = match condition {
            Condition::Always => true,
            Condition::Absent => found.is_none(),
            Condition::Revision(revision) => found.is_some_and(|entry| entry.modified == *revision),
            Condition::Value(expected) => {
                let found = self.of_kind(path, Kind::Value)?;
                found.is_some_and(|entry| entry.value == Value::Bytes(expected.clone()))
            }
        };
        let current = found.map(|entry| entry.modified);
        if holds { Ok(()) } else { Err(UserRefusal::Mismatch { current }) }
    }

    fn end(&self, ttl_ms: Option<u64>) -> Result<Option<u64>, UserRefusal> {
        match ttl_ms {
            Some(ttl) if ttl == 0 || ttl > TTL_MS_MAX => Err(UserRefusal::Ttl(ttl)),
            ttl => Ok(ttl.map(|ttl| self.now_ms.saturating_add(ttl))),
        }
    }

    /// Changes a key, if there is room. Returns the revision.
    fn write(
        &mut self,
        path: Path,
        value: Value,
        expires_at: Option<u64>,
        change: UserChange,
    ) -> Result<u64, UserRefusal> {
        let before = self.table.get(&path);
        let revision = self.revision + 1;
        let created = before.map_or(revision, |entry| entry.created);
        let entry = Entry { value, created, modified: revision, expires_at };
        let more = entry.bytes(&path).saturating_sub(before.map_or(0, |it| it.bytes(&path)));
        // What grows nothing is let through even where an earlier version allowed more.
        if more > 0 && self.bytes() + more > TOTAL_BYTES_MAX {
            return Err(UserRefusal::Full { used: self.bytes(), limit: TOTAL_BYTES_MAX, more });
        }
        self.table.place(path.clone(), entry);
        Ok(self.remember(path, change))
    }

    /// Takes a key out, where there is one.
    fn remove(&mut self, path: &Path, change: UserChange) -> UserOutcome {
        if !self.table.take(path) {
            return UserOutcome::Unchanged;
        }
        UserOutcome::Changed { revision: self.remember(path.clone(), change) }
    }

    fn remember(&mut self, path: Path, change: UserChange) -> u64 {
        self.revision += 1;
        self.history.add(self.revision, UserEvent { path, change });
        self.revision
    }
}
