//! The door: how a node that has no certificate yet asks for one.
//!
//! Promises: whoever comes this way gets one stream, one request of at most [`REQUEST_MAX`] bytes, one answer, and no
//! other code of this node; a connection without a certificate speaks `apolo-join/1` or none; the joiner sends nothing
//! before it has seen that it speaks with a member under the authority that it was told of.
//! Does not: know what is asked (`invite` does), or tell a joiner's connection from a peer's by what the peers' TLS
//! would let through: each has a TLS configuration of its own, and the first packet's connection id says which. It may
//! lie, and then fails by the other one's rules.
//!
//! ```text
//!  joiner: Doorstep ──(connection id "apolo-join…", ALPN apolo-join/1, no certificate)──▶ Door ─▶ Porter
//! ```

mod knock;
mod serve;

pub use knock::{Doorstep, KnockError};
pub use serve::Porter;

pub(super) use serve::Door;

use std::time::Duration;

use quinn::{ConnectionId, TransportConfig, VarInt};
use rand::RngExt as _;

/// The longest request: a token, a name and a request to sign are less than 2 KiB.
pub const REQUEST_MAX: usize = 8 * 1024;

/// The longest answer: a leaf and some authorities.
pub const ANSWER_MAX: usize = 64 * 1024;

/// From the end of the handshake to the end of the answer. The answer waits for a commit, which has 5 s.
const TALK: Duration = Duration::from_secs(15);

/// From the end of the handshake to the end of the request.
const REQUEST: Duration = Duration::from_secs(5);

/// Silence after which such a connection is over.
const IDLE: Duration = Duration::from_secs(5);

/// How the first packet's connection id begins.
const KNOCK: &[u8; 10] = b"apolo-join";

/// The bytes of a first packet's connection id (RFC 9000, 17.2); what is not [`KNOCK`] is chance, as it must be.
const CONNECTION_ID: usize = 20;

fn knocking() -> ConnectionId {
    let mut bytes = [0; CONNECTION_ID];
    rand::rng().fill(&mut bytes[..]);
    bytes[..KNOCK.len()].copy_from_slice(KNOCK);
    ConnectionId::new(&bytes)
}

/// One stream each way, and windows for one request.
fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = IDLE.try_into().expect("a constant that fits");
    transport
        .max_idle_timeout(Some(idle))
        .initial_rtt(super::limits::INITIAL_ROUND_TRIP)
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .ack_frequency_config(None)
        .stream_receive_window(VarInt::from_u32(ANSWER_MAX as u32))
        .receive_window(VarInt::from_u32(ANSWER_MAX as u32))
        .send_window(ANSWER_MAX as u64);
    transport
}
