use super::{entry::Mark, protocol::Found, subject::Journal};
use apolo::store::{
    self, Backend, Barrier, Disk, OpenError, Opened, Options, Position, Record, Recovered,
    Snapshot, Vote, Write,
};
use std::{path::Path, sync::mpsc};

/// The store of a node, used as Raft does.
pub(super) struct Store {
    disk: Disk,
    recovered: Recovered,
    /// The terms of the entries, by serial: a truncation and a purge name the entry that they end with.
    terms: Vec<(u64, u64)>,
}

impl Store {
    pub(super) fn open(directory: &Path, barrier: Barrier) -> Result<Box<dyn Journal>, Found> {
        match store::open(directory, &Options { barrier, ..Options::default() }) {
            Ok(Opened { store, recovered, .. }) => {
                let positions = recovered
                    .purged
                    .into_iter()
                    .chain(recovered.records.iter().map(|record| record.position));
                let terms = positions.map(mark).map(|mark| (mark.serial, mark.term)).collect();
                Ok(Box::new(Self { disk: store, recovered, terms }))
            }
            Err(error @ (OpenError::Quarantined { .. } | OpenError::Lost { .. })) => {
                Err(Found::Quarantined(error.to_string()))
            }
            Err(error) => Err(Found::Refused(error.to_string())),
        }
    }

    /// Hands one write over and waits until the store calls it done.
    fn submit(&self, write: Write) -> Result<(), String> {
        let (done, told) = mpsc::sync_channel(1);
        self.disk.submit(
            write,
            Box::new(move |result| {
                // Whoever asked is waiting below.
                let _ = done.send(result);
            }),
        );
        told.recv()
            .map_err(|_| "the store dropped a write".to_owned())?
            .map_err(|error| error.to_string())
    }

    fn position(&self, serial: u64) -> Option<Position> {
        let at = self.terms.binary_search_by_key(&serial, |(serial, _)| *serial).ok()?;
        Some(position(Mark { term: self.terms[at].1, serial }))
    }
}

impl Journal for Store {
    fn append(&mut self, entries: &[(Mark, Vec<u8>)]) -> Result<(), String> {
        let records = entries
            .iter()
            .map(|(mark, payload)| Record { position: position(*mark), bytes: payload.clone() });
        self.submit(Write::Append(records.collect()))?;
        self.terms.extend(entries.iter().map(|(mark, _)| (mark.serial, mark.term)));
        Ok(())
    }

    fn vote(&mut self, vote: u64) -> Result<(), String> {
        self.submit(Write::Vote(Vote {
            term: vote,
            committed: true,
            bytes: vote.to_be_bytes().to_vec(),
        }))
    }

    fn truncate(&mut self, serial: u64) -> Result<(), String> {
        self.submit(Write::Truncate(self.position(serial)))?;
        self.terms.retain(|(kept, _)| *kept <= serial);
        Ok(())
    }

    /// As Raft does it: the snapshot first, then the entries that it covers.
    fn purge(&mut self, serial: u64) -> Result<(), String> {
        let Some(last) = self.position(serial - 1) else { return Ok(()) };
        let snapshot =
            Snapshot { last: Some(last), meta: Vec::new(), state: mark(last).payload(true) };
        self.disk.save_snapshot(&snapshot).map_err(|error| error.to_string())?;
        self.submit(Write::Purge(last))?;
        self.terms.retain(|(kept, _)| *kept >= serial);
        Ok(())
    }

    fn find(&self) -> Found {
        let Recovered { vote, purged, records, snapshot, .. } = &self.recovered;
        let purged = purged.map(mark).unwrap_or_default();
        let mut last = purged;
        for record in records {
            let mark = mark(record.position);
            if mark.serial != last.serial + 1 || mark.term < last.term {
                return Found::Wrong(format!("{mark:?} follows {last:?}"));
            }
            if record.bytes != mark.payload(true) {
                return Found::Wrong(format!("{mark:?} is not what was written"));
            }
            last = mark;
        }
        let held =
            snapshot.as_ref().and_then(|snapshot| snapshot.last).map(mark).unwrap_or_default();
        if held < purged {
            return Found::Wrong(format!(
                "purged up to {purged:?}, and the snapshot ends at {held:?}"
            ));
        }
        if snapshot.as_ref().is_some_and(|snapshot| snapshot.state != held.payload(true)) {
            return Found::Wrong(format!("the snapshot up to {held:?} is not what was written"));
        }
        Found::Intact { last, vote: vote.as_ref().map_or(0, |vote| vote.term) }
    }
}

/// Raft's first index is 0, the first serial 1.
fn position(mark: Mark) -> Position {
    Position { term: mark.term, index: mark.serial - 1 }
}

fn mark(position: Position) -> Mark {
    Mark { term: position.term, serial: position.index + 1 }
}
