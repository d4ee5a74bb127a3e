//! What the bot keeps in the cluster, as the bot reaches it: values, counters, leaderboards and locks, on every node.
//!
//! ```text
//!  Namespace ──op──▶ queue ──▶ batcher: one batch under way ──▶ raft::Handle ──▶ state::user, on all replicas
//!            ──read─▶ queue ──▶ reader: one question under way ─▶ leader's word, own apply ──▶ Arc<State>
//!  Watch, Local reads ◀── watch<Arc<State>>                       keeper (where this node leads): what is due goes
//! ```
//!
//! It promises that a write whose revision was returned survives the crash of any minority of the voters; that it
//! happens once, however often the leader changes meanwhile; that a read sees every write that was answered before it
//! began, unless a [local](Namespace::local) one was asked for; and that every call ends within its deadline. Where the
//! deadline passes while a write is under way, it says [`KvError::InDoubt`] and does not guess.
//!
//! What is queued while a batch is under way is the next batch, so throughput is not one `fsync` a write. A node has one
//! batch under way, and the leader takes eight at once of all nodes, so a failover's entry waits behind less than a
//! megabyte; leases and elections need no entry. It is no place for what changes with every message of a large bot: each write goes to every node.

mod batcher;
mod board;
mod error;
mod keeper;
mod lock;
mod namespace;
mod reader;
#[cfg(test)]
mod tests;
mod watch;

pub use board::{Leaderboard, Rank};
pub use error::KvError;
pub use lock::{LOCK_TTL_MIN, Lock};
pub use namespace::{Consistency, Found, Namespace, PutOptions};
pub use watch::{Change, Watch};

pub use crate::state::user::{
    Compacted, Condition, KEY_BYTES_MAX, Kind, MEMBERS_MAX, NAME_BYTES_MAX, NAMESPACE_BYTES_MAX,
    TOTAL_BYTES_MAX, TTL_MS_MAX, UserChange, UserRefusal, VALUE_BYTES_MAX,
};

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch as values},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::lease::Clock;
use crate::model::{BootEpoch, NodeId};
use crate::raft::Handle;
use crate::state::{
    State,
    user::{UserOp, UserOutcome},
};

use batcher::{Batcher, Taken, Write};
use reader::{READS_MAX, Read};

/// Operations that wait on one node: one batch of small ones behind another. At most 16 MiB of the longest values.
const WRITES_MAX: usize = 256;

/// How long a call may take, unless the bot says otherwise: an election, and the next.
pub const WITHIN: Duration = Duration::from_secs(10);

/// The longest that a call may be told to take.
const WITHIN_MAX: Duration = Duration::from_hours(1);

/// What it runs on.
#[derive(Debug)]
pub struct Options {
    /// Where batches are proposed.
    pub raft: Handle,
    /// Which start of this node it is: batches are numbered within it.
    pub boot: BootEpoch,
    /// What locks are measured by.
    pub clock: Clock,
}

/// The way to what the bot keeps. Cheap to clone. It may be kept beyond the node's end: then calls fail.
#[derive(Clone, Debug)]
pub struct Kv {
    node: NodeId,
    writes: mpsc::Sender<Write>,
    reads: mpsc::Sender<Read>,
    states: values::Receiver<Arc<State>>,
    clock: Clock,
    within: Duration,
}

impl Kv {
    /// The way, and what has to run for as long as it is to lead anywhere: until `stop`.
    pub fn new(
        options: Options,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let Options { raft, boot, clock } = options;
        let (writes, to_write) = mpsc::channel(WRITES_MAX);
        let (reads, to_read) = mpsc::channel(READS_MAX);
        let (node, states, within) = (raft.id(), raft.states(), WITHIN);
        let kv = Self { node, writes, reads, states, clock, within };
        let running = Box::pin(async move {
            tokio::join!(
                Batcher::new(raft.clone(), boot, to_write).run(),
                reader::run(raft.clone(), to_read),
                keeper::run(raft.clone()),
            )
        });
        let running = async move {
            stop.run_until_cancelled(running).await;
        };
        (kv, running)
    }

    /// The way to a node that has stopped, for tests of what holds one.
    #[cfg(test)]
    pub(crate) fn stopped(states: values::Receiver<Arc<State>>) -> Self {
        let ((writes, _), (reads, _)) = (mpsc::channel(1), mpsc::channel(1));
        let (node, clock, within) = (NodeId(1), Clock::Boottime, WITHIN);
        Self { node, writes, reads, states, clock, within }
    }

    /// The same with another deadline for each call.
    #[must_use]
    pub fn within(&self, within: Duration) -> Self {
        Self { within, ..self.clone() }
    }

    /// The keys of a namespace. There is no need to create it; namespaces share the cluster's limit.
    #[must_use]
    pub fn namespace(&self, name: impl Into<Arc<str>>) -> Namespace {
        Namespace::new(self.clone(), name.into())
    }

    /// Has one operation committed, and says what became of it. Dropping the future does not take it back.
    ///
    /// # Errors
    ///
    /// [`KvError`]. A refusal is one.
    pub async fn submit(&self, op: UserOp) -> Result<UserOutcome, KvError> {
        // Here already: what is longer than an entry of the log would not come as far as the state, which says no.
        op.check()?;
        let deadline = Instant::now() + self.within.min(WITHIN_MAX);
        let (reply, answer) = oneshot::channel();
        let taken = Taken::default();
        let write = Write { op, taken: taken.clone(), reply: Some(reply) };
        match timeout_at(deadline, self.writes.send(write)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(KvError::Stopped),
            Err(_) => return Err(KvError::Busy),
        }
        let outcome = match timeout_at(deadline, answer).await {
            Ok(Ok(outcome)) => outcome?,
            // Its task has ended, maybe in the middle of it.
            Ok(Err(_)) if taken.take() => return Err(KvError::Stopped),
            Err(_) if taken.take() => return Err(KvError::Busy),
            Ok(Err(_)) | Err(_) => return Err(KvError::InDoubt),
        };
        match outcome {
            UserOutcome::Refused(refusal) => Err(KvError::Refused(refusal)),
            outcome => Ok(outcome),
        }
    }

    /// The state, as it is here or as the leader has it. Several keys read from one are of one moment.
    ///
    /// # Errors
    ///
    /// [`KvError::Unavailable`] where no leader answers in time, and [`KvError::Stopped`]. A local one always is.
    pub async fn read(&self, consistency: Consistency) -> Result<Arc<State>, KvError> {
        if consistency == Consistency::Local {
            return Ok(Arc::clone(&self.states.borrow()));
        }
        let deadline = Instant::now() + self.within.min(WITHIN_MAX);
        let (reply, answer) = oneshot::channel();
        match timeout_at(deadline, self.reads.send(reply)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(KvError::Stopped),
            Err(_) => return Err(KvError::Unavailable),
        }
        match timeout_at(deadline, answer).await {
            Ok(Ok(state)) => state,
            Ok(Err(_)) => Err(KvError::Stopped),
            Err(_) => Err(KvError::Unavailable),
        }
    }
}
