//! A file that holds what a bot keeps, at one revision: to be kept elsewhere, and restored into any cluster.
//!
//! It promises that a file that was cut short anywhere, of which any bit has changed, that is another program's or a
//! newer apolo's, is told apart from a whole one, and each by what is to be done about it; and that no length in a file
//! makes a reader take more memory than the file has.
//!
//! It does not hold what belongs to a cluster's own life: which node owns which shard, sessions and their checkpoints,
//! spent identifies, members, certificates, tokens, held locks. Restored elsewhere or later these would be dead, or
//! dangerous: a session that Discord continues for another, an identify that was spent and is granted again.
//!
//! ```text
//!  magic 8 · version u32 · crc32 of both            the same in all versions
//!  frame: Header                                    what it is, from where, how much
//!  frame: Chunk …                                   items, as the log of a restore carries them
//!  frame: End                                       chunks, and a digest of header and chunks
//!
//!  frame = kind u8 · length u32 · crc32 of the payload · crc32 of those three · payload        (little-endian)
//! ```

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::{Backup, BackupError, read};
pub use write::frames;

use serde::{Deserialize, Serialize};

use crate::model::{ClusterId, UnixMillis};

/// The format that is written.
pub const VERSION: u32 = 1;

/// No file is longer: all that a cluster keeps takes less room in it than it counts there.
pub const FILE_BYTES_MAX: usize = 80 * 1024 * 1024;

/// What a file begins with. A copy that takes it for text changes its first byte or its line end.
const MAGIC: &[u8; 8] = b"\x89APOLO\r\n";

/// Magic, version and checksum.
const PREAMBLE: usize = 16;

/// Kind, length and two checksums.
const FRAME: usize = 13;

/// Of a header or an end: some numbers, an id and a version's name.
const SHORT_BYTES_MAX: usize = 1_024;

/// A frame's kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
enum FrameKind {
    Header = 1,
    Chunk = 2,
    End = 3,
}

/// What a file says of itself.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The cluster that it was made of.
    pub cluster: ClusterId,
    /// When, by the clock of the node that made it.
    pub made_at: UnixMillis,
    /// That node's version.
    pub apolo: String,
    /// The last change that it holds.
    pub revision: u64,
    /// What it holds.
    pub counts: Counts,
    /// What that counts of the limit of a cluster, in bytes.
    pub bytes: u64,
    /// Locks that were held, and are left out.
    pub locks: u64,
}

/// How much of each kind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Values.
    pub values: u64,
    /// Counters.
    pub counters: u64,
    /// Leaderboards.
    pub leaderboards: u64,
    /// The members of all leaderboards.
    pub members: u64,
}

impl Counts {
    /// How many keys.
    #[must_use]
    pub const fn keys(&self) -> u64 {
        self.values + self.counters + self.leaderboards
    }
}

/// A file's last words.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct End {
    chunks: u32,
    digest: [u8; 32],
}

/// The digest of a file without chunks.
fn seed(header: &[u8]) -> [u8; 32] {
    crate::state::user::chained(&[0; 32], header)
}
