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
