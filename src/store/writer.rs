//! The thread that writes: it takes what has queued up meanwhile, and one barrier serves it all.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::mpsc::{Receiver, TryRecvError},
};

use tokio::{sync::watch, time::Instant};
use tracing::error;

use crate::model::ClusterId;

use super::{
    Done, Identity, Position, Promise, Pulse, Record, Vote, Write, WriteError,
    frame::{self, Linked, RECORD_BYTES_MAX},
    identity::IdentityFile,
    log::{BARRIER_BYTES, DatabaseError, Log, Purged},
    open::owner,
    promise,
};

/// The most writes that share a barrier, so that the first of them does not wait for a queue that never ends.
const GROUP_MAX: usize = 256;

/// A write, and whom to tell. Nobody if it does not wait for the disk.
pub(super) struct Job {
    pub(super) write: Write,
    pub(super) done: Option<Done>,
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) directory: PathBuf,
    pub(super) log: Log,
    pub(super) file: IdentityFile,
    pub(super) identity: Identity,
    /// The term of each entry in the log, and the chain up to it.
    pub(super) chains: BTreeMap<u64, (u64, u32)>,
    pub(super) purged: Option<Purged>,
    pub(super) failure: watch::Sender<Option<WriteError>>,
    pub(super) pulse: Pulse,
}

