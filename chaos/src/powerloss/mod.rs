//! A volume that can lose power: a small file system which knows what was made durable.
//!
//! [`Volume::mount`] serves an in-memory file system through FUSE. Every file has two images, the one that programs
//! read and the one that would be on the platter, and a list of the changes between them. Only fsync and fdatasync of
//! *that file* move changes over; names (created, renamed, removed) move over only with an fsync of *their directory*.
//! [`Volume::power_cut`] throws away what lies between, in one of the ways of [`Loss`].
//!
//! ```text
//! write, truncate ──▶ live image ──fsync(file)──▶ durable image
//! create, rename, unlink ──▶ live names ──fsync(directory)──▶ durable names
//!                     power_cut: live := durable (+ what the loss lets survive)
//! ```
//!
//! It promises to be at least as forgetful as a real disk: `sync_file_range`, `close`, time and memory pressure make
//! nothing durable. It does not model read errors, bit rot, or drives that lie about a flush. It needs root and
//! `/dev/fuse`, but neither libfuse nor `fusermount`: [`available`] says in one sentence what is missing.

mod adapter;
mod available;
mod content;
mod disk;
mod faults;
mod loss;
mod machine;
mod names;
mod stale;
mod volume;

pub use available::available;
pub use faults::{Faults, FsyncError};
pub use loss::{Loss, Sector};
pub use machine::{Stats, VolumeOptions};
pub use names::NameRule;
pub use volume::Volume;
