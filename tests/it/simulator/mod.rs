//! The simulator, seen through a small client of its own.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod client;
mod commands;
mod faults;
mod http;
mod rules;
mod session;
