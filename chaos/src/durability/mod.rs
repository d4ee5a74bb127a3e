//! Whether what was acknowledged survives a power loss.
//!
//! A child process appends numbered, self-checking entries and rising votes to a [`Subject`] on a
//! [`Volume`](crate::powerloss::Volume) and says on its standard output what is acknowledged. At some moment it is
//! killed and the volume loses its power; a second child opens what is left and says what it found; [`judge`] compares.
//!
//! ```text
//! parent:  Volume ── kill + power_cut ──▶ restore ──▶ judge(acknowledged, found)
//! children:  writer ──"entry 41"──▶            checker ──Found──▶
//! ```
//!
//! [`rounds`] takes random moments, one after the other on the same volume; [`sweep`] takes every storage operation of
//! a scripted workload, [`meet`] lets the disk fail first. Real processes die, so no destructor and no flush at exit can help the subject, and one that
//! hangs on what it finds is killed at a deadline and counted.
//!
//! It does not test a node: elections and rejoining belong to the cluster's tests.

mod bare_sled;
mod checker;
mod child;
mod entry;
mod protocol;
mod report;
mod rounds;
mod store;
mod subject;
mod sweep;
mod trouble;
mod verdict;
mod writer;

pub use checker::check;
pub use child::ChildError;
pub use entry::Mark;
pub use protocol::Found;
pub use report::Report;
pub use rounds::{RoundOptions, rounds};
pub use subject::Subject;
pub use sweep::{SweepOptions, sweep};
pub use trouble::{Met, Trouble, TroubleOptions, meet};
pub use verdict::{Acknowledged, Verdict, judge};
pub use writer::{WriterOptions, write};
