//! Breaks apolo on purpose.
//!
//! `kills` kills a node under load, `clusters` the nodes of a cluster; `powerloss` is a volume that forgets what was not synced; `durability` asks what survives on it; `linear` checks whether recorded answers have an order.

pub mod clusters;
pub mod durability;
pub mod kills;
pub mod linear;
pub mod powerloss;
