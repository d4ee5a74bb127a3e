//! The store on a disk.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::mpsc::{SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use tokio::sync::watch;

use super::{
    Backend, Done, Identity, Position, Pulse, Snapshot, Write, WriteError,
    identity::IdentityFile,
    log::{Log, Purged},
    snapshot,
    writer::{Job, Writer},
};

/// The most writes that wait. Raft's own bound on what is in flight is far below; beyond it, handing over blocks.
const QUEUE_MAX: usize = 4096;

/// A data directory, open and locked. Dropping it writes out what has queued up and gives the directory free.
pub struct Disk {
    directory: PathBuf,
    queue: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    pulse: Pulse,
    /// Held, not read: the file's life is the lock's.
    _lock: File,
    /// After the lock: who listens learns from its end that the directory is free.
    failure: watch::Sender<Option<WriteError>>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Disk {
    pub(super) fn start(
        directory: &Path,
        lock: File,
        log: Log,
        file: IdentityFile,
        identity: Identity,
        chains: Vec<(Position, u32)>,
        purged: Option<Purged>,
    ) -> io::Result<Self> {
        let failure = watch::Sender::new(None);
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        let chains: BTreeMap<_, _> = chains
            .into_iter()
            .map(|(position, chain)| (position.index, (position.term, chain)))
            .collect();
        let (panicked, failed, pulse) = (failure.clone(), failure.clone(), Pulse::default());
        let writer = Writer {
            directory: directory.to_owned(),
            log,
            file,
            identity,
            chains,
            purged,
            failure: failed,
            pulse: pulse.clone(),
        };
        let thread = thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            // sled panics where it finds its files damaged. Whoever waits learns it from the queue's end.
            if catch_unwind(AssertUnwindSafe(|| writer.run(&jobs))).is_err() {
                let error = io::Error::other("the writer panicked");
                panicked.send_if_modified(|failure| {
                    let first = failure.is_none();
                    failure.get_or_insert_with(|| WriteError::io("write", error));
                    first
                });
            }
        })?;
        Ok(Self {
            directory: directory.to_owned(),
            queue: Some(queue),
            thread: Some(thread),
            failure,
            pulse,
            _lock: lock,
        })
    }

    fn error(&self) -> WriteError {
        self.failure.borrow().clone().unwrap_or(WriteError::Closed)
    }
}

impl Backend for Disk {
    fn submit(&self, write: Write, done: Done) {
        let Some(queue) = &self.queue else { return done(Err(self.error())) };
        let (waits, now) = if write.is_durable() { (Some(done), None) } else { (None, Some(done)) };
        let refused = queue.send(Job { write, done: waits }).err();
        match (refused, now) {
            (None, Some(done)) => done(Ok(())),
            (None, None) => {}
            (Some(refused), now) => {
                if let Some(done) = now.or(refused.0.done) {
                    done(Err(self.error()));
                }
            }
        }
    }

    fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), WriteError> {
        if let Some(error) = self.failure.borrow().clone() {
            return Err(error);
        }
        snapshot::save(&self.directory, snapshot).map_err(|source| {
            let error = WriteError::io("save the snapshot", source);
            self.failure.send_if_modified(|failure| {
                let first = failure.is_none();
                failure.get_or_insert_with(|| error.clone());
                first
            });
            error
        })
    }

    fn failure(&self) -> watch::Receiver<Option<WriteError>> {
        self.failure.subscribe()
    }

    fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // Its panic has been reported as the failure.
            let _panicked = thread.join();
        }
    }
}
