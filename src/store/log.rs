//! sled, and nothing that decides: trees, batches, the barrier, and reading everything back.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sled::{Batch, Config, Db, Mode, Tree};

use crate::model::{BootEpoch, ClusterId, NodeId};

use super::{
    Damage, Position, Vote,
    frame::{self, Assembly, Broken, Linked},
};

/// sled's page cache, in bytes. The log is read once, at the start.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// The most that is written between two barriers, in bytes.
///
/// sled takes a segment that it has emptied into use again without waiting for our barrier. Half of a segment at a
/// time keeps it from overwriting what the last barrier has made durable.
pub(super) const BARRIER_BYTES: usize = 256 * 1024;

/// The most records that are deleted between two barriers: each tenth deletion rewrites its page.
pub(super) const BARRIER_DELETIONS: usize = 256;

/// The same facts as in the identity file, inside sled.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) cluster: Option<ClusterId>,
    pub(super) node: NodeId,
    pub(super) boot: BootEpoch,
}

/// What was purged, and the chain up to there.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Purged {
    pub(super) position: Position,
    pub(super) chain: u32,
}

/// Everything in the database, as it reads.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) owner: Option<Owner>,
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<Purged>,
    pub(super) committed: Option<Position>,
    pub(super) records: Vec<Linked>,
    /// The first record that does not read; nothing behind it was read.
    pub(super) broken: Option<Broken>,
}

/// Why sled did not do what it should.
#[derive(Debug)]
pub(super) enum DatabaseError {
    /// The file system has no space left.
    Full,
    /// The system refused, and the files may be well.
    Io(io::Error),
    /// sled still holds its own lock in this process.
    Busy,
    /// The files are not well.
    Damaged(Damage),
}

impl From<sled::Error> for DatabaseError {
    fn from(error: sled::Error) -> Self {
        let sled::Error::Io(error) = error else {
            return Self::Damaged(Damage::Database(error.to_string()));
        };
        if error.to_string().contains("could not acquire lock") {
            return Self::Busy;
        }
        if error.kind() == io::ErrorKind::StorageFull {
            return Self::Full;
        }
        // What damaged files lead sled to ask of the system; the rest is the system's own refusal.
        let asked_nonsense = [
            io::ErrorKind::UnexpectedEof,
            io::ErrorKind::InvalidData,
            io::ErrorKind::InvalidInput,
            io::ErrorKind::NotFound,
        ];
        if asked_nonsense.contains(&error.kind()) {
            return Self::Damaged(Damage::Database(error.to_string()));
        }
        Self::Io(error)
    }
}

impl From<DatabaseError> for io::Error {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Full => io::ErrorKind::StorageFull.into(),
            DatabaseError::Io(error) => error,
            DatabaseError::Busy => io::ErrorKind::ResourceBusy.into(),
            DatabaseError::Damaged(damage) => Self::new(io::ErrorKind::InvalidData, damage),
        }
    }
}

/// How far a write goes before it counts as durable.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Barrier {
    /// sled's `flush`, then `fdatasync`.
    #[default]
    Synced,
    /// sled's `flush` alone, which a power cut undoes (sled#1452). Loses acknowledged writes: it exists for the proof
    /// that the power-loss tests would notice.
    FlushOnly,
    /// `Synced`, once a test lets it go.
    #[cfg(test)]
    Held(&'static super::Hold),
}

/// The open database.
#[derive(Debug)]
pub(super) struct Log {
    db: Db,
    records: Tree,
    facts: Tree,
    /// Our own descriptor of sled's file: what `flush` leaves in the page cache and the drive's, this makes durable.
    file: File,
    barrier: Barrier,
}

