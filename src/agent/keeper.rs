//! Keeps the node's right to run shards: by renewals where another node leads, by its own quorum where this one does.
//! The shards' reports ride along.

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, FutureExt as _, pending};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::lease::{self, Answer, Moment, Renewal, Right, Translation};
use crate::model::{BootEpoch, LogIndex, NodeId};
use crate::raft::{Handle, Leadership};
use crate::state::{ShardReport, State};
use crate::transport::{Protocol, Transport};

/// Between two looks at the leader's own quorum: half of a heartbeat, so that no acknowledged round is missed for long.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Reports that come early are sent this far apart: next to nothing of what a shard may be ahead, and one entry for all.
const EARLY_EVERY: Duration = Duration::from_millis(10);

/// Reports in one renewal: 48 bytes each at most, so that it stays below a tenth of a frame.
pub(super) const REPORTS_MAX: usize = 2_048;

/// A way to the leader's loop in this process.
pub type LocalReports = mpsc::Sender<Vec<ShardReport>>;

/// What a keeper works with.
pub(super) struct Keeper {
    pub(super) me: NodeId,
    pub(super) boot: BootEpoch,
    pub(super) raft: Handle,
    pub(super) right: Right,
    pub(super) transport: Option<Transport>,
    /// What the shards have done that is not committed yet.
    pub(super) reports: watch::Receiver<Arc<Vec<ShardReport>>>,
    pub(super) local: LocalReports,
    /// Asks for a renewal before its time, for the reports' sake.
    pub(super) early: Arc<Notify>,
}

/// A grant that waits for the node to have applied as far as the leader had.
struct Pending {
    term: u64,
    sent: Moment,
    index: LogIndex,
}

type Renewing = BoxFuture<'static, (NodeId, Moment, Option<Answer>)>;

impl Keeper {
    /// Runs until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut states = self.raft.states();
        let mut translation = Translation::new(self.right.clock());
        let mut renewing: Option<Renewing> = None;
        let mut granted: Option<Pending> = None;
        let mut due = Instant::now();
        loop {
            let state = Arc::clone(&states.borrow_and_update());
            self.take_effect(&mut granted, &state);
            let leadership = *self.raft.leadership().borrow();
            if let Leadership::Leading { term } = leadership {
                self.count_on_quorum(term, &state, &mut translation);
            }
            let now = Instant::now();
            if now >= due && renewing.is_none() {
                due = now + self.right.timing().renew_every;
                renewing = self.renew(leadership);
            }
            let wake = (now + LOOK_EVERY).min(due.max(now + EARLY_EVERY));
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(wake) => {}
                changed = states.changed() => if changed.is_err() { return },
                () = self.early.notified() => due = due.min(Instant::now()),
                answered = answer_to(&mut renewing) => {
                    renewing = None;
                    granted = self.answered(answered).or(granted);
                }
            }
        }
    }

    /// A lease is in force only once this node knows all that the leader knew: what it may not own any more, above all.
    fn take_effect(&self, pending: &mut Option<Pending>, state: &State) {
        if let Some(Pending { term, sent, .. }) =
            pending.take_if(|grant| state.applied() >= grant.index)
        {
            self.right.grant(term, sent);
        }
    }

    /// A leader needs nobody's leave while a quorum follows it, once it has applied that it leads.
    fn count_on_quorum(&self, term: u64, state: &State, translation: &mut Translation) {
        let begun = state.lead().is_some_and(|lead| (lead.node, lead.term) == (self.me, term));
        let quorum = self.raft.quorum();
        let at = quorum.at.and_then(|at| translation.moment(at));
        if !begun || quorum.term != term {
            return;
        }
        if quorum.alone {
            self.right.lead_alone(term);
        } else if let Some(at) = at {
            self.right.lead_no_longer_alone();
            self.right.lead(term, at);
        }
    }

    /// Sends what is due to whoever leads.
    fn renew(&self, leadership: Leadership) -> Option<Renewing> {
        let reports = Arc::clone(&self.reports.borrow());
        let leader = match leadership {
            Leadership::Following { leader } => leader?,
            Leadership::Leading { .. } => {
                if !reports.is_empty() {
                    // A loop that is busy takes the next ones: they say all that these do.
                    let _ = self.local.try_send(reports.as_ref().clone());
                }
                return None;
            }
        };
        let transport = self.transport.clone()?;
        let reports = reports.iter().take(REPORTS_MAX).copied().collect();
        let request = lease::encode(&Renewal { boot: self.boot, reports });
        let within = self.right.timing().renew_within;
        let sent = self.right.clock().now();
        let asked = async move {
            let asked = transport.request(leader, Protocol::Lease, &request, within);
            let answer = match asked.await {
                Ok(bytes) => lease::decode::<Answer>(&bytes).ok(),
                Err(error) => {
                    debug!(%leader, %error, "the lease was not renewed");
                    // The connection may be stuck where a new one is not.
                    transport.refresh(leader);
                    None
                }
            };
            (leader, sent, answer)
        };
        Some(asked.boxed())
    }

    fn answered(
        &self,
        (leader, sent, answer): (NodeId, Moment, Option<Answer>),
    ) -> Option<Pending> {
        match answer? {
            Answer::Granted { term, index } => Some(Pending { term, sent, index }),
            Answer::NotLeader { .. } => None,
            Answer::Refused(why) => {
                debug!(%leader, ?why, "the lease was not renewed");
                None
            }
        }
    }
}

/// The answer to the renewal that is under way; never, where there is none.
async fn answer_to(renewing: &mut Option<Renewing>) -> (NodeId, Moment, Option<Answer>) {
    match renewing {
        Some(renewing) => renewing.await,
        None => pending().await,
    }
}
