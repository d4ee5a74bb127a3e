//! A network in memory, on tokio's clock: the twin of QUIC for tests that pause time, lose nodes and cut wires.
//!
//! Promises: the same behaviour towards the transport as QUIC (streams in order, silence noticed after the idle span,
//! a close that may get lost), and with one seed on a single-threaded paused runtime the same run every time.
//! Does not: model certificates, packets or congestion. A lost packet is a delay, since QUIC repeats it.

mod connection;
mod pipe;
mod socket;
mod wire;
mod world;

pub use socket::SimulatedSocket;
pub use world::{SimulatedNetwork, Weather};
