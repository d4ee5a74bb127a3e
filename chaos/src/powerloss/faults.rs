use std::time::Duration;

/// What the volume does wrong while its power is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Makes fsync and fdatasync of files fail with EIO. As on Linux the changes that such a sync should have written
    /// stay readable, but no later sync writes them.
    pub fsync_error: Option<FsyncError>,
    /// Holds each fsync and fdatasync of a file for this long before it does its work. A stall ends early when it is
    /// cleared or the power goes.
    pub fsync_stall: Option<Duration>,
    /// Makes every write fail with EIO.
    pub write_error: bool,
}

/// How long syncs fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsyncError {
    /// The next one only, as a transient error of the drive.
    Once,
    /// All of them.
    Always,
}

impl Faults {
    /// Whether the sync at hand fails; a transient error is used up by it.
    pub(super) fn fsync_fails(&mut self) -> bool {
        match self.fsync_error {
            None => false,
            Some(FsyncError::Always) => true,
            Some(FsyncError::Once) => {
                self.fsync_error = None;
                true
            }
        }
    }
}
