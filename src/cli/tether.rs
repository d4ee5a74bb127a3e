//! A process that is not to outlive the one that started it.

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::Failure;

/// Has the kernel end this process as soon as the process `parent` has ended, however that comes about. Linux sends the
/// signal when the *thread* that started this process ends: `dev` starts its nodes from its main thread.
pub(super) fn end_with(parent: i32) -> Result<(), Failure> {
    let failed =
        |why: String| Failure::failed(format!("can't be tied to the process {parent}: {why}"));
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| failed(error.to_string()))?;
    // It may have ended before the kernel was asked.
    if getppid() == Pid::from_raw(parent) { Ok(()) } else { Err(failed("it has ended".to_owned())) }
}
