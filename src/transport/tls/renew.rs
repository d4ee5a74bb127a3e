//! Keeps a node's leaf young and its roots those of the authority's directory.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::model::UnixMillis;

use super::{Authority, AuthorityError, Credentials, LEAF_LIFETIME};

/// How a node that holds the authority's key renews.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// Where `ca.crt` and `ca.key` are.
    pub directory: PathBuf,
    /// The life of each leaf.
    pub lifetime: Duration,
    /// How often the directory is looked at. A Secret that changes is seen by a pod within a minute or so anyway.
    pub check_every: Duration,
}

impl Renewal {
    /// From `directory`, with leaves of the usual lifetime.
    #[must_use]
    pub const fn new(directory: PathBuf) -> Self {
        Self { directory, lifetime: LEAF_LIFETIME, check_every: Duration::from_secs(10) }
    }
}

/// Renews the leaf when two thirds of its life are over, and at once when the authority's files change: new roots
/// first, then a leaf of the authority that signs. Files that can't be used change nothing.
pub async fn renew(renewal: Renewal, credentials: Arc<Credentials>, stop: CancellationToken) {
    let mut used: Option<Authority> = None;
    let mut complained = None;
    while stop.run_until_cancelled(sleep(renewal.check_every)).await.is_some() {
        let directory = renewal.directory.clone();
        let now = UnixMillis::now();
        let read = tokio::task::spawn_blocking(move || Authority::load(&directory, now)).await;
        let Ok(read) = read else { continue };
        match read.and_then(|found| look(&renewal, &credentials, &mut used, found, now)) {
            Ok(()) => complained = None,
            Err(error) => complain(&mut complained, &error),
        }
    }
}

fn look(
    renewal: &Renewal,
    credentials: &Credentials,
    used: &mut Option<Authority>,
    found: Authority,
    now: UnixMillis,
) -> Result<(), AuthorityError> {
    let changed = used.as_ref().is_none_or(|used| !used.is_same(&found));
    let (not_before, not_after) = credentials.validity();
    let due = UnixMillis(not_before.0 + not_after.since(not_before).as_millis() as u64 * 2 / 3);
    if changed {
        credentials.trust(found.roots()?)?;
    }
    if changed || now >= due {
        let leaf = found.mint(credentials.identity(), renewal.lifetime, now)?;
        credentials.install(leaf)?;
        metrics::counter!("apolo_transport_renewals_total").increment(1);
        info!(identity = %credentials.identity(), authority_changed = changed, "leaf renewed");
    }
    *used = Some(found);
    Ok(())
}

/// Once for each new complaint: the files are looked at often.
fn complain(complained: &mut Option<String>, error: &AuthorityError) {
    let text = error.to_string();
    if complained.as_ref() != Some(&text) {
        warn!(%error, "can't renew the leaf; the present one stays in use");
        *complained = Some(text);
    }
}
