//! What operators do to a cluster of whole nodes, with the binary's own commands.

mod backup;
mod ipc;
mod kv;
mod leave;
mod recover;
mod remove;
mod rotate;
mod scale_in;
mod stop;
mod story;
pub(crate) mod support;
mod transfer;
mod watch;
