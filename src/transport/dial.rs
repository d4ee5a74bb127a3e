//! Reaching peers, and being reached.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::{
    CloseCode, Ended, greet, guard,
    hello::{Mismatch, Purpose},
    limits::{ADDRESSES_MAX, RESOLVE, SETTLED},
    link::Link,
    network::{Arrival, Connected, Connection, Target},
    peer::Slot,
    router,
    shared::Shared,
};

/// Keeps a peer connected: dials whenever there is no connection, with back-off and jitter.
pub(super) async fn keep(shared: Arc<Shared>, slot: Arc<Slot>) {
    let mut failures = 0_u32;
    while slot.is_kept() {
        if slot.link().is_some() {
            let up = Instant::now();
            slot.wait_for(|link| link.is_none()).await;
            failures = if up.elapsed() >= SETTLED { 0 } else { failures + 1 };
            continue_after(&shared, failures, &slot).await;
        } else if let Err(ended) = attempt(&shared, &slot).await {
            shared.note_refusal(&ended);
            slot.note_failure(ended.to_string());
            failures += 1;
            continue_after(&shared, failures, &slot).await;
        }
    }
}

/// Waits before the next attempt, or until the peer has reached us.
async fn continue_after(shared: &Shared, failures: u32, slot: &Slot) {
    if failures == 0 {
        return;
    }
    let timings = &shared.timings;
    let doubled = timings.backoff_min.saturating_mul(1 << (failures - 1).min(16));
    let wait = slot.jitter(doubled.min(timings.backoff_max), 0.5);
    tokio::select! {
        biased;
        _ = slot.wait_for(|link| link.is_some()) => {}
        () = sleep(wait) => {}
    }
}

/// Makes a connection beside the present one, which it replaces when its hello is over.
pub(super) async fn refresh(shared: &Arc<Shared>, slot: &Arc<Slot>) {
    if let Err(ended) = attempt(shared, slot).await {
        debug!(node = %slot.node, reason = %ended, "the connection was not replaced; again soon");
    }
}

async fn attempt(shared: &Arc<Shared>, slot: &Arc<Slot>) -> Result<(), Ended> {
    let leaf_number = shared.leaf_number();
    let addresses = addresses(slot).await;
    shared.counters.dial();
    let connection =
        race(shared, addresses, Target::Node(slot.node), shared.timings.connect).await?;
    let serial = slot.next_serial();
    let hello = greet::dialled(shared, connection.clone(), Purpose::Peer, serial, leaf_number);
    let link = in_time(shared, &connection, hello).await?;
    slot.install(&link).map_err(|mismatch| greet::give_up(&connection, &mismatch))
}

/// Where the peer may be: as its addresses say, or else where its present connection comes from, since a node has one
/// port for everything.
async fn addresses(slot: &Slot) -> Vec<SocketAddr> {
    let mut found = match slot.addresses() {
        Some(addresses) => timeout(RESOLVE, addresses.resolve()).await.unwrap_or_default(),
        None => slot.link().iter().map(|link| link.peer.address).collect(),
    };
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|address| seen.insert(*address));
    found.truncate(ADDRESSES_MAX);
    found
}

/// Dials all addresses at once; the first to answer is taken.
async fn race(
    shared: &Shared,
    addresses: Vec<SocketAddr>,
    target: Target,
    within: Duration,
) -> Connected {
    let dials = addresses.iter().map(|address| shared.network.connect(*address, target));
    let mut dials: FuturesUnordered<_> = dials.collect();
    let mut last = Ended::Failed { reason: "it has no address".to_owned() };
    let first = timeout(within, async {
        while let Some(connected) = dials.next().await {
            match connected {
                Ok(connection) => return Ok(connection),
                Err(ended) => last = ended,
            }
        }
        Err(last)
    });
    let silent = |_| Ended::Failed { reason: format!("no answer from {addresses:?}") };
    first.await.map_err(silent)?
}

/// The hello, within its deadline.
async fn in_time(
    shared: &Shared,
    connection: &Arc<dyn Connection>,
    hello: impl Future<Output = Result<Arc<Link>, Ended>>,
) -> Result<Arc<Link>, Ended> {
    let late = || Mismatch::new(CloseCode::Late, "the hello took too long".to_owned());
    match timeout(shared.timings.handshake, hello).await {
        Ok(greeted) => greeted,
        Err(_) => Err(greet::give_up(connection, &late())),
    }
}

/// Connects to whoever is at `address`, to ask something once.
pub(super) async fn meet(shared: &Arc<Shared>, address: SocketAddr) -> Result<Arc<Link>, Ended> {
    let leaf_number = shared.leaf_number();
    let connection = race(shared, vec![address], Target::Anyone, shared.timings.handshake).await?;
    let hello = greet::dialled(shared, connection.clone(), Purpose::Meet, 0, leaf_number);
    let link = in_time(shared, &connection, hello).await?;
    shared.tasks.spawn(guard::watch(None, link.clone()));
    Ok(link)
}

/// Takes handshakes as they come, until the network is closed.
pub(super) async fn listen(shared: Arc<Shared>) {
    while let Some(arrival) = shared.network.accept().await {
        let greeting = shared.clone();
        shared.spawn(async move { arrive(&greeting, arrival).await });
    }
}

async fn arrive(shared: &Arc<Shared>, Arrival { handshake, place }: Arrival) {
    let leaf_number = shared.leaf_number();
    let connection = match timeout(shared.timings.handshake, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(ended)) => return debug!(reason = %ended, "a handshake failed"),
        Err(_) => return debug!("a handshake took too long"),
    };
    let hello = greet::accepted(shared, connection.clone(), leaf_number);
    let link = match in_time(shared, &connection, hello).await {
        Ok(link) => link,
        Err(ended) => {
            let node = connection.holder().identity.node;
            return debug!(%node, reason = %ended, "no hello");
        }
    };
    drop(place);
    if link.purpose == Purpose::Meet {
        shared.spawn(router::accept(link.clone()));
        shared.tasks.spawn(guard::watch(None, link));
        return;
    }
    let crowded =
        || Mismatch::new(CloseCode::NotAdmitted, "too many nodes are known here".to_owned());
    let installed =
        shared.slot(link.peer.node).ok_or_else(crowded).and_then(|slot| slot.install(&link));
    if let Err(mismatch) = installed {
        greet::give_up(&connection, &mismatch);
    }
}
