//! The world that the simulated Discord tells of: guilds with their members, and everything that happens in them.
//!
//! Each shard has its own [`ShardWorld`], which promises:
//! - the same seed, shard and total give the same guilds and the same events, on every platform;
//! - guild ids are routed to their shard by Discord's rule, and the shards' counts add up to the bot's guilds;
//! - every payload is valid JSON that a client's types accept, with names that need escapes;
//! - guilds joined, left and in an outage are counted, so that the counts are true at any time.
//!
//! A guild takes 24 bytes: its channels, roles and members follow from its id when they are written.
//!
//! It knows nothing of sessions, sequences or sockets. It sends everything; whoever sends it on asks
//! [`Event::data_for`] what a session's intents let through.

mod event;
mod kind;
mod members;
mod mix;
mod names;
mod payload;
mod population;
mod profile;
mod recent;
mod shard_world;
mod snowflake;
mod text;
mod write;

pub use event::Event;
pub use kind::EventKind;
pub use members::MembersQuery;
pub use profile::{Guild, bot_id};
pub use shard_world::ShardWorld;
pub use snowflake::snowflakes;

use crate::model::ShardTotal;

/// Which world.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WorldOptions {
    /// Everything random follows from it.
    pub seed: u64,
    /// Guilds over the whole bot.
    pub guilds: u64,
    /// Shards that they are split over.
    pub total: ShardTotal,
}

#[cfg(test)]
mod tests;
