//! The disk: a Raft log, a vote and a snapshot that survive a power cut, or a clear word that they did not.
//!
//! ```text
//!   Write ──► queue ──► writer thread ──► sled ──► flush + fdatasync ──► identity file ──► Done
//!                        (one per node)              (the barrier)      (slot, fdatasync)
//! ```
//!
//! It promises that a vote, an append or a truncation is on the disk before its [`Done`] is called; that what [`open`]
//! returns is what was acknowledged, checked record by record and against a file outside sled; and that a directory
//! that fails this check is put aside, so that the node that lost its memory can't vote with it. After the first error
//! of the disk every later write fails: what an fsync that failed has lost, no second fsync finds.
//!
//! It does not know Raft's rules, entries or states: positions are compared, the rest is bytes. It does not notice a
//! directory that was restored from an old copy.
//!
//! sled's own `flush` is no barrier (sled#1452): it asks for `sync_file_range`, which neither writes the file's
//! metadata nor empties the drive's cache.

mod ballast;
mod directory;
mod disk;
mod error;
mod farewell;
mod frame;
mod gate;
mod identity;
mod log;
mod memory;
mod open;
mod promise;
mod pulse;
mod quarantine;
mod snapshot;
mod sync;
#[cfg(test)]
mod tests;
mod write;
mod writer;

pub use disk::Disk;
pub use error::{Damage, OpenError, WriteError};
pub use farewell::{
    Farewell, confirm_farewell, has_left, intend_farewell, meant_to_leave, say_farewell,
    withdraw_farewell,
};
pub use identity::Identity;
pub use log::Barrier;
pub use memory::Memory;
pub use open::{Opened, Options, Repair, is_begun, open, set_aside};
pub use promise::Promise;
pub use pulse::Pulse;
pub use quarantine::Tombstone;
#[cfg(test)]
pub(crate) use tests::hold::Hold;
pub use write::{Backend, Done, Position, Record, Recovered, Snapshot, Vote, Write};
