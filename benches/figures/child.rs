//! A real `apolo run` as a child, against a simulator in this process.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use apolo::simulator::{Simulator, Truth};
use tokio::time::{Instant, sleep};

use crate::Failure;

/// Nothing that is measured takes longer.
const PATIENCE: Duration = Duration::from_secs(900);

/// Between two looks at what is waited for. What is measured is read from the simulator's own times.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running node, killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Node(Child);

impl Node {
    /// Starts `apolo run` with `total` shards. Its log goes to `<data_dir>.log`.
    pub(crate) fn start(
        simulator: &Simulator,
        data_dir: &Path,
        total: u32,
    ) -> Result<Self, Failure> {
        let log = File::options().create(true).append(true).open(data_dir.with_extension("log"))?;
        let child = Command::new(env!("CARGO_BIN_EXE_apolo"))
            .args(["run", "--http-addr", &SocketAddr::from(([127, 0, 0, 1], 0)).to_string()])
            .args(["--quic-addr", &SocketAddr::from(([127, 0, 0, 1], 0)).to_string()])
            .args(["--bot-addr", "none", "--total-shards", &total.to_string()])
            .arg("--data-dir")
            .arg(data_dir)
            .env("DISCORD_TOKEN", "a.benchmark.token")
            .env("DISCORD_API", simulator.api_url())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self(child))
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> Result<f64, Failure> {
        resident(&self.0.id().to_string())
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) -> Result<(), Failure> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This process's resident memory, in bytes.
pub(crate) fn own_resident() -> Result<f64, Failure> {
    resident("self")
}

fn resident(process: &str) -> Result<f64, Failure> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0)
}

/// Waits until the truth is as wanted.
pub(crate) async fn until(
    simulator: &Simulator,
    what: &str,
    wanted: impl Fn(&Truth) -> bool,
) -> Result<Truth, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let truth = simulator.truth();
        if wanted(&truth) {
            return Ok(truth);
        }
        if Instant::now() >= deadline {
            return Err(format!("never came: {what}").into());
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Shards whose connection is open, and past READY or RESUMED.
pub(crate) fn established(truth: &Truth) -> usize {
    let open = truth.connections.iter().filter(|it| it.end.is_none());
    open.filter(|it| it.established_ms.is_some()).count()
}

/// When the last of the open connections got its READY or RESUMED, in the simulator's milliseconds.
pub(crate) fn established_at(truth: &Truth) -> u64 {
    let open = truth.connections.iter().filter(|it| it.end.is_none());
    open.filter_map(|it| it.established_ms).max().unwrap_or_default()
}
