//! Runs a Discord bot's gateway shards as one highly available service, with no external state store.

pub mod agent;
mod apolo;
pub mod backup;
pub mod bot;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod consumer;
pub mod control;
pub mod gateway;
pub mod http;
pub mod invite;
pub mod ipc;
pub mod kubernetes;
pub mod kv;
pub mod lease;
pub mod model;
pub mod node;
pub mod placement;
pub mod raft;
pub mod simulator;
pub mod state;
pub mod store;
pub mod telemetry;
pub mod timeline;
pub mod transport;

pub use apolo::Apolo;
pub use bot::{Bot, Context, Event, GuildTotals, HandlerResult, LostRange, Notice, SendError};
pub use gateway::EventTypeFlags;
pub use model::*;
pub use node::{Node, NodeError};
pub use twilight_model;
