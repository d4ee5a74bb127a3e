//! Becoming a member of a cluster, and finding the others again.
//!
//! ```text
//!  peers, discover ─▶ addresses ─▶ look ─▶ decide ─▶ join | found ─▶ promises of all ─▶ formed
//!                                   ▲                                        │
//!                      desk: what others ask ◀── the promise file ◀──────────┘
//!  directory: while a member, node id ─▶ where it is now
//! ```
//!
//! **The rule.** A node founds a cluster only if every address that it was given has answered, those who answered and
//! itself are exactly the N distinct nodes of `--expect N`, all of them say that they are empty, expect N and see
//! exactly these nodes, no two have one name, and its own name is the lowest. Then all N promise durably, and only then
//! is the cluster formed. With `--expect 1` and no peers that is at once; with peers, when all have answered.
//!
//! It promises that no node is ever one of two clusters' founding members, that a node that lost a cluster joins that
//! one or none, and that it never chooses between two. There is no majority here and no timeout: whoever can't be sure
//! waits, and says what for. Two groups that are told nothing of each other form two clusters; nobody could know.
//!
//! It does not know Raft: whoever is told [`Outcome::Formed`] or [`Outcome::Join`] starts it.

mod book;
mod decide;
mod desk;
pub mod directory;
mod discover;
mod look;
mod peers;
mod seek;
mod waiting;
mod wire;

pub use decide::{Decision, Heard, Standing, Verdict, View, consider, decide, sees};
pub use directory::Directory;
pub use discover::{Candidates, Resolution};
pub use look::members;
pub use peers::{Discover, PORT, PeerAddress, PeerError};
pub use seek::{Outcome, Seek, SeekError};
pub use waiting::Waiting;
pub use wire::{Answer, Caller, Neighbour, Question, WireError};
