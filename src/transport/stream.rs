//! What users of the transport hold: a peer, and a stream to it.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::model::{BootEpoch, Format, NodeId};

use super::{
    Protocol, Refused, Role, Standing, StreamError,
    frame::{FrameReader, FrameWriter},
    link::Place,
};

/// Another node, seen from this one: proven by its certificate, and by its own word from the hello.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The node.
    pub node: NodeId,
    /// Which start of the node this is.
    pub boot: BootEpoch,
    /// What its certificate entitles it to.
    pub role: Role,
    /// Where it is at present. It is never known by this.
    pub address: SocketAddr,
    /// The protocol's version that both speak.
    pub version: u16,
    /// Where it stood when it said hello.
    pub standing: Standing,
    /// The newest format that it reads.
    pub reads: Format,
    /// The newest format that its operator lets the cluster write.
    pub allows: Format,
    /// Its build.
    pub build: Arc<str>,
}

/// A stream of frames to and from a peer.
#[derive(Debug)]
pub struct Stream {
    /// The direction to the peer.
    pub sender: Sender,
    /// The direction from the peer.
    pub receiver: Receiver,
}

impl Stream {
    pub(super) fn new(
        protocol: Protocol,
        writer: FrameWriter,
        reader: FrameReader,
        place: Place,
    ) -> Self {
        let place = Arc::new(place);
        Self {
            sender: Sender { protocol, writer, place: Some(place.clone()) },
            receiver: Receiver { protocol, reader, place: Some(place) },
        }
    }

    /// As [`Sender::send`].
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub async fn send(&mut self, frame: &[u8], within: Duration) -> Result<(), StreamError> {
        self.sender.send(frame, within).await
    }

    /// As [`Receiver::receive`].
    ///
    /// # Errors
    ///
    /// As [`Receiver::receive`].
    pub async fn receive(&mut self, within: Duration) -> Result<Option<Bytes>, StreamError> {
        self.receiver.receive(within).await
    }

    /// As [`Sender::finish`].
    pub fn finish(&mut self) {
        self.sender.finish();
    }

    /// Says that all that takes time is done: what the peer still has to say holds no place, which it takes for free as soon
    /// as it has the last answer.
    pub fn leave_place(&mut self) {
        (self.sender.place, self.receiver.place) = (None, None);
    }

    /// Turns the stream away: the peer sees `why` in both directions.
    pub fn refuse(mut self, why: Refused) {
        self.sender.writer.reset(why);
        self.receiver.reader.stop(why);
    }
}

/// The direction to the peer. Dropped unfinished it is reset, so that the peer never takes a part for the whole.
pub struct Sender {
    protocol: Protocol,
    pub(super) writer: FrameWriter,
    place: Option<Arc<Place>>,
}

impl Sender {
    /// Sends one frame; returns when QUIC has taken it, which is before it has arrived. If it is given up within, the
    /// stream is of no more use.
    ///
    /// # Errors
    ///
    /// [`StreamError`]; [`StreamError::TooLarge`] before anything is sent.
    pub async fn send(&mut self, frame: &[u8], within: Duration) -> Result<(), StreamError> {
        self.writer.send(frame, within).await
    }

    /// There will be no more frames.
    pub fn finish(&mut self) {
        self.writer.finish();
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

/// The direction from the peer.
pub struct Receiver {
    protocol: Protocol,
    pub(super) reader: FrameReader,
    place: Option<Arc<Place>>,
}

impl Receiver {
    /// The next frame, or `None` once the peer has finished. A wait that is dropped loses nothing.
    ///
    /// # Errors
    ///
    /// [`StreamError`]; [`StreamError::Late`] where no frame came `within`, or a frame that had begun was not whole
    /// within [`limits::FRAME`](super::limits::FRAME).
    pub async fn receive(&mut self, within: Duration) -> Result<Option<Bytes>, StreamError> {
        self.reader.next(within).await
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}
