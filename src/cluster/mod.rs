//! Becoming a member of a cluster, and finding the others again.
//!
//! So far: from what an operator writes to the addresses where peers may be, resolved anew each time. It promises that
//! nothing is cached and that a name that does not resolve is told; it does not ask anybody there.

mod discover;
mod peers;

pub use discover::{Candidates, Resolution};
pub use peers::{Discover, PORT, PeerAddress, PeerError};
