//! The way to the other nodes: QUIC with mutual TLS, one UDP port for everything.
//!
//! Promises: whoever is at the other end of a stream has proven which node of which cluster it is, and may open what
//! its role allows and nothing else; between two nodes one connection is in use, the newest process's; a request ends
//! by its deadline; nothing that a peer sends makes this node hold more than the bounds in [`limits`].
//! Does not: know what its streams mean (`raft`, `control` and others register a handler each), retry a request, or
//! remember a peer by its address.
//!
//! ```text
//!  request, open ─▶ Transport ─▶ Slot (a peer) ─▶ Link (a connection, after its hello) ─▶ Stream of frames
//!                                  ▲ dial: back-off, fresh addresses       │ guard: validity, age, retirement
//!  Handler ◀─ router (role × protocol) ◀──────────── streams of the peer ──┘
//!  ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ network: the seam ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─
//!                     endpoint, quic (real sockets)   simulated (in memory, tokio's clock)
//! ```

mod counters;
mod dial;
pub mod door;
mod endpoint;
mod error;
mod frame;
mod greet;
mod guard;
mod hello;
pub mod limits;
mod link;
mod network;
mod options;
mod peer;
mod protocol;
mod quic;
mod router;
mod service;
mod shared;
mod shown;
mod simulated;
mod socket;
mod stream;
mod tls;

pub use counters::Counters;
pub use door::{Doorstep, KnockError, Porter};
pub use error::{CloseCode, Ended, Refused, StartError, StreamError, TransportError};
pub use hello::{Local, PROTOCOL_MAX, PROTOCOL_MIN, Standing};
pub use network::Path;
pub use options::{Options, Timings};
pub use peer::Addresses;
pub use protocol::{Protocol, allowed};
pub use router::{Handler, answer};
pub use service::{Meeting, Transport};
pub use simulated::{SimulatedNetwork, SimulatedSocket, Weather};
pub use socket::UdpBuffers;
pub use stream::{Peer, Receiver, Sender, Stream};
pub use tls::{
    Authority, AuthorityError, Bundle, Credentials, Identity, JoinSecret, JoinToken,
    JoinTokenError, Kept, LEAF_LIFETIME, Leaf, Pin, Refusal, Renewal, Role, Roll, SigningRequest,
    Stage, renew,
};
