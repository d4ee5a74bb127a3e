//! apolo integration tests.

mod api;
mod cli;
mod gateway;
mod intents;
mod node;
mod sharding;
mod simulator;
mod tidy;
