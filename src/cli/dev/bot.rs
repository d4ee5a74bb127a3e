//! The bot of `apolo dev`: one that remembers what it got, and whoever connects.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _};

use super::recorder::Recorder;
use crate::bot::{Bot as _, Context, DynBot, Event, HandlerResult, Notice};
use crate::consumer::Consumers;
use crate::gateway::EventTypeFlags;

/// Hands every event to both. It is handled when both have handled it.
#[derive(Debug)]
pub(super) struct DevBot {
    pub(super) recorder: Recorder,
    pub(super) consumers: Arc<Consumers>,
}

impl DynBot for DevBot {
    fn event(self: Arc<Self>, context: Context, event: Event) -> BoxFuture<'static, HandlerResult> {
        async move {
            let raw = event.raw_copy();
            self.recorder.event(context.clone(), event).await?;
            Arc::clone(&self.consumers).event(context, raw).await
        }
        .boxed()
    }

    fn notice(self: Arc<Self>, context: Context, notice: Notice) -> BoxFuture<'static, ()> {
        async move {
            self.recorder.notice(context.clone(), notice.clone()).await;
            Arc::clone(&self.consumers).notice(context, notice).await;
        }
        .boxed()
    }

    fn events(&self) -> EventTypeFlags {
        EventTypeFlags::all()
    }

    fn typed(&self) -> bool {
        true
    }
}
