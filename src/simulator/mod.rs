//! A Discord that runs on this machine: `apolo dev`, `apolo simulate`, the tests and the chaos runs talk to it.
//!
//! It promises to be as strict as Discord's documentation, and where that is silent, as strict as anything that was
//! seen: a client that lives with the simulator lives with Discord. Every rule that a client breaks is counted in the
//! [`Truth`], and everything that Discord does wrong now and then can be injected as a [`Fault`].
//!
//! ```text
//!            ┌ http, control ── REST, settings, faults, truth
//! port ─ server
//!            └ connection ─┬ protocol, login ── payloads in
//!                          └ writer ─ codec ─ wire ── payloads out
//!                                │ pull
//!             generate ─▶ shard ─┴ session (replay buffer)
//!               pace       world
//! ```
//!
//! It does not keep messages, channels or members between two events, and serves no REST but what a gateway client
//! needs to start and to answer an interaction. RESUMED is a dispatch with a number of its own that a later RESUME
//! replays; Discord does not document whether it is.

mod armed;
mod codec;
mod connection;
mod control;
mod core;
mod fault;
mod garbage;
mod http;
mod identify;
mod inject;
mod injection;
mod log;
mod login;
mod members;
mod options;
mod pace;
mod payload;
mod protocol;
mod rules;
mod scenario;
mod server;
mod session;
mod shard;
mod truth;
mod wire;
pub mod world;
mod writer;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

pub use fault::{Fault, Garbage, GatewayBot, Url, When};
pub use injection::{InjectError, Injection};
pub use options::Options;
pub use rules::Rule;
pub use scenario::{Scenario, ScenarioError};
use thiserror::Error;
use tokio::{net::TcpListener, time::timeout};
pub use truth::{
    Broken, ConnectionEnd, ConnectionTruth, IdentifyTruth, InteractionTruth, RECORDS_MAX,
    ResumeTruth, SessionEnd, SessionTruth, ShardTruth, Truth,
};

use self::core::Core;

/// A running simulator. Dropped, it stops without waiting for its tasks.
#[derive(Debug)]
pub struct Simulator {
    core: Arc<Core>,
}

/// Why a simulator did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address can't be listened on.
    #[error("listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

impl Simulator {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// [`StartError::Listen`], where the address is taken or not this machine's.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let addr = options.addr;
        let listen = |source| StartError::Listen { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?;
        let core = Arc::new(Core::new(options, bound));
        let router = http::router(&core);
        core.tasks.spawn(server::accept(core.clone(), listener, router));
        core.tasks.spawn(server::sweep(core.clone()));
        Ok(Self { core })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.core.addr
    }

    /// What `DISCORD_API` is to be: `http://127.0.0.1:PORT/api/v10`.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://{}/api/v10", self.core.addr)
    }

    /// What `GET /gateway/bot` names.
    #[must_use]
    pub fn gateway_url(&self) -> String {
        self.core.gateway_url()
    }

    /// What really happened so far.
    #[must_use]
    pub fn truth(&self) -> Truth {
        self.core.truth()
    }

    /// Makes something go wrong.
    ///
    /// # Errors
    ///
    /// [`InjectError`], where the fault could not strike as it says.
    pub fn inject(&self, fault: impl Into<Injection>) -> Result<(), InjectError> {
        inject::inject(&self.core, &fault.into())
    }

    /// Disarms every fault and lets stalled connections go on.
    pub fn clear_faults(&self) {
        inject::clear(&self.core);
    }

    /// Plays a scenario, from now on, beside everything else.
    pub fn play(&self, scenario: Scenario) {
        self.core.tasks.spawn(scenario::play(self.core.clone(), scenario));
    }

    /// Sets the dispatches a second over the whole bot.
    pub fn set_event_rate(&self, per_second: f64) {
        self.core.set_rate(Some(per_second));
    }

    /// Cuts every connection and stops. What does not end in [`STOP_TIMEOUT`] is left to the runtime.
    pub async fn stop(self) {
        self.core.stop();
        let _ = timeout(STOP_TIMEOUT, self.core.tasks.wait()).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.core.stop();
    }
}

/// How long [`Simulator::stop`] waits for connections to end.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(2);
