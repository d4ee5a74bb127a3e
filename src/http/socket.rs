//! The data directory's socket.

use std::{
    fs::{self, File, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

/// The socket's name in the data directory.
pub const SOCKET_FILE: &str = "apolo.sock";

/// A socket address holds this many bytes of a path (`sun_path` without its last zero).
const PATH_BYTES_MAX: usize = 107;

/// A path by which the socket can be bound or connected to, however deep the data directory lies.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    /// Keeps `/proc/self/fd/N` in place for as long as the path is used.
    _dir: Option<File>,
}

impl SocketPath {
    /// The path of the socket in `dir`.
    ///
    /// # Errors
    ///
    /// Where `dir` is too deep for a socket's address and can't be opened.
    pub fn of(dir: &Path) -> io::Result<Self> {
        Self::named(dir, SOCKET_FILE)
    }

    fn named(dir: &Path, name: &str) -> io::Result<Self> {
        let path = dir.join(name);
        if path.as_os_str().len() <= PATH_BYTES_MAX {
            return Ok(Self { path, _dir: None });
        }
        let dir = File::open(dir)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
        Ok(Self { path, _dir: Some(dir) })
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A listening socket. Its file goes with it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Which file it is: a later process may have put its own there.
    inode: u64,
}

impl Socket {
    /// Listens in `dir`, for this user alone. A socket that a dead process left is replaced: the caller holds the
    /// directory's lock, so nobody living listens there.
    pub(super) fn bind(dir: &Path) -> io::Result<Self> {
        const NEW: &str = "apolo.sock.new";
        let (new, path) = (dir.join(NEW), dir.join(SOCKET_FILE));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(SocketPath::named(dir, NEW)?.path())?;
        fs::set_permissions(&new, Permissions::from_mode(0o600))?;
        let inode = fs::metadata(&new)?.ino();
        fs::rename(&new, &path)?;
        Ok(Self { listener, path, inode })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if fs::metadata(&self.path).is_ok_and(|there| there.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn only_the_owner_may_open_it_and_it_goes_with_the_process() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(SOCKET_FILE), "left by a dead process").unwrap();

        let socket = Socket::bind(dir.path()).unwrap();
        let mode = fs::metadata(dir.path().join(SOCKET_FILE)).unwrap().permissions().mode();
        UnixStream::connect(SocketPath::of(dir.path()).unwrap().path()).await.unwrap();
        drop(socket);

        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_deep_directory_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(200));
        fs::create_dir(&deep).unwrap();

        let _socket = Socket::bind(&deep).unwrap();

        UnixStream::connect(SocketPath::of(&deep).unwrap().path()).await.unwrap();
    }
}
