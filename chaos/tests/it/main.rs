//! apolo's chaos tests: what breaks apolo on purpose, and what must hold all the same.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

/// Held by a test that loads the whole machine: side by side they would starve each other.
static MACHINE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

mod cluster;
mod durability;
mod kills;
mod kubelet;
mod linear;
mod volume;
