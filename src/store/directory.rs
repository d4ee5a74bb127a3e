//! The data directory itself: made, checked and locked before anything in it is read.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    thread,
    time::Duration,
};

use super::{
    OpenError, ballast, farewell, identity, promise, quarantine, snapshot, sync::FILE_MODE,
};

/// Where sled lives.
pub(super) const SLED: &str = "sled";

const LOCK: &str = "LOCK";

const MODE: u32 = 0o700;

/// Set-group-id, which the kubelet sets on a volume that it gives to a pod's `fsGroup`, together with group write.
const GROUP_BY_PLATFORM: u32 = 0o2000;

/// Files of ours besides those that the other modules name: the node's socket, and what file systems put at their top.
const OTHERS: [&str; 5] = [LOCK, "apolo.sock", "ca", "lost+found", SLED];

/// Makes the directory if need be, checks that it is ours, and locks it for as long as the file lives.
pub(super) fn enter(path: &Path) -> Result<File, OpenError> {
    if !path.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(MODE)
            .create(path)
            .map_err(|source| refused(path, "create the directory", source))?;
    }
    let metadata =
        fs::metadata(path).map_err(|source| refused(path, "look at the directory", source))?;
    if !metadata.is_dir() {
        return Err(OpenError::NotOurs { path: path.to_owned(), found: "a file".to_owned() });
    }
    let mode = metadata.permissions().mode();
    let by_group = mode & 0o020 != 0 && mode & GROUP_BY_PLATFORM == 0;
    if mode & 0o002 != 0 || by_group {
        return Err(OpenError::Exposed { path: path.to_owned(), mode: mode & 0o7777 });
    }
    if let Some(found) =
        stranger(path).map_err(|source| refused(path, "list the directory", source))?
    {
        return Err(OpenError::NotOurs { path: path.to_owned(), found });
    }
    lock(path)
}

/// The first file that is none of ours, in a directory that has no identity file. Behind an identity file strangers
/// are let be.
fn stranger(path: &Path) -> io::Result<Option<String>> {
    if path.join(identity::FILE).exists() || path.join(quarantine::TOMBSTONE).exists() {
        return Ok(None);
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.into_iter().find(|name| !is_ours(name)))
}

fn is_ours(name: &str) -> bool {
    OTHERS.contains(&name)
        || [ballast::FILE, snapshot::FILE, promise::FILE].contains(&name)
        || ["snapshot.new", "promise.new", "identity.new", "tombstone.new"].contains(&name)
        || farewell::FILES.contains(&name)
        || name.starts_with(quarantine::PREFIX)
}

/// How often a lock that this very process holds is tried: a store that was just closed is let go of by its threads.
const OWN_TRIES_MAX: u32 = 100;

const OWN_PAUSE: Duration = Duration::from_millis(10);

fn lock(path: &Path) -> Result<File, OpenError> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path.join(LOCK))
        .map_err(|source| refused(path, "open the lock file", source))?;
    let mut tries = 0;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(source)) => return Err(refused(path, "lock it", source)),
            Err(TryLockError::WouldBlock) => {
                let pid = holder(&mut file);
                tries += 1;
                if pid != Some(std::process::id()) || tries >= OWN_TRIES_MAX {
                    return Err(OpenError::Locked { path: path.to_owned(), pid });
                }
                thread::sleep(OWN_PAUSE);
            }
        }
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|source| refused(path, "write the lock file", source))?;
    Ok(file)
}

/// Who holds the lock. That is a courtesy; the refusal stands without.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// What the system's refusal means to an operator.
pub(super) fn refused(path: &Path, what: &'static str, source: io::Error) -> OpenError {
    let path = path.to_owned();
    let kind = source.kind();
    if matches!(kind, io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied) {
        OpenError::ReadOnly { path, source }
    } else if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        OpenError::DiskFull { path }
    } else {
        OpenError::Io { path, what, source }
    }
}
