//! apolo's chaos tests: what breaks apolo on purpose, and what must hold all the same.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod cluster;
mod durability;
mod kills;
mod volume;
