//! Drops packets between ports of this machine, by nftables.

use std::{
    io::{self, Write as _},
    process::{Command, Stdio},
};

/// The table of the rules, by the process that made it.
fn table() -> String {
    format!("apolo_chaos_{}", std::process::id())
}

/// Packets that are dropped as long as it lives: from the first port of each pair to the second.
#[derive(Debug)]
pub(super) struct Firewall;

impl Firewall {
    /// Drops UDP from the first port of each pair to the second.
    pub(super) fn drop_between(ports: &[(u16, u16)]) -> io::Result<Self> {
        let mut rules = format!(
            "table inet {0} {{}}\ndelete table inet {0}\ntable inet {0} {{\nchain input {{\n\
             type filter hook input priority 0; policy accept;\n",
            table()
        );
        for (from, to) in ports {
            rules.push_str(&format!("udp sport {from} udp dport {to} drop\n"));
        }
        rules.push_str("}\n}\n");
        apply(&rules)?;
        Ok(Self)
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        let _ = apply(&format!("delete table inet {}\n", table()));
    }
}

/// Whether packets can be dropped here.
///
/// # Errors
///
/// What is missing, in one sentence.
pub fn can_partition() -> Result<(), String> {
    let tried = Firewall::drop_between(&[(1, 1)]);
    tried.map(drop).map_err(|error| format!("no partition can be made here: {error}"))
}

fn apply(rules: &str) -> io::Result<()> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("nft (nftables): {error}")))?;
    child.stdin.take().map_or(Ok(()), |mut input| input.write_all(rules.as_bytes()))?;
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("nft: {}", String::from_utf8_lossy(&output.stderr).trim())))
}
