//! Ports of this machine that are free, below the range that the kernel gives out by itself: whoever is started again
//! finds its own still free.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use crate::Failure;

const FIRST: u16 = 20_000;
const END: u16 = 32_000;

/// As many addresses as are asked for, each with its TCP and its UDP port free.
pub(crate) fn free(count: usize) -> Result<Vec<SocketAddr>, Failure> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..10_000 {
        if held.len() == count {
            return Ok(held.into_iter().map(|(address, _, _)| address).collect());
        }
        let address = SocketAddr::from(([127, 0, 0, 1], rand::random_range(FIRST..END)));
        if let (Ok(tcp), Ok(udp)) = (TcpListener::bind(address), UdpSocket::bind(address)) {
            held.push((address, tcp, udp));
        }
    }
    Err("no port is free".into())
}
