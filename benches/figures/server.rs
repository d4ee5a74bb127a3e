//! Redis and NATS, as Debian has them, on ports of their own.

use std::{net::SocketAddr, path::Path, process, time::Duration};

use tokio::{
    net::TcpStream,
    process::Child,
    time::{Instant, sleep},
};

use crate::{Failure, mortal, ports};

/// A server listens by then.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A server that runs until this is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _process: Child,
}

impl Server {
    /// Nothing where there is no such program, which is said. This one keeps nothing on a disk.
    pub(crate) async fn redis(directory: &Path) -> Result<Option<Self>, Failure> {
        let words = ["--save", "", "--appendonly", "no", "--bind", "127.0.0.1"];
        Self::start(directory, "redis-server", "redis-server", &words).await
    }

    /// As [`Server::redis`], and answers a write once it is on the disk.
    pub(crate) async fn durable_redis(directory: &Path) -> Result<Option<Self>, Failure> {
        let durable = ["--appendonly", "yes", "--appendfsync", "always"];
        let words: Vec<_> =
            ["--save", "", "--bind", "127.0.0.1"].into_iter().chain(durable).collect();
        Self::start(directory, "redis-server", "redis-server", &words).await
    }

    /// As [`Server::redis`]. Debian keeps it where only root looks.
    pub(crate) async fn nats(directory: &Path) -> Result<Option<Self>, Failure> {
        let inside = "/usr/sbin/nats-server";
        let program = if Path::new(inside).exists() { inside } else { "nats-server" };
        let words = ["--addr", "127.0.0.1"];
        Self::start(directory, "nats-server", program, &words).await
    }

    async fn start(
        directory: &Path,
        package: &str,
        program: &str,
        words: &[&str],
    ) -> Result<Option<Self>, Failure> {
        match process::Command::new(program).arg("--version").output() {
            Ok(output) => eprintln!("  {}", String::from_utf8_lossy(&output.stdout).trim()),
            Err(error) => {
                eprintln!("  {package} is left out ({program}, Debian: {package}): {error}");
                return Ok(None);
            }
        }
        let address = ports::free(1)?[0];
        let log = directory.join(format!("{package}.log"));
        let mut process = mortal::command(program, &log)?
            .current_dir(directory)
            .args(words)
            .args(["--port", &address.port().to_string()])
            .spawn()?;
        let deadline = Instant::now() + LISTENS_WITHIN;
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = process.try_wait()? {
                return Err(format!("{program} has ended: {status}").into());
            }
            if Instant::now() >= deadline {
                return Err(format!("{program} does not listen").into());
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(Some(Self { address, _process: process }))
    }
}
