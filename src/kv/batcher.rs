//! What waits becomes a batch; one at a time is under way.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use super::KvError;
use crate::model::BootEpoch;
use crate::raft::{Handle, ProposeError};
use crate::state::{
    Command, Outcome,
    user::{BATCH_BYTES_MAX, BATCH_OPS_MAX, Sender, UserBatch, UserOp, UserOutcome},
};

/// Between two proposals of a batch whose outcome is not known.
const RETRY: Duration = Duration::from_millis(20);

/// Who of two has an operation: the batcher that proposes it, or the caller that gives it up.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken(Arc<AtomicBool>);

impl Taken {
    /// True for the first of both.
    pub(super) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

/// An operation that waits.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) op: UserOp,
    pub(super) taken: Taken,
    /// Who wants to know, if anybody.
    pub(super) reply: Option<oneshot::Sender<Result<UserOutcome, KvError>>>,
}

#[derive(Debug)]
pub(super) struct Batcher {
    raft: Handle,
    boot: BootEpoch,
    inbox: mpsc::Receiver<Write>,
    /// The last batch's.
    number: u64,
    /// What did not fit the last batch.
    next: Option<Write>,
    /// Locks that were taken for callers who had gone by then: they are given back.
    orphans: VecDeque<Write>,
}

impl Batcher {
    pub(super) fn new(raft: Handle, boot: BootEpoch, inbox: mpsc::Receiver<Write>) -> Self {
        Self { raft, boot, inbox, number: 0, next: None, orphans: VecDeque::new() }
    }

    /// Until nobody can write any more.
    pub(super) async fn run(mut self) {
        while let Some(batch) = self.fill().await {
            if !batch.is_empty() {
                self.commit(batch).await;
            }
        }
    }

    /// Waits for the first, and takes what is there behind it.
    async fn fill(&mut self) -> Option<Vec<Write>> {
        let first = match self.orphans.pop_front().or_else(|| self.next.take()) {
            Some(first) => first,
            None => self.inbox.recv().await?,
        };
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut waiting = Some(first);
        while let Some(write) = waiting {
            let more = write.op.bytes();
            if !batch.is_empty() && bytes + more > BATCH_BYTES_MAX {
                self.next = Some(write);
                break;
            }
            if write.taken.take() {
                bytes += more;
                batch.push(write);
            }
            waiting = (batch.len() < BATCH_OPS_MAX).then(|| self.inbox.try_recv().ok()).flatten();
        }
        Some(batch)
    }

    /// Proposes a batch until its outcome is known, or nobody waits for it. It counts once.
    async fn commit(&mut self, mut batch: Vec<Write>) {
        self.number += 1;
        let sent = Sender { node: self.raft.id(), boot: self.boot, number: self.number };
        let ops: Vec<_> = batch.iter().map(|write| write.op.clone()).collect();
        let mut doubtful = false;
        let error = loop {
            let command = UserBatch { sent: Some(sent), now_ms: 0, ops: ops.clone() };
            match self.raft.propose(Command::User(command)).await {
                Ok(Outcome::User(outcomes)) => {
                    for (write, outcome) in batch.into_iter().zip(outcomes) {
                        self.orphans.extend(write.answer(Ok(outcome)));
                    }
                    return;
                }
                Err(ProposeError::Unknown { .. }) => doubtful = true,
                Err(ProposeError::Overloaded) => {}
                Err(ProposeError::NotLeader { .. }) if doubtful => {}
                Err(ProposeError::NotLeader { .. }) => break KvError::Unavailable,
                // A removed node's batches are refused, also those that were committed before.
                Err(ProposeError::TooLong { .. } | ProposeError::Stopped(_)) | Ok(_) => {
                    break if doubtful { KvError::InDoubt } else { KvError::Stopped };
                }
            }
            // A reply that nobody waits for is known as soon as the deadline of its call has passed.
            if !batch.iter().any(Write::is_awaited) {
                return;
            }
            sleep(RETRY).await;
        };
        for write in batch.drain(..) {
            write.answer(Err(error.clone()));
        }
    }
}

impl Write {
    fn is_awaited(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| !reply.is_closed())
    }

    /// Tells the caller. What is left to do where there is none any more: a lock is nobody's then.
    fn answer(self, outcome: Result<UserOutcome, KvError>) -> Option<Self> {
        let unheard = self.reply?.send(outcome).err()?;
        match (self.op, unheard) {
            (UserOp::Acquire { path, .. }, Ok(UserOutcome::Held { token })) => Some(Self {
                op: UserOp::Release { path, token },
                taken: Taken::default(),
                reply: None,
            }),
            _ => None,
        }
    }
}
