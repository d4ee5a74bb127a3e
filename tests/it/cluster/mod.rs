//! Nodes that become a cluster and find each other again: on a paused clock in the simulated network, and over QUIC.

mod forming;
mod joining;
mod members;
mod real;
mod support;
