//! Backups on a disk.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use super::Failure;
use crate::backup::FILE_BYTES_MAX;

/// Whether a backup may be put there, as far as can be seen before it is made.
pub(super) fn check(path: &Path, force: bool) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(Failure::usage(format!("{} is a directory", path.display()))
            .help("Name the file that the backup is to be."));
    }
    // Whatever else is there would be replaced by a file.
    if path.exists() && !path.is_file() {
        return Err(Failure::usage(format!("{} is no file", path.display()))
            .help("Name a file, or `-` for stdout."));
    }
    if path.exists() && !force {
        return Err(there_is_one(path));
    }
    let directory = directory(path);
    if directory.is_dir() {
        return Ok(());
    }
    Err(Failure::usage(format!("there is no directory {}", directory.display())))
}

/// Puts a backup there as a whole, or leaves what is there: it is written beside it, and read back from there.
pub(super) fn place(path: &Path, bytes: &[u8], force: bool) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::failed(format!("can't write {}: {error}", path.display()))
            .help("Nothing is there that was not before.")
    };
    let directory = directory(path);
    // Only this user may read it: so it is made, and so it stays.
    let mut beside = tempfile::Builder::new()
        .prefix(".apolo-backup-")
        .tempfile_in(&directory)
        .map_err(failed)?;
    beside.write_all(bytes).map_err(failed)?;
    beside.as_file().sync_all().map_err(failed)?;
    if fs::read(beside.path()).map_err(failed)? != bytes {
        return Err(failed(io::Error::other("the disk gives back something else")));
    }
    let placed = if force { beside.persist(path) } else { beside.persist_noclobber(path) };
    match placed {
        Ok(_) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(there_is_one(path));
        }
        Err(error) => return Err(failed(error.error)),
    }
    File::open(&directory).and_then(|directory| directory.sync_all()).map_err(|error| {
        Failure::failed(format!(
            "{} is written, and may not survive a power cut: {error}",
            path.display()
        ))
    })
}

/// What a backup's file holds, whether it is one or not.
pub(super) fn open(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed =
        |error: io::Error| Failure::failed(format!("can't read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    // One byte more, so that one that is too long is seen to be.
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn there_is_one(path: &Path) -> Failure {
    Failure::usage(format!("there is a file {} already", path.display()))
        .help("Take another name, or add --force to have it replaced once the new one is whole.")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_backup_is_its_owners_and_replaces_another_only_by_force() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bot.apolo");

        place(&path, b"first", false).unwrap();
        assert!(check(&path, false).is_err() && place(&path, b"second", false).is_err());
        assert_eq!(open(&path).unwrap(), b"first");
        place(&path, b"third", true).unwrap();

        assert_eq!(open(&path).unwrap(), b"third");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_place_where_none_can_be_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();

        assert!(check(directory.path(), true).is_err());
        assert!(check(Path::new("/dev/null"), true).is_err());
        assert!(check(&directory.path().join("none/bot.apolo"), true).is_err());
        assert!(check(Path::new("bot.apolo.that.is.not.there"), false).is_ok());
    }
}
