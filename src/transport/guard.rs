//! Watches over one connection: its peer's certificate, its age, and its end after it was replaced.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::info;

use crate::model::UnixMillis;

use super::{
    CloseCode, dial,
    hello::Purpose,
    limits::{BACKOFF_MAX, MEET_QUIET, VALIDITY_CHECK},
    link::Link,
    peer::Slot,
};

/// Runs until the connection has ended, and ends it where it must.
pub(super) async fn watch(slot: Option<Arc<Slot>>, link: Arc<Link>) {
    let mut credentials = link.shared.credentials.as_ref().map(|credentials| credentials.watch());
    let mut quiet = Quiet::new(&link);
    let mut refresh_at = None;
    link.shared.counters.connect();
    // What was changed since the handshake looked at the certificate, before this watch began, is seen at once.
    let mut changed = true;
    loop {
        if let Some(reason) = invalid(&link, changed) {
            info!(node = %link.peer.node, reason, "connection closed");
            link.connection.close(CloseCode::Certificate, &reason);
        } else if link.retired.is_cancelled() || link.purpose == Purpose::Meet {
            if quiet.is_over(&link) {
                link.connection.close(CloseCode::Superseded, "no longer needed");
            }
        } else if let Some(slot) = slot.as_ref().filter(|_| wants_refresh(&link)) {
            let now = Instant::now();
            let spread = || now + slot.jitter(link.shared.timings.refresh_spread, 0.0);
            if *refresh_at.get_or_insert_with(spread) <= now {
                // The next attempt, if this one fails.
                refresh_at = Some(now + BACKOFF_MAX);
                let (shared, slot) = (link.shared.clone(), slot.clone());
                link.shared.spawn(async move { dial::refresh(&shared, &slot).await });
            }
        }
        changed = tokio::select! {
            biased;
            ended = link.connection.ended() => {
                link.shared.counters.disconnect();
                if let Some(slot) = &slot {
                    slot.ended(&link, &ended);
                }
                return;
            }
            () = change(&mut credentials) => true,
            () = sleep(VALIDITY_CHECK) => false,
        };
    }
}

async fn change(credentials: &mut Option<watch::Receiver<u64>>) {
    let changed = match credentials {
        Some(credentials) => credentials.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending::<()>().await;
    }
}

/// Why the peer's certificate is no longer good. TLS looks at it once, during the handshake.
fn invalid(link: &Link, changed: bool) -> Option<String> {
    let holder = link.connection.holder();
    let now = UnixMillis::now();
    if holder.not_after.is_some_and(|not_after| now >= not_after) {
        return Some("the certificate has ended".to_owned());
    }
    let credentials = link.shared.credentials.as_ref().filter(|_| changed)?;
    let refusal = credentials.current().check_chain(&holder.chain, now).err()?;
    Some(refusal.to_string())
}

/// Whether a new connection should take this one's place: the dialler replaces an old one, and either side one that
/// was made with a leaf that has been renewed, since the peer closes it at that leaf's end.
fn wants_refresh(link: &Link) -> bool {
    let aged = link.dialled && link.since.elapsed() >= link.shared.timings.age_max;
    aged || link.leaf_number < link.shared.leaf_number()
}

/// Since when nothing has been under way on a connection that is no longer needed.
struct Quiet {
    needed: Duration,
    since: Option<Instant>,
    retired: Option<Instant>,
}

impl Quiet {
    fn new(link: &Link) -> Self {
        let needed = match link.purpose {
            Purpose::Peer => link.shared.timings.retire_quiet,
            Purpose::Meet => MEET_QUIET,
        };
        Self { needed, since: None, retired: None }
    }

    fn is_over(&mut self, link: &Link) -> bool {
        let now = Instant::now();
        let retired = *self.retired.get_or_insert(now);
        if link.active() > 0 {
            self.since = None;
        } else {
            self.since.get_or_insert(now);
        }
        let quiet = self.since.is_some_and(|since| now - since >= self.needed);
        quiet || now - retired >= link.shared.timings.retire_max
    }
}
