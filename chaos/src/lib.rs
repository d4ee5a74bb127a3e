//! Breaks apolo on purpose.
//!
//! `kills` kills a node under load; `powerloss` is a volume that forgets what was not synced; `durability` asks what survives on it.

pub mod durability;
pub mod kills;
pub mod powerloss;
