use super::volume::SOURCE;
use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
    sys::stat::stat,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Unmounts volumes whose process died without doing so. One that another process serves answers, and is left alone.
pub(super) fn unmount_stale() {
    let Ok(mounts) = fs::read_to_string("/proc/self/mounts") else { return };
    for path in mounts.lines().filter_map(volume_path) {
        if is_dead(&path) && umount2(&path, MntFlags::MNT_DETACH).is_ok() {
            let _ = fs::remove_dir(&path);
        }
    }
}

/// Whether nobody serves `path` any more. `ECONNABORTED` is the kernel's answer to a request that it had taken when it
/// cut the connection of a killed process, which may be a moment after the process was waited for.
fn is_dead(path: &Path) -> bool {
    use Errno::{ECONNABORTED, ENOTCONN};
    stat(path).is_err_and(|error| matches!(error, ENOTCONN | ECONNABORTED))
}

/// The mount point of a line of `/proc/self/mounts` that is a volume of ours.
fn volume_path(line: &str) -> Option<PathBuf> {
    let mut fields = line.split(' ');
    (fields.next() == Some(SOURCE)).then(|| fields.next().map(PathBuf::from)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_volumes_of_ours_are_considered() {
        let ours = "apolo-powerloss /tmp/apolo-powerloss-x fuse rw,nosuid,nodev,relatime 0 0";
        let other = "sshfs /mnt/apolo-powerloss fuse rw 0 0";

        assert_eq!(volume_path(ours), Some(PathBuf::from("/tmp/apolo-powerloss-x")));
        assert_eq!(volume_path(other), None);
    }
}
