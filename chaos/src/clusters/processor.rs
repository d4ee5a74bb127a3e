//! Half a processor for a process, by a control group.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The two places where Linux keeps the groups of the processor: of version 1 and 2.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup"];

/// A group's share is dealt out anew so often: the kernel's default.
const PERIOD_US: u32 = 100_000;

/// A group of processes that together get at most half of one processor, while it lives.
#[derive(Debug)]
pub(super) struct HalfProcessor(PathBuf);

impl HalfProcessor {
    /// Puts a process into one.
    ///
    /// # Errors
    ///
    /// Without root, or without the controller.
    pub(super) fn hold(process: u32) -> io::Result<Self> {
        let root = Path::new(ROOTS[usize::from(!Path::new(ROOTS[0]).exists())]);
        let group = Self(root.join(format!("apolo-chaos-{process}")));
        fs::create_dir(&group.0)?;
        let quota = PERIOD_US / 2;
        if group.0.join("cpu.max").exists() {
            fs::write(group.0.join("cpu.max"), format!("{quota} {PERIOD_US}"))?;
        } else {
            fs::write(group.0.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
            fs::write(group.0.join("cpu.cfs_quota_us"), quota.to_string())?;
        }
        fs::write(group.0.join("cgroup.procs"), process.to_string())?;
        Ok(group)
    }

    /// Whether there can be one here.
    pub(super) fn available() -> io::Result<()> {
        Self::hold(std::process::id()).map(drop)
    }
}

impl Drop for HalfProcessor {
    /// A group must be empty to be removed.
    fn drop(&mut self) {
        let members = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        let parent = self.0.parent().map(|parent| parent.join("cgroup.procs"));
        for (member, parent) in members.lines().zip(parent.iter().cycle()) {
            let _ = fs::write(parent, member);
        }
        let _ = fs::remove_dir(&self.0);
    }
}
