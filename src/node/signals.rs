//! When the operating system asks the process to end.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// What a shell reports for a process that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

/// Cancels `stop` at the first SIGTERM or SIGINT, and ends the process at the second.
///
/// Whoever presses Ctrl-C twice does not want to wait; sessions and checkpoints are as of the last commit, so the next
/// start resumes all the same.
pub async fn shutdown_requested(stop: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        warn!("signals can't be caught; only SIGKILL will end this process");
        return;
    };
    for asked in 1.. {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if asked > 1 {
            warn!("asked a second time: ending at once");
            std::process::exit(EXIT_INTERRUPTED);
        }
        info!("asked to stop");
        stop.cancel();
    }
}
