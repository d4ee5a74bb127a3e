//! Processes that end with this one, however it ends.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    path::Path,
    process::{self, Stdio},
    sync::LazyLock,
};

use tokio::process::Command;

/// Part of util-linux. Without it a process ends with this one unless this one is killed.
static HAS_SETPRIV: LazyLock<bool> =
    LazyLock::new(|| process::Command::new("setpriv").arg("--version").output().is_ok());

/// A command whose output goes to `log`, and whose process the kernel kills when this one is gone. It has to be started
/// by the main thread: the kernel counts the thread as the parent.
pub(crate) fn command(program: impl AsRef<OsStr>, log: &Path) -> io::Result<Command> {
    let log = File::options().create(true).append(true).open(log)?;
    let mut command = if *HAS_SETPRIV {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    Ok(command)
}
