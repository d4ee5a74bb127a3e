//! Every bound of the transport, with its reason.

use std::time::Duration;

/// Silence after which a connection is over. A killed peer is noticed after this; a pause of the process up to half of
/// it costs nothing.
pub const IDLE: Duration = Duration::from_millis(1500);

/// A quiet connection is kept alive this often: four chances within [`IDLE`], so that three lost packets do no harm.
pub const KEEP_ALIVE: Duration = Duration::from_millis(300);

/// QUIC assumes this round trip before it has measured one. The default, 333 ms, makes a lost handshake packet cost a
/// second; between nodes of one cluster 10 ms is already far.
pub(super) const INITIAL_ROUND_TRIP: Duration = Duration::from_millis(10);

/// A handshake takes 1.5 ms; who has not answered by then is dead, and its next address may not be.
pub const CONNECT: Duration = Duration::from_millis(300);

/// The first wait after a failed attempt.
pub const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// The longest wait between attempts: a peer that comes back is found within a second.
pub const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// A certificate is checked when a connection is made, so none lives longer than this.
pub const AGE_MAX: Duration = Duration::from_hours(12);

/// Connections that have to be replaced for a common reason (a renewed leaf, age) are replaced within this span, not
/// all at once.
pub const REFRESH_SPREAD: Duration = Duration::from_secs(2);

/// From the first packet to the end of the hello.
pub const HANDSHAKE: Duration = Duration::from_secs(5);

/// How long a peer's reason for turning a connection away may come behind its first sign of that: both leave together,
/// and a packet that was lost is repeated by then.
pub(super) const REASON: Duration = Duration::from_millis(250);

/// A connection that was replaced stays at least this long without a stream: what was under way when the other side
/// learnt of it still arrives.
pub const RETIRE_QUIET: Duration = Duration::from_secs(1);

/// A connection that was replaced is closed after this, whatever is under way on it.
pub const RETIRE_MAX: Duration = Duration::from_secs(60);

/// A connection that ended sooner counts as a failed attempt, so that a peer that accepts and closes is not dialled in
/// a loop.
pub(super) const SETTLED: Duration = Duration::from_secs(1);

/// How often a live connection's certificate is looked at. It is closed within a second of its end.
pub(super) const VALIDITY_CHECK: Duration = Duration::from_millis(250);

/// A stream that has not named its protocol by then is turned away.
pub const FIRST_BYTE: Duration = Duration::from_secs(5);

/// From a frame's first byte to its last.
pub const FRAME: Duration = Duration::from_secs(5);

/// A request's bytes, from the stream's first byte on; and the answer's, once it is there.
pub(super) const ANSWER_IO: Duration = Duration::from_secs(10);

/// The largest frame, unless a protocol says otherwise.
pub const FRAME_MAX: usize = 1024 * 1024;

/// The largest frame of a snapshot: many small ones let other streams through between them.
pub const SNAPSHOT_FRAME_MAX: usize = 256 * 1024;

/// The largest frame about a leaf: a request to sign, or a leaf and some authorities.
pub const SIGN_FRAME_MAX: usize = 64 * 1024;

/// The largest hello.
pub(super) const HELLO_MAX: usize = 4 * 1024;

/// A frame's buffer grows by at most this much at a time as bytes arrive: a length alone allocates nothing.
pub(super) const READ_CHUNK: usize = 16 * 1024;

/// And by at least this much: most frames are small, and each attempt to read fills with zeros what it may read into.
pub(super) const READ_CHUNK_MIN: usize = 512;

/// Streams of the control protocols that one side may have open at once on a connection.
pub const CONTROL_STREAMS_MAX: usize = 32;

/// Messages that one side may have under way at once on a connection: each holds its place for as long as its handler
/// runs. They never take the places of control or of snapshots.
pub const MESSAGE_STREAMS_MAX: usize = 96;

/// Streams of snapshots that one side may have open at once on a connection: one is under way at a time.
pub const BULK_STREAMS_MAX: usize = 8;

/// What QUIC lets a peer open: the sum, and one for the hello. Messages count twice, since one that is answered is over
/// for who sent it a moment before it is for QUIC, and must not take control's room meanwhile.
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
pub(super) const STREAMS_MAX: u32 =
    (CONTROL_STREAMS_MAX + 2 * MESSAGE_STREAMS_MAX + BULK_STREAMS_MAX) as u32 + 1;

/// Bytes that a peer may send on one stream before they are read: a quarter of a frame, 250 MB/s at a round trip of
/// 1 ms.
pub(super) const STREAM_WINDOW: u32 = 256 * 1024;

/// Bytes that a peer may send on a connection before they are read: what one peer can make us hold.
pub(super) const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Bytes of ours that wait for an acknowledgement on one connection.
pub(super) const SEND_WINDOW: u64 = 4 * 1024 * 1024;

/// The UDP socket's buffers. With the usual 208 KiB a burst on loopback lost 14,000 packets.
pub(super) const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// Below this the operator is told how to raise it.
pub(super) const SOCKET_BUFFER_WANTED: usize = 1024 * 1024;

/// Handshakes under way at once.
pub const HALF_OPEN_MAX: usize = 256;

/// From this many on, whoever dials must first prove its address (a stateless retry), so that forged addresses can't
/// take the rest of the places.
pub const HALF_OPEN_RETRY: usize = 64;

/// Handshakes that wait for us to look at them; QUIC holds their first packets.
pub(super) const INCOMING_MAX: usize = 1024;

/// First packets of one, and of all, handshakes that wait.
pub(super) const INCOMING_BYTES: u64 = 16 * 1024;
/// See [`INCOMING_BYTES`].
pub(super) const INCOMING_BYTES_TOTAL: u64 = 4 * 1024 * 1024;

/// Streams on one connection that were turned away for the peer's own fault, before the connection is closed.
pub const MISCONDUCT_MAX: u64 = 256;

/// Addresses of one peer that are tried at once: A and AAAA, and a second of each while a pod is replaced.
pub(super) const ADDRESSES_MAX: usize = 4;

/// The longest name of a build in a hello.
pub(super) const BUILD_MAX: usize = 128;

/// A connection that was made to ask something once is closed after so long without a stream.
pub(super) const MEET_QUIET: Duration = Duration::from_secs(10);

/// Such connections at once: joiners are few, and know less than members.
pub(super) const MEETINGS_MAX: usize = 64;

/// Nodes that one transport knows. The largest cluster that is planned for has 1,000.
pub(super) const PEERS_MAX: usize = 4096;

/// How long names may take to resolve.
pub(super) const RESOLVE: Duration = Duration::from_secs(2);

/// How long a stop waits for what is under way to see it.
pub(super) const STOP: Duration = Duration::from_secs(5);
