//! A backup that is put aside chunk by chunk, and takes the place of what is kept in one step.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Board, ENTRY_BYTES, Entry, Item, LEAP, MEMBERS_MAX, NAME_BYTES_MAX, Path, RESTORE_MS_MAX,
    Restore, RestoreId, RestorePlan, RestoreRefusal, RestoreStep, Restored, TOTAL_BYTES_MAX,
    TTL_MS_MAX, UserRefusal, UserState, VALUE_BYTES_MAX, Value,
    item::{chained, decode_chunk},
    path::length,
    table::Table,
};

/// Above every revision that a backup may have been made at, there is room for more than a cluster can make.
const REVISION_MAX: u64 = u64::MAX / 4;

type Done = Result<Option<Restored>, RestoreRefusal>;

/// The restore that is under way, and the last one that is done.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Restoring {
    staged: Option<Staged>,
    /// So that a finish that comes twice is answered as it was.
    last: Option<Restored>,
}

/// What was put aside.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct Staged {
    plan: RestorePlan,
    /// The logical time at which it is thrown away, in milliseconds.
    until_ms: u64,
    /// What each key is to have been changed at. Nobody can have seen it: to compare by a revision that a client knows
    /// fails after a restore.
    revision: u64,
    next: u32,
    digest: [u8; 32],
    table: Table,
}

impl Restoring {
    /// When what was put aside is thrown away.
    pub(super) fn until_ms(&self) -> Option<u64> {
        self.staged.as_ref().map(|staged| staged.until_ms)
    }

    /// What was put aside counts, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.staged.as_ref().map_or(0, |staged| staged.table.bytes())
    }

    pub(super) fn expire(&mut self, now_ms: u64) {
        self.staged.take_if(|staged| staged.until_ms <= now_ms);
    }

    pub(super) fn abandon(&mut self) {
        self.staged = None;
    }

    fn under_way(&mut self, id: RestoreId) -> Result<&mut Staged, RestoreRefusal> {
        let staged = self.staged.as_mut().filter(|staged| staged.plan.id == id);
        staged.ok_or(RestoreRefusal::NotUnderWay)
    }
}

impl UserState {
    /// Does a step of a restore. The last one says what all of them have done.
    ///
    /// # Errors
    ///
    /// [`RestoreRefusal`]. What is kept is as it was.
    pub fn restore(&mut self, Restore { now_ms, step }: Restore) -> Done {
        self.pass(now_ms);
        match step {
            RestoreStep::Begin(plan) => self.begin(plan),
            RestoreStep::Chunk { id, number, chunk } => {
                let put = self.restoring.under_way(id)?.put(number, &chunk);
                if put.as_ref().is_err_and(RestoreRefusal::is_final) {
                    self.restoring.abandon();
                }
                put.map(|()| None)
            }
            RestoreStep::Finish(id) => self.finish(id).map(Some),
            RestoreStep::Abandon(id) => {
                self.restoring.staged.take_if(|staged| staged.plan.id == id);
                Ok(None)
            }
        }
    }

    fn begin(&mut self, plan: RestorePlan) -> Done {
        if self.restoring.staged.as_ref().is_some_and(|staged| staged.plan == plan) {
            return Ok(None);
        }
        if self.restoring.last.is_some_and(|last| last.id == plan.id) {
            return Err(RestoreRefusal::NotUnderWay);
        }
        if !(1..=RESTORE_MS_MAX).contains(&plan.within_ms) {
            return Err(RestoreRefusal::Within(plan.within_ms));
        }
        if plan.revision > REVISION_MAX {
            return Err(RestoreRefusal::Malformed(format!("revision {}", plan.revision)));
        }
        if plan.keys.saturating_mul(ENTRY_BYTES) > TOTAL_BYTES_MAX {
            return Err(RestoreRefusal::Full { limit: TOTAL_BYTES_MAX });
        }
        may_go(self.keys(self.locks().count()), &plan)?;
        self.restoring.staged = Some(Staged {
            until_ms: self.now_ms.saturating_add(plan.within_ms),
            revision: self.revision.max(plan.revision) + LEAP,
            next: 0,
            digest: plan.seed,
            table: Table::default(),
            plan,
        });
        Ok(None)
    }

    fn finish(&mut self, id: RestoreId) -> Result<Restored, RestoreRefusal> {
        if let Some(last) = self.restoring.last.filter(|last| last.id == id) {
            return Ok(last);
        }
        let staged = self.restoring.under_way(id)?.clone();
        self.restoring.abandon();
        staged.check()?;
        let locks: Vec<_> = self.locks().map(|(path, lock)| (path.clone(), lock.clone())).collect();
        let replaced = self.keys(locks.len());
        may_go(replaced, &staged.plan)?;
        assert!(self.revision < staged.revision, "a recovery throws away what was put aside");
        let Staged { plan, revision, mut table, .. } = staged;
        let mut kept = 0;
        for (path, lock) in locks {
            // Its holder goes on. Where the backup has a key of this name, the lock is over.
            if table.get(&path).is_none() {
                table.place(path, lock);
                kept += 1;
            }
        }
        if table.bytes() > TOTAL_BYTES_MAX {
            return Err(RestoreRefusal::Full { limit: TOTAL_BYTES_MAX });
        }
        self.table = table;
        self.revision = revision;
        // Whoever follows the changes has to begin anew, since what was restored is none of them.
        self.history.forget(revision);
        let done = Restored { id, revision, keys: plan.keys, replaced, locks: kept };
        self.restoring.last = Some(done);
        Ok(done)
    }

