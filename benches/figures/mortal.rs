//! Processes that end with this one, however it ends.

use std::{ffi::OsStr, fs::File, io, path::Path, process::Stdio};

use tokio::process::Command;

/// A command whose output goes to `log`, and whose process the kernel kills when this one is gone. It has to be started
/// by the main thread: the kernel counts the thread as the parent.
pub(crate) fn command(program: impl AsRef<OsStr>, log: &Path) -> io::Result<Command> {
    let log = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    Ok(command)
}
