//! What shards say to each other: requests and broadcasts, straight from node to node.
//!
//! Promises: a message takes one QUIC stream between the two nodes that it concerns, or none within a node; no leader
//! and no log is on its way; a handler runs once for each message and receiver while the receiver's owner lives, however
//! often the message is sent again, and also when it has handed the receiver on meanwhile, since whoever may have met a
//! message is asked before the next owner is; whoever asks gets an answer or a typed error by its deadline.
//! Does not: remember a message over a crash of its receiver's owner, or keep two messages in order.
//!
//! ```text
//!  request, broadcast ─▶ client: route by the state ─┬─ here ──────────────────────────▶ local: once, handlers
//!                           ▲ moved: the next owner  └─ elsewhere ─ stream ─▶ server ──▶ local there
//! ```

mod client;
mod error;
mod handlers;
mod local;
mod message;
mod once;
mod route;
mod server;
#[cfg(test)]
mod tests;
mod traffic;
mod wire;

pub use client::{Answers, Ipc, Options, RequestOptions, TIMEOUT, TIMEOUT_MAX};
pub use error::IpcError;
pub(crate) use handlers::Answer;
pub use handlers::{Call, Handlers};
pub use local::Residents;
pub use message::{DATA_MAX, MessageId, MessageKind, Receiver, Sender};
pub use route::{Everyone, Target};
pub(crate) use wire::Failure;