    /// How many keys there are beside so many locks: what a restore would take away.
    fn keys(&self, locks: usize) -> u64 {
        (self.table.entries().size() - locks) as u64
    }

    fn locks(&self) -> impl Iterator<Item = (&Path, &Entry)> {
        self.table.entries().iter().filter(|(_, entry)| matches!(entry.value, Value::Lock { .. }))
    }
}

/// Whether so many keys may go.
fn may_go(keys: u64, plan: &RestorePlan) -> Result<(), RestoreRefusal> {
    if keys > 0 && !plan.replace { Err(RestoreRefusal::NotEmpty { keys }) } else { Ok(()) }
}

impl Staged {
    /// Puts a chunk aside. One that has come before changes nothing.
    fn put(&mut self, number: u32, chunk: &[u8]) -> Result<(), RestoreRefusal> {
        if number < self.next {
            return Ok(());
        }
        if number > self.next {
            return Err(RestoreRefusal::Missing { expected: self.next });
        }
        let malformed =
            |error: &dyn std::error::Error| RestoreRefusal::Malformed(error.to_string());
        for item in decode_chunk(chunk).map_err(|error| malformed(&error))? {
            item.path().check().map_err(|error| malformed(&error))?;
            self.add(item)?;
        }
        if self.table.bytes() > TOTAL_BYTES_MAX {
            return Err(RestoreRefusal::Full { limit: TOTAL_BYTES_MAX });
        }
        self.digest = chained(&self.digest, chunk);
        self.next += 1;
        Ok(())
    }

    fn add(&mut self, item: Item) -> Result<(), RestoreRefusal> {
        let (path, value, ttl_ms) = match item {
            Item::Value { path, value, ttl_ms } => {
                check(length("value", value.len(), 0, VALUE_BYTES_MAX))?;
                (path, Value::Bytes(value), ttl_ms)
            }
            Item::Counter { path, value, ttl_ms } => (path, Value::Counter(value), ttl_ms),
            Item::Members { path, members } => {
                let board = self.board(&path, &members)?;
                self.place(path, Value::Board(board), None);
                return Ok(());
            }
        };
        if self.table.get(&path).is_some() {
            return Err(twice(&path));
        }
        if ttl_ms.is_some_and(|ttl| ttl == 0 || ttl > TTL_MS_MAX) {
            return Err(RestoreRefusal::Malformed(format!("a time to live of {ttl_ms:?} ms")));
        }
        // Counted from the latest time at which the restore can finish: never shorter than it was.
        let expires_at = ttl_ms.map(|ttl| self.until_ms.saturating_add(ttl));
        self.place(path, value, expires_at);
        Ok(())
    }

    /// The leaderboard with these members too.
    fn board(&mut self, path: &Path, members: &[(Arc<str>, i64)]) -> Result<Board, RestoreRefusal> {
        let mut board = match self.table.get(path).map(|entry| &entry.value) {
            None => Board::default(),
            Some(Value::Board(board)) => board.clone(),
            Some(_) => return Err(twice(path)),
        };
        if members.is_empty() || board.len() + members.len() > MEMBERS_MAX {
            let many = board.len() + members.len();
            return Err(RestoreRefusal::Malformed(format!("a leaderboard of {many} members")));
        }
        for (member, score) in members {
            check(length("member", member.len(), 1, NAME_BYTES_MAX))?;
            if board.score(member).is_some() {
                return Err(twice(path));
            }
            board.set(member.clone(), *score);
        }
        Ok(board)
    }

    fn place(&mut self, path: Path, value: Value, expires_at: Option<u64>) {
        let (created, modified) = (self.revision, self.revision);
        self.table.place(path, Entry { value, created, modified, expires_at });
    }

    /// Whether all of it is there.
    fn check(&self) -> Result<(), RestoreRefusal> {
        let Self { plan, next, digest, table, .. } = self;
        if *next < plan.chunks {
            return Err(RestoreRefusal::Missing { expected: *next });
        }
        let same = *next == plan.chunks
            && *digest == plan.digest
            && table.entries().size() as u64 == plan.keys;
        if same { Ok(()) } else { Err(RestoreRefusal::Differs) }
    }
}

fn check(length: Result<(), UserRefusal>) -> Result<(), RestoreRefusal> {
    length.map_err(|refusal| RestoreRefusal::Malformed(refusal.to_string()))
}

fn twice(path: &Path) -> RestoreRefusal {
    RestoreRefusal::Malformed(format!("{path} is there twice"))
}
