//! Bots in any language: processes beside a node, each on a WebSocket, which get its shards' events and speak as its shards.
//!
//! Promises: an event counts as handled once one consumer of each group has acknowledged it; until then it is sent again to
//! whoever takes the place of one that has gone, and says so. Events of one guild come in order, those of a shard to one
//! consumer of a group for as long as that stays. Nothing is sent for a shard that this node may not run any more. A
//! consumer that is slow, silent or hostile costs its own connection, and slows its own node's shards and nothing else.
//! Does not: keep anything over the node's restart, which asks Discord for what was not acknowledged; encrypt, since it
//! listens on the loopback address unless it is told otherwise.
//!
//! ```text
//!  Deliverer ─▶ Consumers (a bot) ─▶ pool: whose is it? ─▶ connection ─▶ consumer ─▶ ack ─▶ pool ─▶ handled
//!  other shards' messages ─▶ calls: who has registered? ─▶ connection ─▶ consumer ─▶ answer
//!                    consumer ─▶ asks: request, broadcast, command, kv, health ─▶ ipc, agent, http::Source
//! ```
//!
//! Each text frame is one JSON object with a `type`. `docs/CONSUMERS.md` lists them.

mod asks;
mod bot;
mod calls;
mod connection;
mod group;
mod handshake;
mod members;
mod offer;
mod pool;
mod said;
mod server;
#[cfg(test)]
mod tests;
mod token;
mod told;
mod traffic;

pub use bot::Consumers;
pub use group::{GROUP_DEFAULT, Group, GroupError};
pub use server::{PATH, Server};
pub use token::{TOKEN_FILE, TokenError, token};

pub(crate) use server::Hub;
