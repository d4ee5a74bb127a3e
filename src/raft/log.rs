//! openraft's log on the store. Reads are served from memory: an entry can be read as soon as it is appended, before it
//! is durable, and replication never waits for a disk.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
    io,
    ops::{Bound, RangeBounds},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use tokio::sync::{oneshot, watch};

use crate::{
    model::NodeId,
    store::{Backend, Position, Recovered, Write},
};

use super::{
    codec::{CodecError, decode_entry, decode_vote, encode_entry, encode_vote},
    start::OnVote,
    types::{Entry, LogId, Types, Vote, log_id, position},
};

/// The log. Clones are readers of the same.
#[derive(Clone)]
pub(super) struct Log {
    node: NodeId,
    on_vote: Option<OnVote>,
    store: Arc<dyn Backend>,
    tail: Arc<Mutex<Tail>>,
    /// Bytes that were appended since somebody last set this to 0.
    appended: watch::Sender<u64>,
}

impl Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("node", &self.node).finish_non_exhaustive()
    }
}

/// The most bytes of entries that are read for one request to a peer: half a frame, for an entry more may fit beside.
const READ_BYTES_MAX: usize = 512 * 1024;

/// Everything that is not purged. The snapshot policy bounds it.
#[derive(Debug, Default)]
pub(super) struct Tail {
    entries: BTreeMap<u64, Entry>,
    purged: Option<LogId>,
    committed: Option<LogId>,
    vote: Option<Vote>,
}

impl Tail {
    pub(super) const fn vote(&self) -> Option<&Vote> {
        self.vote.as_ref()
    }

    /// The last entry that was ever here.
    pub(super) fn last(&self) -> Option<Position> {
        let last = self.entries.last_key_value().map(|(_, entry)| position(&entry.log_id));
        last.or_else(|| self.purged.as_ref().map(position))
    }
}

impl Log {
    pub(super) fn new(
        store: Arc<dyn Backend>,
        recovered: &Recovered,
        node: NodeId,
        on_vote: Option<OnVote>,
    ) -> Result<Self, CodecError> {
        let entries = recovered
            .records
            .iter()
            .map(|record| Ok((record.position.index, decode_entry(record)?)))
            .collect::<Result<_, CodecError>>()?;
        let tail = Tail {
            entries,
            purged: recovered.purged.map(log_id),
            committed: recovered.committed.map(log_id),
            vote: recovered.vote.as_ref().map(decode_vote).transpose()?,
        };
        let snapshot = recovered.snapshot.as_ref().and_then(|snapshot| snapshot.last);
        let behind = recovered
            .records
            .iter()
            .filter(|it| snapshot.is_none_or(|at| it.position.index > at.index));
        let appended = watch::Sender::new(behind.map(|record| record.bytes.len() as u64).sum());
        Ok(Self { node, on_vote, store, tail: Arc::new(Mutex::new(tail)), appended })
    }

    /// What is read, for whoever must not keep the store open.
    pub(super) fn reading(&self) -> Weak<Mutex<Tail>> {
        Arc::downgrade(&self.tail)
    }

    /// Bytes that were appended since the last snapshot, or since whoever counts them set this to 0.
    pub(super) fn appended(&self) -> watch::Sender<u64> {
        self.appended.clone()
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes, and returns once it is durable.
    async fn durably(&self, write: Write) -> Result<(), io::Error> {
        let (answer, answered) = oneshot::channel();
        self.store.submit(
            write,
            Box::new(move |result| {
                // Raft's core may have stopped meanwhile.
                let _unheard = answer.send(result);
            }),
        );
        let result = answered.await.map_err(|_| io::Error::other("the store's writer stopped"))?;
        result.map_err(io::Error::from)
    }

    /// Queues a write that Raft can do without.
    fn eventually(&self, write: Write) {
        // Should it fail, so does every later write, and that one is waited for.
        self.store.submit(write, Box::new(|_| {}));
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let bounds: (Bound<u64>, Bound<u64>) =
            (range.start_bound().cloned(), range.end_bound().cloned());
        Ok(self.tail().entries.range(bounds).map(|(_, entry)| entry.clone()).collect())
    }

    /// As many as one request to a peer holds, and at least one.
    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        let mut bytes = 0;
        let fits = |(_, entry): &(&u64, &Entry)| {
            let first = bytes == 0;
            bytes += encode_entry(entry).bytes.len();
            first || bytes <= READ_BYTES_MAX
        };
        Ok(self
            .tail()
            .entries
            .range(start..end)
            .take_while(fits)
            .map(|(_, it)| it.clone())
            .collect())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.tail().vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let tail = self.tail();
        let last = tail.entries.last_key_value().map(|(_, entry)| entry.log_id);
        Ok(LogState { last_purged_log_id: tail.purged, last_log_id: last.or(tail.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        if let Some(on_vote) = &self.on_vote {
            on_vote(vote.leader_id.term, vote.leader_id.voted_for == self.node);
        }
        self.durably(Write::Vote(encode_vote(vote))).await?;
        self.tail().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.eventually(Write::Committed(committed.as_ref().map(position)));
        self.tail().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.tail().committed)
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut records = Vec::new();
        {
            let mut tail = self.tail();
            for entry in entries {
                records.push(encode_entry(&entry));
                tail.entries.insert(entry.log_id.index, entry);
            }
        }
        let bytes: u64 = records.iter().map(|record| record.bytes.len() as u64).sum();
        self.appended.send_modify(|appended| *appended += bytes);
        self.store.submit(
            Write::Append(records),
            Box::new(|result| flushed.io_completed(result.map_err(io::Error::from))),
        );
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.tail().entries.split_off(&last.map_or(0, |last| last.index + 1));
        self.durably(Write::Truncate(last.as_ref().map(position))).await
    }

    async fn purge(&mut self, to: LogId) -> Result<(), io::Error> {
        {
            let mut tail = self.tail();
            tail.entries = tail.entries.split_off(&(to.index + 1));
            tail.purged = tail.purged.max(Some(to));
        }
        self.eventually(Write::Purge(position(&to)));
        Ok(())
    }
}
