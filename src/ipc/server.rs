//! What other nodes' messages meet here.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::{runtime::Handle, time::Instant};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{debug, warn};

use super::{
    client::TIMEOUT_MAX,
    handlers::Call,
    local::{Errand, Local},
    message::Sender,
    wire::{self, Data, Failure, Letter, Reply},
};
use crate::transport::{Peer, Protocol, Refused, Stream, StreamError, Transport};

/// How long a letter may take once its stream is open.
const LETTER_WITHIN: Duration = Duration::from_secs(10);

/// How long a reply may take to leave: longer, and its sender does not read.
const REPLY_WITHIN: Duration = Duration::from_secs(10);

/// How long a sender may take to confirm that it has all replies.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(5);

/// Serves other nodes' messages, on the threads of whoever calls this and not on the transport's.
pub(super) fn serve(transport: &Transport, local: &Arc<Local>) {
    let (local, here) = (Arc::clone(local), Handle::current());
    transport.register(Protocol::Ipc, move |peer: Peer, _: Protocol, stream: Stream| {
        let (local, came) = (Arc::clone(&local), Instant::now());
        let received = here.spawn(async move { receive(&local, peer, stream, came).await });
        async move {
            if let Err(error) = AbortOnDropHandle::new(received).await {
                debug!(%error, "a message was not taken to its end");
            }
        }
    });
}

async fn receive(local: &Arc<Local>, peer: Peer, mut stream: Stream, came: Instant) {
    let frame = match stream.receive(LETTER_WITHIN).await {
        Ok(Some(frame)) => frame,
        Ok(None) => return,
        Err(error) => return debug!(node = %peer.node, %error, "no message came"),
    };
    match Letter::read(&frame) {
        Ok(letter) => answer(local, &peer, (letter, came), stream).await,
        Err(error) => {
            warn!(node = %peer.node, %error, "a message can't be read");
            stream.refuse(Refused::Failed);
        }
    }
}

/// Sends each receiver's reply as it comes, and forgets the message once the sender confirms them.
async fn answer(
    local: &Arc<Local>,
    peer: &Peer,
    (letter, came): (Letter, Instant),
    mut stream: Stream,
) {
    let left = Duration::from_millis(letter.left_ms.into()).min(TIMEOUT_MAX);
    // From when its stream came, however long this task had to wait: the window counts on it.
    let deadline = came + left;
    let cancelled = CancellationToken::new();
    let event: Arc<str> = letter.event.into();
    let Some(data) = local.hold(Bytes::from(letter.data.0)) else {
        // The sender tries again.
        return stream.refuse(Refused::Busy);
    };
    let is_alone = letter.receivers.len() == 1;
    let mut running: FuturesUnordered<_> = letter
        .receivers
        .iter()
        .map(|address| {
            let receiver = address.receiver;
            let call = Call {
                id: letter.id,
                kind: letter.kind,
                event: Arc::clone(&event),
                sender: Sender { node: peer.node, shard: letter.sender },
                receiver,
                sent_at: letter.sent_at,
                cancelled: cancelled.clone(),
            };
            let errand = Errand { call, address: *address, data: data.clone(), deadline };
            async move { (receiver, local.run(errand, is_alone).await) }
        })
        .collect();
    // Only handlers need it from here on.
    drop(data);
    let mut answered = Vec::new();
    loop {
        let (receiver, answer) = tokio::select! {
            replied = running.next() => match replied {
                Some(replied) => replied,
                None => break,
            },
            heard = stream.receiver.receive(left) => {
                // The sender went away. With its connection alone it may come again, and must find its answer.
                if is_goodbye(&heard) {
                    cancelled.cancel();
                }
                return;
            }
        };
        let is_end = !matches!(answer, Err(Failure::Moved | Failure::Overloaded));
        let reply = Reply { receiver, answer: answer.map(|bytes| Data(bytes.to_vec())) };
        if let Err(error) = stream.sender.send(&wire::encode(&reply), REPLY_WITHIN).await {
            if is_goodbye(&Err(error.clone())) {
                cancelled.cancel();
            }
            return debug!(node = %peer.node, %error, "a reply was not sent");
        }
        answered.extend(is_end.then_some(receiver));
    }
    stream.finish();
    stream.leave_place();
    if is_goodbye(&stream.receive(CONFIRMED_WITHIN).await) {
        answered.into_iter().for_each(|receiver| local.confirm((receiver, letter.id)));
    }
}

/// Whether the sender says that it wants no answer, or no more of them. One that asks again ends its stream otherwise.
const fn is_goodbye(heard: &Result<Option<Bytes>, StreamError>) -> bool {
    matches!(heard, Ok(_) | Err(StreamError::Refused(Refused::GivenUp)))
}
