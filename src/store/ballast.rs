//! Space that is held back, so that a node on a full disk can start once more.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::sync::{self, FILE_MODE};

/// The file's name.
pub(super) const FILE: &str = "ballast";

/// Its size, in bytes: some ten times what sled needs to open, and a few hours of a small bot's log.
pub(super) const BYTES: u64 = 8 * 1024 * 1024;

/// Makes sure that the ballast is there. Where there is no space for it, none is kept: `false`.
pub(super) fn load(directory: &Path) -> io::Result<bool> {
    let path = directory.join(FILE);
    if path.metadata().is_ok_and(|metadata| metadata.len() == BYTES) {
        return Ok(true);
    }
    match fill(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            sync::remove(&path)?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Gives the space back. `false` if there is none to give.
pub(super) fn release(directory: &Path) -> io::Result<bool> {
    let path = directory.join(FILE);
    let held = path.exists();
    sync::remove(&path)?;
    Ok(held)
}

fn fill(path: &Path) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    // Zeros may be stored as a hole, and then no space is held.
    let block = [0xb5; 64 * 1024];
    let mut left = BYTES;
    while left > 0 {
        file.write_all(&block)?;
        left -= block.len() as u64;
    }
    Ok(())
}
