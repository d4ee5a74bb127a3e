//! apolo integration tests.

mod api;
mod cli;
mod cluster;
mod consumer;
mod dashboard;
mod dev;
mod examples;
mod gateway;
mod intents;
mod invite;
mod metrics;
mod model;
mod node;
mod operate;
mod secrets;
mod sharding;
mod simulator;
mod tidy;
mod transport;
