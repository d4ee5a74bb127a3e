//! Where shards ask for leave to identify.

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::{mpsc, oneshot};

use crate::gateway::{Permit, PermitError, Permits};
use crate::model::ShardId;

/// Requests on their way to the leader's loop. A shard has at most one, so more than this never wait for long.
const ASKS_MAX: usize = 1_024;

/// A shard's request.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) shard: ShardId,
    pub(super) reply: oneshot::Sender<Permit>,
}

/// The desk at which shards ask for permits.
#[derive(Clone, Debug)]
pub struct PermitDesk(mpsc::Sender<Ask>);

impl PermitDesk {
    pub(super) fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, inbox) = mpsc::channel(ASKS_MAX);
        (Self(asks), inbox)
    }
}

impl Permits for PermitDesk {
    fn acquire(&self, shard: ShardId) -> BoxFuture<'static, Result<Permit, PermitError>> {
        let asks = self.0.clone();
        async move {
            let (reply, permit) = oneshot::channel();
            asks.send(Ask { shard, reply }).await.map_err(|_| PermitError)?;
            permit.await.map_err(|_| PermitError)
        }
        .boxed()
    }
}
