//! What operators do to a cluster of whole nodes, with the binary's own commands.

mod remove;
mod support;
mod transfer;
