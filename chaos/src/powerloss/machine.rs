use super::{disk::Disk, faults::Faults, loss::Loss, names::NameRule};
use fuser::Errno;
use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How a volume is made.
#[derive(Clone, Copy, Debug)]
pub struct VolumeOptions {
    /// The bytes that all files together may have; a write beyond is ENOSPC. They are held in memory, up to three
    /// times: live, durable and between.
    pub capacity_bytes: u64,
    /// What makes a name durable.
    pub name_rule: NameRule,
}

impl Default for VolumeOptions {
    fn default() -> Self {
        Self { capacity_bytes: 256 << 20, name_rule: NameRule::default() }
    }
}

/// What a volume has seen since it was mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Storage operations: writes, resizes, syncs, and changes of names. [`Volume::cut_after`](super::Volume::cut_after)
    /// counts in them.
    pub operations: u64,
    /// Writes among them.
    pub writes: u64,
    /// Bytes that those writes carried.
    pub bytes_written: u64,
    /// fsync and fdatasync of files that succeeded.
    pub syncs: u64,
    /// fsync of directories that succeeded.
    pub directory_syncs: u64,
    /// Power cuts.
    pub cuts: u64,
    /// Writes and resizes that power cuts took, or tore.
    pub lost_changes: u64,
    /// Bytes of those writes.
    pub lost_bytes: u64,
    /// Created, renamed and removed names that power cuts undid.
    pub lost_names: u64,
}

/// The disk with its power switch, faults and counters: what the FUSE threads and the [`Volume`](super::Volume) share.
#[derive(Debug)]
pub(super) struct Machine {
    state: Mutex<State>,
    /// Told when the power goes, or when a stall may have been cleared.
    changed: Condvar,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) disk: Disk,
    pub(super) faults: Faults,
    pub(super) stats: Stats,
    powered: bool,
    /// The operation that is the last to be done, and how the rest is lost.
    cut_after: Option<(u64, Loss)>,
    stalled: usize,
}

/// The most syncs that may stall at once; each holds a thread. The next one fails with EIO.
const STALLED_MAX: usize = 64;

impl Machine {
    pub(super) fn new(options: VolumeOptions) -> Self {
        let state = State {
            disk: Disk::new(options.capacity_bytes, options.name_rule),
            faults: Faults::default(),
            stats: Stats::default(),
            powered: true,
            cut_after: None,
            stalled: 0,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The state. Each operation finishes what it began under the lock, so one that panicked left nothing half done
    /// that matters more than the panic itself.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
        self.changed.notify_all();
    }

    pub(super) fn cut(&self, loss: Loss) {
        self.lock().cut(loss);
        self.changed.notify_all();
    }

    /// Takes a place among the stalled syncs, if syncs stall at all.
    pub(super) fn begin_stall(&self) -> Result<Option<Duration>, Errno> {
        let mut state = self.lock();
        let Some(stall) = state.faults.fsync_stall.filter(|_| state.powered) else {
            return Ok(None);
        };
        if state.stalled == STALLED_MAX {
            return Err(Errno::EIO);
        }
        state.stalled += 1;
        Ok(Some(stall))
    }

    /// Waits until the stall is over, is cleared, or the power goes.
    pub(super) fn stall(&self, stall: Duration) {
        let waiting = |state: &mut State| state.powered && state.faults.fsync_stall.is_some();
        let waited = self.changed.wait_timeout_while(self.lock(), stall, waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0.stalled -= 1;
    }
}

impl State {
    /// EIO once the power is gone.
    pub(super) fn powered(&self) -> Result<(), Errno> {
        if self.powered { Ok(()) } else { Err(Errno::EIO) }
    }

    /// Counts a storage operation, or refuses it because the power is gone or goes at this very moment.
    pub(super) fn begin_operation(&mut self) -> Result<(), Errno> {
        self.powered()?;
        if let Some((last, loss)) = self.cut_after
            && self.stats.operations >= last
        {
            self.cut(loss);
            return Err(Errno::EIO);
        }
        self.stats.operations += 1;
        Ok(())
    }

    /// Arms a cut after `operations` more operations.
    pub(super) fn cut_after(&mut self, operations: u64, loss: Loss) {
        self.cut_after = Some((self.stats.operations + operations, loss));
    }

    fn cut(&mut self, loss: Loss) {
        self.cut_after = None;
        if !self.powered {
            return;
        }
        self.powered = false;
        let (lost, lost_names) = self.disk.lose(loss);
        self.stats.cuts += 1;
        self.stats.lost_changes += lost.changes;
        self.stats.lost_bytes += lost.bytes;
        self.stats.lost_names += lost_names;
    }

    /// Power is back; an armed cut and all faults are gone, as a new machine would have it.
    pub(super) fn restore(&mut self) {
        self.powered = true;
        self.cut_after = None;
        self.faults = Faults::default();
    }

    pub(super) fn is_powered(&self) -> bool {
        self.powered
    }
}
