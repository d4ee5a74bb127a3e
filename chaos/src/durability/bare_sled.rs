use super::{entry::Mark, protocol::Found, subject::Journal};
use std::{
    fs::{self, File},
    ops::RangeBounds,
    path::Path,
};

/// sled without apolo's care, except for the barrier if it is asked for.
///
/// Its entries are small: a value or a page above 128 KiB goes into a file under `blobs/` that sled never syncs, and
/// after a power cut sled panics over it.
pub(super) struct BareSled {
    database: sled::Db,
    entries: sled::Tree,
    barrier: Option<File>,
}

const VOTE: &[u8] = b"vote";

impl BareSled {
    pub(super) fn open(directory: &Path, barrier: bool) -> Result<Box<dyn Journal>, Found> {
        Self::try_open(directory, barrier)
            .map(|journal| Box::new(journal) as Box<dyn Journal>)
            .map_err(|error| Found::Refused(error.to_string()))
    }

    fn try_open(directory: &Path, barrier: bool) -> sled::Result<Self> {
        fs::create_dir_all(directory)?;
        // sled takes a snapshot that it never finished for its newest one, and then refuses to open.
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "generating") {
                fs::remove_file(path)?;
            }
        }
        let database = sled::Config::new().path(directory).flush_every_ms(None).open()?;
        let entries = database.open_tree("entries")?;
        // The tree is an entry of the log too, which must not depend on the first acknowledgement.
        database.flush()?;
        let barrier = barrier.then(|| File::open(directory.join("db"))).transpose()?;
        if let Some(file) = &barrier {
            file.sync_data()?;
            // sled syncs its configuration never: half of it under a durable name is a database that refuses to open.
            File::open(directory.join("conf"))?.sync_all()?;
            File::open(directory)?.sync_all()?;
            File::open(directory.parent().unwrap_or(directory))?.sync_all()?;
        }
        Ok(Self { database, entries, barrier })
    }

    fn sync(&self) -> sled::Result<()> {
        self.database.flush()?;
        if let Some(file) = &self.barrier {
            file.sync_data()?;
        }
        Ok(())
    }

    fn try_append(&self, entries: &[(Mark, Vec<u8>)]) -> sled::Result<()> {
        for (mark, payload) in entries {
            self.entries.insert(mark.serial.to_be_bytes(), payload.as_slice())?;
        }
        self.sync()
    }

    fn remove(&self, keys: impl RangeBounds<[u8; 8]>) -> sled::Result<()> {
        let mut batch = sled::Batch::default();
        for key in self.entries.range(keys).keys() {
            batch.remove(key?);
        }
        self.entries.apply_batch(batch)
    }

    fn try_find(&self) -> sled::Result<Found> {
        let vote = self.database.get(VOTE)?.map_or(0, |bytes| number(&bytes));
        let mut last = Mark::default();
        for entry in &self.entries {
            // The iterator of a damaged tree yields errors for ever: the first one ends it.
            let (key, value) = entry?;
            let term = value.first_chunk().copied().map_or(0, u64::from_le_bytes);
            let mark = Mark { term, serial: number(&key) };
            if value != mark.payload(false) {
                return Ok(Found::Wrong(format!("{mark:?} is not what was written")));
            }
            if last.serial > 0 && mark.serial != last.serial + 1 || term < last.term {
                return Ok(Found::Wrong(format!("{mark:?} follows {last:?}")));
            }
            last = mark;
        }
        Ok(Found::Intact { last, vote })
    }
}

impl Journal for BareSled {
    fn append(&mut self, entries: &[(Mark, Vec<u8>)]) -> Result<(), String> {
        self.try_append(entries).map_err(|error| error.to_string())
    }

    fn vote(&mut self, vote: u64) -> Result<(), String> {
        let inserted = self.database.insert(VOTE, &vote.to_be_bytes());
        inserted.and_then(|_| self.sync()).map_err(|error| error.to_string())
    }

    fn truncate(&mut self, serial: u64) -> Result<(), String> {
        self.remove((serial + 1).to_be_bytes()..)
            .and_then(|()| self.sync())
            .map_err(|error| error.to_string())
    }

    fn purge(&mut self, serial: u64) -> Result<(), String> {
        self.remove(..serial.to_be_bytes()).map_err(|error| error.to_string())
    }

    fn find(&self) -> Found {
        self.try_find().unwrap_or_else(|error| Found::Refused(error.to_string()))
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(u64::MAX, u64::from_be_bytes)
}
