//! One shard's connection to Discord: connect, identify or resume, read, close the right way, and try again.
//!
//! A [`Supervisor`] stands above twilight-gateway and does what twilight 0.18 leaves to its caller: back-off after
//! every close, timers for HELLO, READY, RESUMED and silence, the ladder from "same session" to "new session", bounds
//! on what is read. It yields [`Item`]s through a bounded queue and never waits for whoever takes them, because
//! twilight sends heartbeats only while it is polled.
//!
//! It does not know bots, the cluster or the disk: leave to IDENTIFY comes through [`Permits`], and what is handled is
//! somebody else's to know.
//!
//! ```text
//!  Discord ──▶ twilight Shard ──▶ supervisor ──Item──▶ (bounded queue) ──▶ whoever delivers
//!                                    ▲  │ Status (watch)
//!                     Control, stop ─┘  └─▶ Permits
//! ```

mod batch;
mod board;
mod connection;
mod control;
mod core;
mod feed;
mod gate;
mod held;
mod hosts;
mod intake;
mod ladder;
mod link;
mod name;
mod options;
mod payload;
mod port;
mod rest;
#[cfg(test)]
mod script;
mod sequencer;
mod stop;
mod supervisor;
#[cfg(test)]
mod tests;

pub use board::Received;
pub use control::{COMMAND_BYTES_MAX, COMMANDS_WAITING_MAX, Commands, Control, SendError};
pub use feed::{Feed, FeedLimits};
pub use hosts::{DISCORD_API, Hosts, RefusedUrl};
pub use ladder::Backoff;
pub use name::EventName;
pub use options::{Options, Profile, ResumePoint, Timers};
pub use payload::PayloadLimits;
pub use port::{
    Dispatch, Exit, FatalClose, Item, LostReason, Oddity, Permit, PermitError, Permits, Phase,
    Status,
};
pub use rest::{ApplicationInfo, GatewayInfo, Rest, RestError, RestLimits, SessionStartLimit};
pub use stop::Stop;
pub use supervisor::{Handles, Supervisor};
pub use twilight_gateway::{EventTypeFlags, Intents};
#[cfg(test)]
pub(crate) use {
    control::test_commands,
    feed::{Intake, feed},
};
