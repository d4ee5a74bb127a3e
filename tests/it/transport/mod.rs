//! Two nodes and more, over real sockets on loopback and in the simulated network.

mod authority;
mod certificates;
mod door;
mod expiry;
mod figures;
mod handshakes;
mod joiner;
mod limits;
mod peers;
mod rank;
mod renewal;
mod simulated;
pub(crate) mod support;