impl Writer {
    /// Writes until the queue is closed and empty.
    pub(super) fn run(mut self, queue: &Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            self.pulse.begin();
            self.commit(gather(first, queue));
            self.pulse.end();
        }
    }

    /// Writes a group, makes it durable, and tells everyone in it.
    fn commit(&mut self, group: Vec<Job>) {
        let mut staged = Vec::new();
        for Job { write, done } in group {
            let result = self.stage(write, &mut staged);
            match (result, done) {
                (Ok(()), done) => staged.extend(done),
                (Err(error @ WriteError::OtherCluster(_)), Some(done)) => done(Err(error)),
                (Err(error), done) => {
                    self.fail(error);
                    staged.extend(done);
                }
            }
        }
        self.settle(&mut staged);
    }

    /// Hands a write to sled. Nothing is durable yet.
    fn stage(&mut self, write: Write, staged: &mut Vec<Done>) -> Result<(), WriteError> {
        if let Some(error) = self.failure.borrow().clone() {
            return Err(error);
        }
        match write {
            Write::Append(records) => self.append(records),
            Write::Vote(vote) => self.vote(vote),
            Write::Truncate(after) => {
                // What came before it in this group may be what it cuts off, so that goes first.
                self.settle(staged);
                self.truncate(after)
            }
            Write::Purge(to) => self.purge(to),
            Write::Committed(committed) => self
                .log
                .note("committed", &committed)
                .map_err(|error| failed("note what is committed", error)),
            Write::Cluster(cluster) => match self.identity.cluster {
                Some(known) if known != cluster => Err(WriteError::OtherCluster(known)),
                _ => self.belong(cluster),
            },
            Write::Promise(promise) => self.promise(&promise),
        }
    }

    /// From here on the directory is that cluster's.
    fn belong(&mut self, cluster: ClusterId) -> Result<(), WriteError> {
        self.identity.cluster = Some(cluster);
        let owner = owner(&self.identity);
        self.log.note("owner", &owner).map_err(|error| failed("note the cluster", error))
    }

    /// The promise first: a directory that names a cluster and holds no promise is one that joins, and never forms.
    fn promise(&mut self, promise: &Promise) -> Result<(), WriteError> {
        let known = promise::load(&self.directory)
            .map_err(|error| WriteError::io("read the promise", error))?
            .promise();
        match (self.identity.cluster, known) {
            (_, Some(known)) if known == *promise => {}
            (None, None) => promise::save(&self.directory, promise)
                .map_err(|error| WriteError::io("save the promise", error))?,
            (cluster, known) => {
                let known = known.map_or(promise.cluster, |known| known.cluster);
                return Err(WriteError::OtherCluster(cluster.unwrap_or(known)));
            }
        }
        self.belong(promise.cluster)
    }

    fn append(&mut self, records: Vec<Record>) -> Result<(), WriteError> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for record in records {
            if record.bytes.len() > RECORD_BYTES_MAX {
                return Err(invalid("append an entry of that size"));
            }
            let (last, chain) = self.end();
            if last.is_some_and(|last| {
                record.position.index != last.index + 1 || record.position.term < last.term
            }) {
                return Err(invalid("append an entry out of order"));
            }
            let position = record.position;
            let chain = frame::link(chain, &record);
            self.chains.insert(position.index, (position.term, chain));
            bytes += record.bytes.len();
            batch.push(Linked { record, chain });
            if bytes >= BARRIER_BYTES {
                self.log.append(&batch).map_err(|error| failed("append", error))?;
                self.log.barrier().map_err(|error| failed("make entries durable", error))?;
                batch.clear();
                bytes = 0;
            }
        }
        (self.identity.last, self.identity.chain) = self.end();
        self.log.append(&batch).map_err(|error| failed("append", error))
    }

    fn vote(&mut self, vote: Vote) -> Result<(), WriteError> {
        if vote.bytes.len() > Vote::BYTES_MAX {
            return Err(invalid("save a vote of that size"));
        }
        self.log.note("vote", &vote).map_err(|error| failed("save the vote", error))?;
        self.identity.vote = Some(vote);
        Ok(())
    }

    /// The identity file first: it must never speak of entries that a truncation has taken away.
    fn truncate(&mut self, after: Option<Position>) -> Result<(), WriteError> {
        let from = after.map_or(0, |after| after.index + 1);
        self.chains.split_off(&from);
        (self.identity.last, self.identity.chain) = self.end();
        self.file
            .write(&self.identity)
            .map_err(|error| WriteError::io("write the identity file", error))?;
        self.log.delete_from(from).map_err(|error| failed("truncate", error))
    }

    /// The mark first, then the oldest entries: whatever a power cut leaves of it can be finished.
    fn purge(&mut self, to: Position) -> Result<(), WriteError> {
        // Raft repeats a purge after a restart; the mark of the first one holds the chain, which is gone from the log.
        if let Some(purged) = self.purged
            && purged.position.index >= to.index
        {
            let other = purged.position.index == to.index && purged.position.term != to.term;
            return if other { Err(invalid(OTHER_ENTRY)) } else { Ok(()) };
        }
        let (last, _) = self.end();
        let chain = match self.chains.get(&to.index) {
            Some((term, chain)) if *term == to.term => *chain,
            Some(_) => return Err(invalid(OTHER_ENTRY)),
            // Raft truncates what an installed snapshot contradicts before it purges, so the log ends before `to`, and
            // the snapshot takes its place. Terms never fall.
            None if last.is_none_or(|last| last.term <= to.term) => frame::seed(to),
            None => return Err(invalid(OTHER_ENTRY)),
        };
        self.chains = self.chains.split_off(&(to.index + 1));
        let purged = Purged { position: to, chain };
        self.purged = Some(purged);
        self.log.note("purged", &purged).map_err(|error| failed("purge", error))?;
        while self.log.delete_to(to.index).map_err(|error| failed("purge", error))? {
            self.log.barrier().map_err(|error| failed("purge", error))?;
        }
        Ok(())
    }

    /// The last entry, or the last purged one, and the chain up to it.
    fn end(&self) -> (Option<Position>, u32) {
        match (self.chains.last_key_value(), self.purged) {
            (Some((index, (term, chain))), _) => {
                (Some(Position { term: *term, index: *index }), *chain)
            }
            (None, Some(purged)) => (Some(purged.position), purged.chain),
            (None, None) => (None, 0),
        }
    }

    /// Makes what is staged durable: sled's barrier, the identity file, and then the acknowledgements.
    fn settle(&mut self, staged: &mut Vec<Done>) {
        if staged.is_empty() {
            return;
        }
        if self.failure.borrow().is_none() {
            let began = Instant::now();
            let durable =
                self.log.barrier().map_err(|error| failed("make writes durable", error)).and_then(
                    |()| {
                        self.file
                            .write(&self.identity)
                            .map_err(|error| WriteError::io("write the identity file", error))
                    },
                );
            metrics::histogram!("apolo_store_commit_seconds").record(began.elapsed());
            if let Err(error) = durable {
                self.fail(error);
            }
        }
        let failure = self.failure.borrow().clone();
        for done in staged.drain(..) {
            done(failure.clone().map_or(Ok(()), Err));
        }
    }

    fn fail(&self, error: WriteError) {
        self.failure.send_if_modified(|failure| {
            if failure.is_some() {
                return false;
            }
            error!(%error, "the store failed; nothing more is written");
            *failure = Some(error);
            true
        });
    }
}

fn gather(first: Job, queue: &Receiver<Job>) -> Vec<Job> {
    let mut bytes = first.write.len();
    let mut group = vec![first];
    while group.len() < GROUP_MAX && bytes < BARRIER_BYTES {
        match queue.try_recv() {
            Ok(job) => {
                bytes += job.write.len();
                group.push(job);
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
        }
    }
    group
}

/// What is wrong with a purge that the log contradicts: a chain that began there would vouch for what never was.
const OTHER_ENTRY: &str = "purge up to an entry that is not the log's";

fn failed(what: &'static str, error: DatabaseError) -> WriteError {
    WriteError::io(what, error.into())
}

fn invalid(what: &'static str) -> WriteError {
    WriteError::io(what, std::io::ErrorKind::InvalidInput.into())
}
