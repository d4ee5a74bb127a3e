//! The supervisor against the simulator, with every fault of the catalogue (G1–G16).

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod account;
mod fatal;
mod fleet;
mod garbage;
mod lost;
mod network;
mod slow;
