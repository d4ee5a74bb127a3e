//! The library's front door.

use std::{future::Future, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;

use crate::bot::{
    Bot, ClosureBot, Context, DynBot, Erased, Event, HandlerError, IntoHandlerResult, Notice,
};
use crate::config::{self, Config, ConfigErrors, Environment, Sources};
use crate::gateway::EventTypeFlags;
use crate::ipc::{Call, Handlers};
use crate::model::ShardId;
use crate::node::{Node, NodeError, Options, shutdown_requested};
use crate::telemetry::Metrics;

/// A bot and what it runs with.
///
/// ```no_run
/// use apolo::Apolo;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// Apolo::from_env()?
///     .on_event(|context, event| async move {
///         println!("shard {}: {}", context.shard(), event.name());
///     })
///     .run()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Apolo {
    config: Config,
    bot: ClosureBot,
    handlers: Handlers,
}

impl Apolo {
    /// Runs with what the environment says (`DISCORD_TOKEN`, `DISCORD_INTENTS`, `APOLO_DATA_DIR`, …), and with the file
    /// that `APOLO_CONFIG` names.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] with everything that is wrong: the value, where it came from, what would be right.
    pub fn from_env() -> Result<Self, ConfigErrors> {
        let sources = Sources { environment: Environment::of_process(), ..Sources::default() };
        Ok(Self::new(config::load(&sources)?.config))
    }

    /// Runs with this configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, bot: ClosureBot::default(), handlers: Handlers::default() }
    }

    /// Handles events with a closure, which may return nothing or a `Result`. The last one counts.
    #[must_use]
    pub fn on_event<F, Fut>(mut self, handler: F) -> Self
    where
        F: Fn(Context, Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoHandlerResult> + Send + 'static,
    {
        self.bot = self.bot.on_event(handler);
        self
    }

    /// Is told what happens to shards.
    #[must_use]
    pub fn on_notice<F, Fut>(mut self, handler: F) -> Self
    where
        F: Fn(Context, Notice) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.bot = self.bot.on_notice(handler);
        self
    }

    /// Runs `handler` for other shards' messages of this event: see [`Ipc`](crate::ipc::Ipc), which a handler of events
    /// finds in its [`Context::ipc`].
    ///
    /// ```no_run
    /// # fn register(apolo: apolo::Apolo) -> apolo::Apolo {
    /// apolo.register_handler("double", |_call, n: u64| async move { Ok(2 * n) })
    /// # }
    /// ```
    #[must_use]
    pub fn register_handler<Q, A, F, Fut>(self, event: impl Into<String>, handler: F) -> Self
    where
        Q: DeserializeOwned + Send + 'static,
        A: Serialize + Send + 'static,
        F: Fn(Call, Q) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, HandlerError>> + Send + 'static,
    {
        self.handlers.register(event, false, handler);
        self
    }

    /// Is told when a shard is connected: the seed's `shardReady`.
    #[must_use]
    pub fn on_shard_ready<F, Fut>(self, handler: F) -> Self
    where
        F: Fn(ShardId) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.on_shard(|notice| matches!(notice, Notice::ShardReady { .. }), handler)
    }

    /// Is told when a shard is given up for dead: the seed's `shardDead`.
    #[must_use]
    pub fn on_shard_dead<F, Fut>(self, handler: F) -> Self
    where
        F: Fn(ShardId) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.on_shard(|notice| matches!(notice, Notice::ShardDead { .. }), handler)
    }

    fn on_shard<F, Fut>(self, meant: fn(&Notice) -> bool, handler: F) -> Self
    where
        F: Fn(ShardId) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.on_notice(move |context, notice| {
            let told = meant(&notice).then(|| handler(context.shard()));
            async move {
                if let Some(told) = told {
                    told.await;
                }
            }
        })
    }

    /// Wants only these events. Others count as handled and are not decoded.
    #[must_use]
    pub fn events(mut self, events: EventTypeFlags) -> Self {
        self.bot = self.bot.events(events);
        self
    }

    /// Wants events as JSON only ([`Event::raw`]), and saves the time to decode them.
    #[must_use]
    pub fn raw(mut self) -> Self {
        self.bot = self.bot.raw();
        self
    }

    /// Starts the node with the closures given so far, and returns once it is a member of its cluster.
    ///
    /// # Errors
    ///
    /// [`NodeError`]: what is wrong, and what to do about it.
    pub async fn start(self) -> Result<Node, NodeError> {
        Box::pin(Node::start(options(self.config, Arc::new(self.bot), self.handlers))).await
    }

    /// Starts the node and runs it until SIGTERM or SIGINT; then lets handlers finish, commits what they did, and
    /// returns. A second signal ends the process at once.
    ///
    /// # Errors
    ///
    /// [`NodeError`] where it did not start, or could not go on.
    pub async fn run(self) -> Result<(), NodeError> {
        run(options(self.config, Arc::new(self.bot), self.handlers)).await
    }

    /// As [`Apolo::run`], with a bot that is more than a closure.
    ///
    /// # Errors
    ///
    /// As [`Apolo::run`].
    pub async fn run_bot(self, bot: impl Bot) -> Result<(), NodeError> {
        run(options(self.config, Arc::new(Erased(bot)), self.handlers)).await
    }

    /// As [`Apolo::start`], with a bot that is more than a closure.
    ///
    /// # Errors
    ///
    /// As [`Apolo::start`].
    pub async fn start_bot(self, bot: impl Bot) -> Result<Node, NodeError> {
        Box::pin(Node::start(options(self.config, Arc::new(Erased(bot)), self.handlers))).await
    }
}

fn options(config: Config, bot: Arc<dyn DynBot>, handlers: Handlers) -> Options {
    // A bot that has a recorder of its own keeps it.
    let metrics = Metrics::start().ok();
    Options { handlers, metrics, ..Options::new(config, bot) }
}

async fn run(options: Options) -> Result<(), NodeError> {
    let stop = CancellationToken::new();
    let signals = tokio::spawn(shutdown_requested(stop.clone()));
    let node = tokio::select! {
        node = Box::pin(Node::start(options)) => node?,
        () = stop.cancelled() => return Ok(()),
    };
    let ran = Box::pin(node.run(stop)).await;
    signals.abort();
    ran
}
