//! What has happened in the cluster, in the words in which people tell it: nodes that came and went, shards that moved,
//! and how long they were without an owner that runs them.
//!
//! Every node reads it off the replicated state, so that all tell the same story, each from when it has started. It is
//! memory only: what happened before a node's start is in the log lines of the leader of that time.
//!
//! ```text
//!  states ──▶ Narrator ──facts──▶ Timeline ──▶ /api/v1/events, the page, `apolo events`
//!             diff, spans     └─▶ the leader's log lines and metrics
//! ```

mod diff;
mod fact;
mod log;
mod narrator;
mod spans;
#[cfg(test)]
mod tests;

pub use fact::{Entry, Fact, Kind};
pub use log::{ENTRIES_MAX, Timeline};
pub use narrator::Narrator;
