//! The UDP socket, with buffers that hold a burst.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
};

use socket2::{Domain, Protocol, Socket, Type};
use tracing::{debug, info, warn};

use super::limits::{SOCKET_BUFFER, SOCKET_BUFFER_WANTED};

/// Binds `address`. An IPv6 wildcard takes IPv4 too.
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    for (name, set) in [
        ("receive", socket.set_recv_buffer_size(SOCKET_BUFFER)),
        ("send", socket.set_send_buffer_size(SOCKET_BUFFER)),
    ] {
        if let Err(error) = set {
            debug!(%error, name, "the UDP buffer was not raised");
        }
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    report(&socket);
    Ok(socket.into())
}

/// What a UDP socket's buffers are on this machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UdpBuffers {
    receive: usize,
    send: usize,
}

impl UdpBuffers {
    /// What a node asks for, in bytes.
    pub const ASKED: usize = SOCKET_BUFFER;

    /// What it would get here.
    ///
    /// # Errors
    ///
    /// Where no socket can be had.
    pub fn of_this_machine() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        Ok(Self { receive: socket.recv_buffer_size()?, send: socket.send_buffer_size()? })
    }

    /// The smaller of the two, in bytes.
    #[must_use]
    pub fn smaller(self) -> usize {
        self.receive.min(self.send)
    }

    /// Whether bursts between nodes fit.
    #[must_use]
    pub fn suffice(self) -> bool {
        self.smaller() >= SOCKET_BUFFER_WANTED
    }
}

/// A kernel silently caps what it is asked for, and a container can't raise the cap.
fn report(socket: &Socket) {
    let receive = socket.recv_buffer_size().unwrap_or(0);
    let send = socket.send_buffer_size().unwrap_or(0);
    if receive.min(send) < SOCKET_BUFFER_WANTED {
        warn!(
            receive,
            send,
            "small UDP buffers: bursts will be lost; on the host, set net.core.rmem_max and net.core.wmem_max to {SOCKET_BUFFER}"
        );
    } else {
        info!(receive, send, "UDP buffers");
    }
}
