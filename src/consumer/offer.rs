//! An event on its way to consumers.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::group::Group;
use crate::bot::{Context, Event};
use crate::lease::Fence;
use crate::model::{Epoch, Sequence, SessionNumber, ShardId};

/// Which event, and for how long it may be delivered.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) event: Event,
    pub(super) shard: ShardId,
    pub(super) session: SessionNumber,
    pub(super) sequence: Sequence,
    pub(super) epoch: Epoch,
    pub(super) redelivered: bool,
    pub(super) fence: Fence,
    /// The shard takes no more events.
    pub(super) stopping: CancellationToken,
    /// The shard runs no more.
    pub(super) over: CancellationToken,
}

/// What became of an event.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Settled {
    /// Every group has acknowledged it; one may have said what went wrong.
    Handled(Result<(), String>),
    /// Nobody has it, and the shard stops: its next owner's consumers get it.
    Unhandled,
}

/// An event, until every group that it was offered to has settled it.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) number: u64,
    pub(super) parcel: Parcel,
    pending: Mutex<Pending>,
}

#[derive(Debug)]
struct Pending {
    groups: BTreeSet<Group>,
    error: Option<String>,
    told: Option<oneshot::Sender<Settled>>,
}

impl Parcel {
    pub(super) fn new(context: &Context, event: Event) -> Self {
        Self {
            event,
            shard: context.shard(),
            session: context.session(),
            sequence: context.sequence(),
            epoch: context.epoch(),
            redelivered: context.redelivered(),
            fence: context.fence().clone(),
            stopping: context.stopping().clone(),
            over: context.cancelled().clone(),
        }
    }
}

impl Offer {
    /// An offer to `groups`, and where it is told what became of it.
    pub(super) fn new(
        number: u64,
        parcel: Parcel,
        groups: BTreeSet<Group>,
    ) -> (Arc<Self>, oneshot::Receiver<Settled>) {
        let (told, settled) = oneshot::channel();
        let pending = Mutex::new(Pending { groups, error: None, told: Some(told) });
        (Arc::new(Self { number, parcel, pending }), settled)
    }

    /// A group needs it no more.
    pub(super) fn settle(&self, group: &Group, error: Option<String>) {
        let mut pending = self.pending();
        pending.groups.remove(group);
        pending.error = pending.error.take().or(error);
        if pending.groups.is_empty()
            && let Some(told) = pending.told.take()
        {
            let _ = told.send(Settled::Handled(pending.error.take().map_or(Ok(()), Err)));
        }
    }

    /// Nobody is to settle it.
    pub(super) fn abandon(&self) {
        if let Some(told) = self.pending().told.take() {
            let _ = told.send(Settled::Unhandled);
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
