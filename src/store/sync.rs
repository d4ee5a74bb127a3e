//! Small files and directories, durably.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Files are for the user that runs apolo alone.
pub(super) const FILE_MODE: u32 = 0o600;

/// Writes a file so that a power cut leaves the old content or the new, and returns once the new is durable.
pub(super) fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&new)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    fs::rename(&new, path)?;
    parent(path)
}

/// Makes the names in a directory durable.
pub(super) fn directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a path's own name durable.
pub(super) fn parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => directory(parent),
        _ => directory(Path::new(".")),
    }
}

/// Deletes a file that may be absent.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
