use nix::unistd::geteuid;
use std::fs::OpenOptions;

/// Whether a volume can be mounted here; if not, why, in one sentence for a test that skips.
///
/// # Errors
///
/// The missing right or device.
pub fn available() -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        return Err("a power-loss volume needs Linux".to_owned());
    }
    if !geteuid().is_root() {
        return Err(
            "a power-loss volume needs root, since it is mounted without fusermount".to_owned()
        );
    }
    match OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("a power-loss volume needs /dev/fuse: {error}")),
    }
}
