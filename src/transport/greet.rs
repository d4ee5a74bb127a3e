//! The hello of both sides.

use std::sync::Arc;

use tokio::time::timeout;

use super::{
    CloseCode, Ended, Peer, StreamError,
    frame::{FrameReader, FrameWriter},
    hello::{Hello, Mismatch, Purpose},
    limits::{HANDSHAKE, HELLO_MAX, REASON},
    link::{Link, Rank, Settled},
    network::{Connection, Pipe},
    protocol::HELLO,
    shared::Shared,
};

/// The hello's own priority: before all else.
const PRIORITY: i32 = 20;

/// Why there is no connection after all.
pub(super) fn give_up(connection: &Arc<dyn Connection>, mismatch: &Mismatch) -> Ended {
    connection.close(mismatch.code, &mismatch.reason);
    Ended::Handshake { reason: mismatch.reason.clone() }
}

/// Says hello to whom we have dialled. The caller has the deadline.
pub(super) async fn dialled(
    shared: &Arc<Shared>,
    connection: Arc<dyn Connection>,
    purpose: Purpose,
    serial: u64,
    leaf_number: u64,
) -> Result<Arc<Link>, Ended> {
    let (send, receive) = connection.open().await?;
    let mut writer = FrameWriter::new(send, Some(HELLO), HELLO_MAX, PRIORITY);
    let mut reader = FrameReader::new(receive, HELLO_MAX);
    let own = shared.hello(purpose, serial);
    let exchanged = async {
        writer.send(&own.encode(), HANDSHAKE).await?;
        writer.finish();
        reader.next(HANDSHAKE).await?.ok_or(StreamError::Truncated)
    };
    let reply = match exchanged.await {
        Ok(reply) => reply,
        // The peer's reason is the connection's, not the stream's, and may come behind the stream's end.
        Err(error) => {
            let ended = timeout(REASON, connection.ended()).await;
            return Err(ended.unwrap_or_else(|_| broken(&error)));
        }
    };
    let settled = Hello::decode(&reply)
        .and_then(|hello| settle(shared, &connection, &hello, purpose, serial, true));
    match settled {
        Ok(settled) => {
            Ok(Link::new(shared.clone(), connection, Settled { leaf_number, ..settled }))
        }
        Err(mismatch) => Err(give_up(&connection, &mismatch)),
    }
}

/// Hears the hello of someone who has dialled us, and answers. The caller has the deadline.
pub(super) async fn accepted(
    shared: &Arc<Shared>,
    connection: Arc<dyn Connection>,
    leaf_number: u64,
) -> Result<Arc<Link>, Ended> {
    let pipe = connection.accept().await?;
    match heard(shared, &connection, pipe).await {
        Ok(Ok(settled)) => {
            Ok(Link::new(shared.clone(), connection, Settled { leaf_number, ..settled }))
        }
        Ok(Err(mismatch)) => Err(give_up(&connection, &mismatch)),
        Err(error) => Err(connection.has_ended().unwrap_or_else(|| broken(&error))),
    }
}

async fn heard(
    shared: &Arc<Shared>,
    connection: &Arc<dyn Connection>,
    (send, receive): Pipe,
) -> Result<Result<Settled, Mismatch>, StreamError> {
    let mut reader = FrameReader::new(receive, HELLO_MAX);
    let mut writer = FrameWriter::new(send, None, HELLO_MAX, PRIORITY);
    let not_apolo = |text: &str| Ok(Err(Mismatch::new(CloseCode::NotApolo, text.to_owned())));
    if reader.byte(HANDSHAKE).await? != Some(HELLO) {
        return not_apolo("the first stream is no hello");
    }
    let frame = match reader.next(HANDSHAKE).await {
        Ok(Some(frame)) => frame,
        Ok(None) | Err(StreamError::TooLarge { .. }) => return not_apolo("the hello is malformed"),
        Err(error) => return Err(error),
    };
    let settled = Hello::decode(&frame).and_then(|hello| {
        let (purpose, serial) = (hello.purpose, hello.serial);
        settle(shared, connection, &hello, purpose, serial, false)
    });
    let mut settled = match settled {
        Ok(settled) => settled,
        Err(mismatch) => return Ok(Err(mismatch)),
    };
    if settled.purpose == Purpose::Meet {
        let Ok(place) = shared.meetings.clone().try_acquire_owned() else {
            let text = "too many ask to join at once; try again".to_owned();
            return Ok(Err(Mismatch::new(CloseCode::NotAdmitted, text)));
        };
        settled.meeting = Some(place);
    }
    let reply = shared.hello(settled.purpose, settled.rank.serial);
    writer.send(&reply.encode(), HANDSHAKE).await?;
    writer.finish();
    Ok(Ok(settled))
}

/// Checks the peer's hello, and says what follows from it.
fn settle(
    shared: &Shared,
    connection: &Arc<dyn Connection>,
    hello: &Hello,
    purpose: Purpose,
    serial: u64,
    dialled: bool,
) -> Result<Settled, Mismatch> {
    let holder = connection.holder();
    let version = hello.check(&shared.identity, &holder.identity)?;
    hello.check_profile(shared.profile)?;
    hello.check_format(shared.local.formats())?;
    let (own, node) = (shared.identity.node, holder.identity.node);
    if let Some(slot) = shared.known(node).filter(|_| purpose == Purpose::Peer) {
        slot.check_boot(hello.boot)?;
    }
    shared
        .local
        .admit(node, hello.process, hello.standing)
        .map_err(|reason| Mismatch::new(CloseCode::OldCopy, reason))?;
    let boots = [shared.boot.0, hello.boot.0];
    let rank = Rank {
        boots: if own < node { boots } else { [boots[1], boots[0]] },
        serial,
        by_lower: dialled == (own < node),
    };
    let peer = Peer {
        node,
        boot: hello.boot,
        role: holder.identity.role,
        address: connection.remote(),
        version,
        standing: hello.standing,
        reads: hello.reads,
        allows: hello.allows,
        build: hello.build.as_str().into(),
    };
    Ok(Settled { peer, purpose, rank, dialled, leaf_number: 0, meeting: None })
}

fn broken(error: &StreamError) -> Ended {
    match error {
        StreamError::Ended(ended) => ended.clone(),
        other => Ended::Handshake { reason: format!("no hello: {other}") },
    }
}
