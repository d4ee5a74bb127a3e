//! twilight's identify queue, answered by [`Permits`].
//!
//! twilight asks for leave by a one-shot channel and asks again, without a pause, when its sender is dropped. So the
//! sender is held for as long as the connection lives, and answered once.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use twilight_gateway::queue::Queue;

use super::port::{Permit, PermitError, Permits};
use crate::model::ShardId;

/// Where twilight leaves its sender. Each connection has its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<Mutex<Option<oneshot::Sender<()>>>>);

impl Queue for Gate {
    fn enqueue(&self, _shard: u32) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }
}

impl Gate {
    /// Takes the sender that twilight left since the last call.
    pub(super) fn asked(&self) -> Option<oneshot::Sender<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A request for leave to identify that is under way. Dropped, it withdraws the request.
pub(super) struct Waiting {
    sender: oneshot::Sender<()>,
    leave: BoxFuture<'static, Result<Permit, PermitError>>,
}

impl Waiting {
    pub(super) fn new(permits: &dyn Permits, shard: ShardId, sender: oneshot::Sender<()>) -> Self {
        Self { sender, leave: permits.acquire(shard) }
    }

    /// Waits for leave. Cancel safe.
    pub(super) async fn granted(&mut self) -> Result<Permit, PermitError> {
        (&mut self.leave).await
    }

    /// Lets twilight send IDENTIFY.
    pub(super) fn open(self) {
        // A refusal means that the connection has ended: then nothing is to be sent.
        let _ = self.sender.send(());
    }

    /// Keeps twilight's sender, and waits for nothing.
    pub(super) fn never(self) -> Self {
        Self { sender: self.sender, leave: Box::pin(std::future::pending()) }
    }

    /// Asks anew, for the leave that was given had expired.
    pub(super) fn again(self, permits: &dyn Permits, shard: ShardId) -> Self {
        Self::new(permits, shard, self.sender)
    }
}
