//! Who serves which protocol, and the streams that peers open.

use std::{fmt, future::Future, sync::Arc};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use tracing::debug;

use crate::model::NodeId;

use super::{
    CloseCode, Peer, Protocol, Refused, Stream, StreamError, allowed,
    frame::{FrameReader, FrameWriter},
    hello::Purpose,
    limits::{ANSWER_IO, FIRST_BYTE, FRAME_MAX, MISCONDUCT_MAX},
    link::Link,
    network::Pipe,
};

/// Serves one protocol's streams.
pub trait Handler: Send + Sync + 'static {
    /// Serves a stream that `peer` has opened. The peer was allowed to open it; what it says is still to be checked
    /// against who it is.
    fn serve(&self, peer: Peer, protocol: Protocol, stream: Stream) -> BoxFuture<'static, ()>;
}

impl<F, Fut> Handler for F
where
    F: Fn(Peer, Protocol, Stream) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    fn serve(&self, peer: Peer, protocol: Protocol, stream: Stream) -> BoxFuture<'static, ()> {
        self(peer, protocol, stream).boxed()
    }
}

/// Makes a handler of a function from request to answer: one frame each way.
pub fn answer<F, Fut>(function: F) -> impl Handler
where
    F: Fn(Peer, Bytes) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Bytes, Refused>> + Send + 'static,
{
    let function = Arc::new(function);
    move |peer: Peer, _: Protocol, mut stream: Stream| {
        let function = function.clone();
        async move {
            let request = match stream.receive(ANSWER_IO).await {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(error) => return debug!(%error, node = %peer.node, "no request came"),
            };
            match function(peer, request).await {
                Ok(answer) => {
                    let sent = stream.send(&answer, ANSWER_IO).await;
                    stream.finish();
                    // The stream's end has usually come with the frame: seen, it needs no word from us.
                    let _end = stream.receive(ANSWER_IO).now_or_never();
                    if let Err(error) = sent {
                        debug!(%error, "the answer was not sent");
                    }
                }
                Err(refused) => stream.refuse(refused),
            }
        }
    }
}

/// The handlers, by protocol.
#[derive(Default)]
pub(super) struct Router {
    handlers: [ArcSwapOption<Box<dyn Handler>>; Protocol::ALL.len()],
    bar: ArcSwapOption<Bar>,
}

/// Whether a node's streams of a protocol are turned away.
pub(super) type Bar = Box<dyn Fn(NodeId, Protocol) -> bool + Send + Sync>;

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let served = Protocol::ALL.iter().filter(|protocol| self.handler(**protocol).is_some());
        f.debug_set().entries(served).finish()
    }
}

impl Router {
    pub(super) fn register(&self, protocol: Protocol, handler: Box<dyn Handler>) {
        self.handlers[protocol as usize - 1].store(Some(Arc::new(handler)));
    }

    /// Lets go of all of them. A handler may hold the transport that holds this, and with it the port.
    pub(super) fn clear(&self) {
        for handler in &self.handlers {
            handler.store(None);
        }
    }

    pub(super) fn bar(&self, bar: Bar) {
        self.bar.store(Some(Arc::new(bar)));
    }

    fn bars(&self, node: NodeId, protocol: Protocol) -> bool {
        self.bar.load().as_ref().is_some_and(|bar| bar(node, protocol))
    }

    fn handler(&self, protocol: Protocol) -> Option<Arc<Box<dyn Handler>>> {
        self.handlers[protocol as usize - 1].load_full()
    }
}

/// Takes the streams that the peer of `link` opens, until the connection ends.
pub(super) async fn accept(link: Arc<Link>) {
    while let Ok(pipe) = link.connection.accept().await {
        let serving = link.clone();
        let stop = link.shared.stop.clone();
        link.shared.tasks.spawn(async move {
            stop.run_until_cancelled(serve(serving, pipe)).await;
        });
    }
}

async fn serve(link: Arc<Link>, (send, receive): Pipe) {
    let mut reader = FrameReader::new(receive, FRAME_MAX);
    let mut writer = FrameWriter::new(send, None, FRAME_MAX, 0);
    let accepted = match reader.byte(FIRST_BYTE).await {
        Ok(Some(byte)) => admit(&link, byte),
        Ok(None) | Err(StreamError::Late) => Err(Refused::Late),
        Err(_) => return,
    };
    match accepted {
        Ok((protocol, handler, place)) => {
            reader.set_max(protocol.frame_max());
            writer.set(protocol.frame_max(), protocol.priority());
            link.shared.counters.serve();
            let stream = Stream::new(protocol, writer, reader, place);
            handler.serve(link.peer.clone(), protocol, stream).await;
        }
        Err(why) => {
            writer.reset(why);
            reader.stop(why);
            turned_away(&link, why);
        }
    }
}

type Accepted = (Protocol, Arc<Box<dyn Handler>>, super::link::Place);

fn admit(link: &Arc<Link>, byte: u8) -> Result<Accepted, Refused> {
    let protocol = Protocol::from_byte(byte).ok_or(Refused::NotServed)?;
    let met = link.purpose == Purpose::Meet && protocol != Protocol::Join;
    if met || !allowed(link.peer.role, protocol) {
        return Err(Refused::NotAllowed);
    }
    if link.shared.router.bars(link.peer.node, protocol) {
        return Err(Refused::NotAllowed);
    }
    let handler = link.shared.router.handler(protocol).ok_or(Refused::NotServed)?;
    let place = link.serve_place(protocol).ok_or(Refused::Busy)?;
    Ok((protocol, handler, place))
}

/// A peer that keeps asking for what it can't have is disconnected: even a refusal costs us something.
fn turned_away(link: &Link, why: Refused) {
    link.shared.counters.turn_away(why.as_str());
    debug!(node = %link.peer.node, %why, "stream turned away");
    // Who has just let go of a place may be ahead of what tells us so.
    let blameless = matches!(why, Refused::NotServed | Refused::Busy);
    if !blameless && link.misconduct() >= MISCONDUCT_MAX {
        link.connection.close(CloseCode::Misconduct, "too many streams had to be turned away");
    }
}
