//! The port for the bot's author: what handles events, and what it is told.
//!
//! A [`Bot`] sees typed events, the raw JSON beside them, and a [`Context`] that says where the event came from. Events
//! of one guild reach it in order, different guilds concurrently; each at least once, and a second delivery says so.
//! What a handler does wrong (an error, a panic) costs its event, is counted and logged, and the shard goes on.

mod closure;
mod context;
mod event;
mod notice;
mod route;

pub use closure::{ClosureBot, IntoHandlerResult};
pub use context::{Context, GuildTotals, SendError};
pub use event::{DecodeError, Event};
pub use notice::{LostRange, Notice};
pub(crate) use {
    context::{Position, Shared},
    route::guild_of,
};

use std::{error::Error, fmt, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt as _};
use thiserror::Error;

use crate::gateway::EventTypeFlags;

/// What went wrong in a handler. It is logged and counted; the event is not delivered again.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// A handler's error by which the event is not handled: the checkpoint stays before it, and the shard's next owner gets it.
/// Only while the shard stops: on one that runs nothing would bring the event again.
#[derive(Debug, Error)]
#[error("the event is left to the shard's next owner")]
pub(crate) struct Unhandled;

/// What a handler returns.
pub type HandlerResult = Result<(), HandlerError>;

/// A bot.
///
/// ```
/// use apolo::{Bot, Context, Event, HandlerResult, twilight_model::gateway::event::DispatchEvent};
///
/// struct Greeter;
///
/// impl Bot for Greeter {
///     async fn event(&self, context: Context, event: Event) -> HandlerResult {
///         if let Some(DispatchEvent::MessageCreate(message)) = event.typed() {
///             println!("shard {}: {}", context.shard(), message.content);
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Bot: Send + Sync + 'static {
    /// Handles an event. The events of one guild are handed over one after the other, those of different guilds
    /// concurrently. When it returns, the event counts as handled and is not delivered again.
    fn event(&self, context: Context, event: Event) -> impl Future<Output = HandlerResult> + Send;

    /// Is told what happens to a shard. Does nothing by default.
    fn notice(&self, context: Context, notice: Notice) -> impl Future<Output = ()> + Send {
        let _ = (context, notice);
        async {}
    }

    /// Which events the bot wants. Others count as handled without being decoded. All by default.
    fn events(&self) -> EventTypeFlags {
        EventTypeFlags::all()
    }

    /// Whether events are decoded into twilight's types before they are handed over. Without it a bot works on
    /// [`Event::raw`] and saves the time; [`Event::typed`] is then always `None`.
    fn typed(&self) -> bool {
        true
    }
}

/// A [`Bot`] whose type is not known, as the node holds it.
pub trait DynBot: Send + Sync + fmt::Debug + 'static {
    /// [`Bot::event`].
    fn event(self: Arc<Self>, context: Context, event: Event) -> BoxFuture<'static, HandlerResult>;
    /// [`Bot::notice`].
    fn notice(self: Arc<Self>, context: Context, notice: Notice) -> BoxFuture<'static, ()>;
    /// [`Bot::events`].
    fn events(&self) -> EventTypeFlags;
    /// [`Bot::typed`].
    fn typed(&self) -> bool;
}

/// Hides a bot's type.
pub(crate) struct Erased<B>(pub(crate) B);

impl<B> fmt::Debug for Erased<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bot")
    }
}

impl<B: Bot> DynBot for Erased<B> {
    fn event(self: Arc<Self>, context: Context, event: Event) -> BoxFuture<'static, HandlerResult> {
        async move { self.0.event(context, event).await }.boxed()
    }

    fn notice(self: Arc<Self>, context: Context, notice: Notice) -> BoxFuture<'static, ()> {
        async move { self.0.notice(context, notice).await }.boxed()
    }

    fn events(&self) -> EventTypeFlags {
        self.0.events()
    }

    fn typed(&self) -> bool {
        self.0.typed()
    }
}
