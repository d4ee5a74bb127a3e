//! A node in a process of its own. Dropping it ends the process, and the kernel does where `dev` is killed, so that none
//! outlives `dev`.

use std::{
    fs::OpenOptions,
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{self, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::cli::Failure;

/// What a node writes while it runs.
const LOG_FILE: &str = "node.log";

/// Beside the log, since a node takes no directory in which there is anything but its own.
const DATA_DIR: &str = "data";

/// Lines of a log that say why its node ended.
const TAIL_LINES: usize = 8;

/// Ports from here to [`PORT_END`] are tried first: no system of ours hands them out by itself, so a node that starts
/// again finds its own free.
const PORT_FIRST: u16 = 20_000;
const PORT_END: u16 = 32_000;

/// More than the nodes of a run.
const PORTS_APART: u16 = 16;

/// A node, whether it runs or not.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: String,
    /// Where it listens: HTTP on TCP, the cluster on UDP.
    pub(super) addr: SocketAddr,
    dir: PathBuf,
    words: Vec<String>,
    process: Option<process::Child>,
}

impl Child {
    /// A node that does not run yet: `apolo join` with `words`, and with its own name, addresses and directory,
    /// which holds its log and its data.
    pub(super) fn new(name: String, addr: SocketAddr, dir: PathBuf, words: &[String]) -> Self {
        let mut words = words.to_vec();
        words.extend([
            format!("--name={name}"),
            format!("--quic-addr={addr}"),
            format!("--http-addr={addr}"),
            // Where is in what the node shows of itself. Nobody has to connect.
            "--bot-addr=127.0.0.1:0".to_owned(),
            "--wait-for=none".to_owned(),
            format!("--data-dir={}", dir.join(DATA_DIR).display()),
        ]);
        Self { name, addr, dir, words, process: None }
    }

    /// Starts the process. Signals of the terminal don't reach it: `dev` says when it ends.
    pub(super) fn start(&mut self, token: &str) -> Result<u32, Failure> {
        let failed = |error: io::Error| {
            Failure::failed(format!("can't start {} in {}: {error}", self.name, self.dir.display()))
        };
        std::fs::create_dir_all(&self.dir).map_err(failed)?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join(LOG_FILE))
            .map_err(failed)?;
        let process = Command::new(std::env::current_exe().map_err(failed)?)
            .arg("join")
            .arg(format!("--end-with={}", process::id()))
            .args(&self.words)
            .env("DISCORD_TOKEN", token)
            .env_remove("DISCORD_TOKEN_FILE")
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let pid = process.id();
        self.process = Some(process);
        Ok(pid)
    }

    /// The process, while there is one.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(process::Child::id)
    }

    /// How the process ended, once.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.try_wait().ok()??;
        self.process = None;
        Some(status)
    }

    /// Asks it to drain and end.
    pub(super) fn terminate(&self) {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        if let Some(pid) = pid {
            // It has not been waited for, so the number is still its own.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// The last lines of its log, and where the others are.
    pub(super) fn log_tail(&self) -> String {
        let path = self.dir.join(LOG_FILE);
        let bytes = std::fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("{} ends with:\n{}", path.display(), tail.join("\n"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// As many addresses on this machine as nodes, each with its TCP and its UDP port free.
pub(super) fn free_addresses(count: usize) -> io::Result<Vec<SocketAddr>> {
    // Two runs at once, whose numbers are neighbours, start their search at places that are none.
    let places = u32::from((PORT_END - PORT_FIRST) / PORTS_APART);
    let spread = u16::try_from(process::id() % places).unwrap_or(0) * PORTS_APART;
    let ports = (PORT_FIRST + spread..PORT_END).chain(PORT_FIRST..PORT_FIRST + spread);
    let mut held = Vec::with_capacity(count);
    for port in ports.chain(std::iter::repeat_n(0, count)) {
        if held.len() == count {
            break;
        }
        held.extend(hold(port));
    }
    if held.len() < count {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    held.iter().map(|(tcp, _)| tcp.local_addr()).collect()
}

fn hold(port: u16) -> Option<(TcpListener, UdpSocket)> {
    let tcp = TcpListener::bind(("127.0.0.1", port)).ok()?;
    let udp = UdpSocket::bind(tcp.local_addr().ok()?).ok()?;
    Some((tcp, udp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_gets_an_address_of_its_own() {
        let mut addresses = free_addresses(5).unwrap();

        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 5);
    }

    #[test]
    fn a_process_ends_with_what_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Child::new("a".into(), ([127, 0, 0, 1], 1).into(), dir.path().into(), &[]);
        child.process = Some(Command::new("sleep").arg("600").spawn().unwrap());
        let pid = child.pid().and_then(|pid| Pid::from_raw(pid.try_into().unwrap())).unwrap();

        drop(child);

        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}
