//! Bots made of closures.

use std::{fmt, future, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt as _};

use super::{Context, DynBot, Event, HandlerError, HandlerResult, Notice};
use crate::gateway::EventTypeFlags;

type EventHandler = Arc<dyn Fn(Context, Event) -> BoxFuture<'static, HandlerResult> + Send + Sync>;
type NoticeHandler = Arc<dyn Fn(Context, Notice) -> BoxFuture<'static, ()> + Send + Sync>;

/// A bot put together from closures. A later closure is called after an earlier one of its kind.
#[derive(Clone)]
pub struct ClosureBot {
    event: Option<EventHandler>,
    notices: Vec<NoticeHandler>,
    events: EventTypeFlags,
    typed: bool,
}

/// What a closure may return: nothing, or a result whose error can be logged.
pub trait IntoHandlerResult {
    /// As the node takes it.
    ///
    /// # Errors
    ///
    /// What the handler failed with.
    fn into_handler_result(self) -> HandlerResult;
}

impl IntoHandlerResult for () {
    fn into_handler_result(self) -> HandlerResult {
        Ok(self)
    }
}

impl<E: Into<HandlerError>> IntoHandlerResult for Result<(), E> {
    fn into_handler_result(self) -> HandlerResult {
        self.map_err(Into::into)
    }
}

impl Default for ClosureBot {
    fn default() -> Self {
        Self { event: None, notices: Vec::new(), events: EventTypeFlags::all(), typed: true }
    }
}

impl fmt::Debug for ClosureBot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClosureBot")
            .field("events", &self.events)
            .field("typed", &self.typed)
            .finish_non_exhaustive()
    }
}

impl ClosureBot {
    /// Handles events with `handler`, which replaces an earlier one.
    #[must_use]
    pub fn on_event<F, Fut>(mut self, handler: F) -> Self
    where
        F: Fn(Context, Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoHandlerResult> + Send + 'static,
    {
        self.event = Some(Arc::new(move |context, event| {
            handler(context, event).map(IntoHandlerResult::into_handler_result).boxed()
        }));
        self
    }

    /// Is told notices.
    #[must_use]
    pub fn on_notice<F, Fut>(mut self, handler: F) -> Self
    where
        F: Fn(Context, Notice) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.notices.push(Arc::new(move |context, notice| handler(context, notice).boxed()));
        self
    }

    /// Wants only these events.
    #[must_use]
    pub const fn events(mut self, events: EventTypeFlags) -> Self {
        self.events = events;
        self
    }

    /// Wants events as JSON only.
    #[must_use]
    pub const fn raw(mut self) -> Self {
        self.typed = false;
        self
    }
}

/// The closures return boxed futures already, so they are not boxed once more through [`super::Bot`].
impl DynBot for ClosureBot {
    fn event(self: Arc<Self>, context: Context, event: Event) -> BoxFuture<'static, HandlerResult> {
        match &self.event {
            Some(handler) => handler(context, event),
            None => future::ready(Ok(())).boxed(),
        }
    }

    fn notice(self: Arc<Self>, context: Context, notice: Notice) -> BoxFuture<'static, ()> {
        async move {
            for handler in &self.notices {
                handler(context.clone(), notice.clone()).await;
            }
        }
        .boxed()
    }

    fn events(&self) -> EventTypeFlags {
        self.events
    }

    fn typed(&self) -> bool {
        self.typed
    }
}
