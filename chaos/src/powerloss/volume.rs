use super::{
    adapter::Adapter,
    available,
    faults::Faults,
    loss::Loss,
    machine::{Machine, Stats, VolumeOptions},
    stale::unmount_stale,
};
use fuser::{BackgroundSession, Config, MountOption, Session};
use nix::mount::{MntFlags, umount2};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A mounted file system that can lose its power. Unmounted when dropped, whoever still has files open on it.
#[derive(Debug)]
pub struct Volume {
    path: PathBuf,
    machine: Arc<Machine>,
    session: Option<BackgroundSession>,
}

/// What `/proc/self/mounts` calls a volume.
pub(super) const SOURCE: &str = "apolo-powerloss";

/// Two threads serve a volume, so that one large write does not hold up a read.
const THREADS: usize = 2;

impl Volume {
    /// Mounts an empty volume on a new directory under the system's temporary one.
    ///
    /// # Errors
    ///
    /// What [`available`] reports, or the kernel's refusal.
    pub fn mount(options: VolumeOptions) -> io::Result<Self> {
        available().map_err(io::Error::other)?;
        unmount_stale();
        let path = tempfile::Builder::new().prefix("apolo-powerloss-").tempdir()?.keep();
        let machine = Arc::new(Machine::new(options));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName(SOURCE.to_owned()), MountOption::NoAtime];
        config.n_threads = Some(THREADS);
        let session =
            Session::new(Adapter(Arc::clone(&machine)), &path, &config).and_then(Session::spawn);
        match session {
            Ok(session) => Ok(Self { path, machine, session: Some(session) }),
            Err(error) => {
                let _ = fs::remove_dir(&path);
                Err(error)
            }
        }
    }

    /// The mount point.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the power away: what no sync covered meets its fate, and every request fails with EIO until
    /// [`restore`](Self::restore). Descriptors opened before stay dead after it too. Without power it does nothing.
    pub fn power_cut(&self, loss: Loss) {
        self.machine.cut(loss);
    }

    /// Arms a cut that comes once `operations` more storage operations (see [`Stats::operations`]) are done: the next
    /// one already fails. It replaces an armed one.
    pub fn cut_after(&self, operations: u64, loss: Loss) {
        self.machine.lock().cut_after(operations, loss);
    }

    /// Gives the power back, without faults and without an armed cut.
    pub fn restore(&self) {
        self.machine.lock().restore();
    }

    /// Whether there is power: false after a cut, an armed one too, until [`restore`](Self::restore).
    pub fn is_powered(&self) -> bool {
        self.machine.lock().is_powered()
    }

    /// Replaces the faults; `Faults::default()` clears them and ends stalls.
    pub fn set_faults(&self, faults: Faults) {
        self.machine.set_faults(faults);
    }

    /// Changes how much the files may hold together. Less than they do keeps them, but lets none grow.
    pub fn set_capacity_bytes(&self, capacity_bytes: u64) {
        self.machine.lock().disk.set_capacity_bytes(capacity_bytes);
    }

    /// What it has seen since it was mounted.
    pub fn stats(&self) -> Stats {
        self.machine.lock().stats
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        self.power_cut(Loss::Everything);
        // Forced: aborts the connection, so that no process hangs on a request. Detached: open files do not hold it.
        let unmounted = umount2(&self.path, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH);
        if let Some(BackgroundSession { guard, .. }) = self.session.take()
            && unmounted.is_ok()
        {
            let _ = guard.join();
        }
        let _ = fs::remove_dir(&self.path);
    }
}
