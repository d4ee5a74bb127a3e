//! The ports that a node listens on, and the names by which it finds others.

use std::net::{SocketAddr, UdpSocket};

use super::{Finding, running};
use crate::config::Config;
use crate::http::{self, Port};
use crate::node;

/// Whether the node's ports are free, or its own.
pub(super) async fn ports(config: &Config) -> Vec<Finding> {
    if running(config).await {
        return vec![Finding::ok("ports", "the node that runs here has them")];
    }
    let mut findings = vec![tcp("http port", Port::Http, config.http_addr).await];
    if let Some(address) = config.bot_addr {
        findings.push(tcp("bot port", Port::Bot, address).await);
    }
    let address = config.quic_addr;
    findings.push(match UdpSocket::bind(address) {
        Ok(_) => Finding::ok("quic port", format!("{address}/udp is free")),
        Err(error) => Finding::failure(
            "quic port",
            format!("can't listen on {address}/udp: {error}"),
            "stop what has the port, or choose another with --quic-addr",
        ),
    });
    findings
}

async fn tcp(check: &'static str, port: Port, address: SocketAddr) -> Finding {
    match http::bind(port, address).await {
        Ok(_) => Finding::ok(check, format!("{address} is free")),
        Err(error) => Finding::failure(check, error.to_string(), error.advice()),
    }
}

/// Whether the others' names resolve.
pub(super) async fn names(config: &Config) -> Vec<Finding> {
    if config.peers.is_empty() && config.discover.is_none() {
        return vec![Finding::skipped("names", "no peers are named (`--peers`, `--discover`)")];
    }
    match node::resolve(config).await {
        Err(error) => vec![Finding::failure("names", error.to_string(), "correct --peers")],
        Ok(found) => {
            let addresses: Vec<_> = found.addresses.iter().map(ToString::to_string).collect();
            let mut findings = Vec::new();
            if !addresses.is_empty() {
                findings.push(Finding::ok("names", addresses.join(", ")));
            }
            // A pod that is not there yet has no name yet.
            findings.extend(found.failures.into_iter().map(|(name, why)| {
                let fix = "start that node, or correct --peers or --discover";
                Finding::warning("names", format!("{name}: {why}"), fix)
            }));
            findings
        }
    }
}