impl Log {
    /// Opens the database in `path` and reads it. It may panic or hang where the files are damaged.
    pub(super) fn open(path: &Path, barrier: Barrier) -> Result<(Self, Scan), DatabaseError> {
        let db = Config::new()
            .path(path)
            .flush_every_ms(None)
            .mode(Mode::HighThroughput)
            .cache_capacity(CACHE_BYTES)
            .open()?;
        let records = db.open_tree("records")?;
        let facts = db.open_tree("facts")?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path.join("db"))
            .map_err(DatabaseError::Io)?;
        let log = Self { db, records, facts, file, barrier };
        let scan = log.scan().map_err(DatabaseError::Damaged)?;
        Ok((log, scan))
    }

    fn scan(&self) -> Result<Scan, Damage> {
        let mut scan = Scan {
            owner: self.fact("owner")?,
            vote: self.fact("vote")?,
            purged: self.fact("purged")?,
            committed: self.fact::<Option<Position>>("committed")?.flatten(),
            ..Scan::default()
        };
        let mut assembly = Assembly::default();
        // An iterator over a damaged tree yields errors for ever, so the first one ends it.
        for pair in &self.records {
            let (key, value) = pair.map_err(|error| Damage::Unreadable(error.to_string()))?;
            match assembly.add(&key, &value) {
                Ok(Some(linked)) => scan.records.push(linked),
                Ok(None) => {}
                Err(broken) => {
                    scan.broken = Some(broken);
                    return Ok(scan);
                }
            }
        }
        scan.broken = assembly.finish();
        Ok(scan)
    }

    fn fact<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, Damage> {
        let value = self.facts.get(name).map_err(|error| Damage::Unreadable(error.to_string()))?;
        value.map(|value| decode_fact(name, &value)).transpose()
    }

    /// Notes a small fact.
    pub(super) fn note(
        &self,
        name: &'static str,
        fact: &impl Serialize,
    ) -> Result<(), DatabaseError> {
        self.facts.insert(name, encode_fact(name, fact))?;
        Ok(())
    }

    /// Adds records, all or none of them.
    pub(super) fn append(&self, records: &[Linked]) -> Result<(), DatabaseError> {
        let mut batch = Batch::default();
        for (key, value) in records.iter().flat_map(frame::encode) {
            batch.insert(&key, value);
        }
        Ok(self.records.apply_batch(batch)?)
    }

    /// Deletes every record from `index` on, all or none of them.
    pub(super) fn delete_from(&self, index: u64) -> Result<(), DatabaseError> {
        let mut batch = Batch::default();
        for key in self.records.range(frame::key(index, 0)..).keys() {
            batch.remove(key?);
        }
        Ok(self.records.apply_batch(batch)?)
    }

    /// Deletes the records up to `index`, the oldest first and a bounded number at a time: `true` if some are left.
    pub(super) fn delete_to(&self, index: u64) -> Result<bool, DatabaseError> {
        let mut batch = Batch::default();
        let doomed = self.records.range(..=frame::key(index, u16::MAX)).keys();
        let mut count = 0;
        for key in doomed.take(BARRIER_DELETIONS) {
            batch.remove(key?);
            count += 1;
        }
        self.records.apply_batch(batch)?;
        Ok(count == BARRIER_DELETIONS)
    }

    /// Returns once everything above is on the disk.
    pub(super) fn barrier(&self) -> Result<(), DatabaseError> {
        self.db.flush()?;
        match self.barrier {
            Barrier::Synced => self.file.sync_data().map_err(DatabaseError::Io),
            Barrier::FlushOnly => Ok(()),
            #[cfg(test)]
            Barrier::Held(hold) => {
                hold.pass();
                self.file.sync_data().map_err(DatabaseError::Io)
            }
        }
    }
}

/// A fact's value in its tree.
pub(super) fn encode_fact(name: &'static str, fact: &impl Serialize) -> Vec<u8> {
    let bytes = postcard::to_stdvec(fact).expect("our types serialize");
    frame::seal_fact(name.as_bytes(), &bytes)
}

/// The fact in a value.
pub(super) fn decode_fact<T: DeserializeOwned>(
    name: &'static str,
    value: &[u8],
) -> Result<T, Damage> {
    let bytes = frame::open_fact(name.as_bytes(), value).ok_or(Damage::Fact(name))?;
    postcard::from_bytes(bytes).map_err(|_| Damage::Fact(name))
}
