//! The port, and what to say where it is taken.

use std::{io, net::SocketAddr};

use thiserror::Error;
use tokio::net::TcpListener;

/// What a port is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Port {
    /// Probes, metrics and the API.
    Http,
    /// Consumers.
    Bot,
}

impl Port {
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Http => ("HTTP", "--http-addr or APOLO_HTTP_ADDR"),
            Self::Bot => ("bots", "--bot-addr or APOLO_BOT_ADDR"),
        }
    }
}

/// The port can't be had.
#[derive(Debug, Error)]
#[error("can't listen on {addr} for {}: {reason}", port.names().0)]
pub struct BindError {
    /// What it is for.
    pub port: Port,
    /// The address that was asked for.
    pub addr: SocketAddr,
    /// What the system said.
    pub reason: io::Error,
}

impl BindError {
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> String {
        let (_, setting) = self.port.names();
        match self.reason.kind() {
            io::ErrorKind::AddrInUse => {
                format!("Another process has the port: stop it, or choose another with {setting}.")
            }
            io::ErrorKind::AddrNotAvailable => {
                format!("No interface of this machine has the address: correct {setting}.")
            }
            io::ErrorKind::PermissionDenied => format!(
                "Ports below 1024 need a right that this user lacks: choose another with {setting}."
            ),
            _ => format!("Check {setting}."),
        }
    }
}

/// Ports that are tried one after the other before the system chooses one: a person remembers 3001 better than 49152.
const NEIGHBOURS: u16 = 10;

/// Listens on `addr`.
///
/// # Errors
///
/// [`BindError`], whose advice names the setting.
pub async fn bind(port: Port, addr: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(addr).await.map_err(|reason| BindError { port, addr, reason })
}

/// Listens on `addr`, or, where its port is taken, on one of the next ones, or on any.
///
/// # Errors
///
/// [`BindError`] where the address itself can't be had.
pub async fn bind_free(port: Port, addr: SocketAddr) -> Result<TcpListener, BindError> {
    let next = (1..=NEIGHBOURS).filter_map(|step| addr.port().checked_add(step));
    let mut last = bind(port, addr).await;
    for number in next.chain([0]) {
        match last {
            Err(error) if error.reason.kind() == io::ErrorKind::AddrInUse => {
                last = bind(port, SocketAddr::new(addr.ip(), number)).await;
            }
            settled => return settled,
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_an_error_that_names_the_flag() {
        let taken = bind(Port::Http, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let addr = taken.local_addr().unwrap();

        let error = bind(Port::Bot, addr).await.unwrap_err();

        assert!(error.to_string().contains(&addr.to_string()), "{error}");
        assert!(error.advice().contains("--bot-addr"));
    }

    #[tokio::test]
    async fn a_free_port_is_found_beside_a_taken_one() {
        let taken = bind(Port::Http, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let addr = taken.local_addr().unwrap();

        let found = bind_free(Port::Http, addr).await.unwrap().local_addr().unwrap();

        assert_eq!(found.ip(), addr.ip());
        assert_ne!(found.port(), addr.port());
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused_at_once() {
        let error = bind_free(Port::Http, SocketAddr::from(([192, 0, 2, 1], 1))).await.unwrap_err();

        assert!(error.advice().contains("No interface"), "{error}");
    }
}
