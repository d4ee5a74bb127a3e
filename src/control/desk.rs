//! The leader's answers to renewals. They are given beside the loop, which may wait for a commit.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tracing::warn;

use crate::lease::{
    self, Answer, Known, NoGrant, Quorum, Refusal, Renewal, Right, Tenure, Translation,
};
use crate::model::NodeId;
use crate::raft::{Handle, Leadership};
use crate::state::{Node, Presence, ShardReport};
use crate::transport::{self, Peer, Protocol, Refused, Transport};

/// Reports on their way to the loop: a few from each of a hundred nodes. When it is full the next ones say the same.
const REPORTS_MAX: usize = 512;

/// What the loop and those who answer renewals share.
#[derive(Clone, Debug)]
pub(super) struct Desk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    raft: Handle,
    right: Right,
    term: Mutex<Option<Term>>,
    reports: mpsc::Sender<Vec<ShardReport>>,
    /// Wakes the loop: a node that was lost is back.
    back: Notify,
}

/// A term in which this node leads.
#[derive(Debug)]
pub(super) struct Term {
    pub(super) tenure: Tenure,
    /// Nodes that count as lost and have renewed.
    pub(super) back: BTreeSet<NodeId>,
    translation: Translation,
}

impl Desk {
    pub(super) fn new(raft: Handle, right: Right) -> (Self, mpsc::Receiver<Vec<ShardReport>>) {
        let (reports, inbox) = mpsc::channel(REPORTS_MAX);
        let shared = Shared { raft, right, term: Mutex::default(), reports, back: Notify::new() };
        (Self(Arc::new(shared)), inbox)
    }

    /// The way in for reports of this very node.
    pub(super) fn reports(&self) -> mpsc::Sender<Vec<ShardReport>> {
        self.0.reports.clone()
    }

    /// Serves renewals of other nodes.
    pub(super) fn serve(&self, transport: &Transport) {
        let desk = self.clone();
        transport.register(
            Protocol::Lease,
            transport::answer(move |peer: Peer, request: Bytes| {
                let answer = desk.renewal(peer.node, &request);
                async move { answer }
            }),
        );
    }

    /// A term begins, or none does.
    pub(super) fn begin(&self, tenure: Option<Tenure>) {
        let translation = Translation::new(self.0.right.clock());
        *self.term() = tenure.map(|tenure| Term { tenure, back: BTreeSet::new(), translation });
    }

    pub(super) fn term(&self) -> MutexGuard<'_, Option<Term>> {
        self.0.term.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn back(&self) {
        self.0.back.notified().await;
    }

    /// How sure this leader of `term` is that it still leads.
    fn quorum(&self, term: u64, translation: &mut Translation) -> Quorum {
        let seen = self.0.raft.quorum();
        if seen.term != term {
            return Quorum::Unknown;
        }
        if seen.alone {
            return Quorum::Alone;
        }
        let at = seen.at.and_then(|at| translation.moment(at));
        at.map_or(Quorum::Unknown, Quorum::Acknowledged)
    }

    fn renewal(&self, node: NodeId, request: &[u8]) -> Result<Bytes, Refused> {
        let Renewal { boot, reports } = lease::decode(request).map_err(|error| {
            warn!(%node, %error, "a renewal can't be read");
            Refused::Failed
        })?;
        if !reports.is_empty() {
            // A loop that is busy takes the next ones: they say all that these do.
            let _ = self.0.reports.try_send(reports);
        }
        let answer = match *self.0.raft.leadership().borrow() {
            Leadership::Leading { term } => self.grant(term, node, boot),
            Leadership::Following { leader } => Answer::NotLeader { leader },
        };
        Ok(lease::encode(&answer).into())
    }

    fn grant(&self, term: u64, node: NodeId, boot: crate::model::BootEpoch) -> Answer {
        let timing = *self.0.right.timing();
        let now = self.0.right.clock().now();
        let mut held = self.term();
        let Some(begun) = held.as_mut().filter(|begun| begun.tenure.term() == term) else {
            return Answer::Refused(Refusal::NotSure);
        };
        let quorum = self.quorum(term, &mut begun.translation);
        let (known, index) = {
            let states = self.0.raft.states();
            let state = states.borrow();
            (state.nodes().get(&node).map(known), state.applied())
        };
        match begun.tenure.grant(&timing, now, quorum, node, boot, known) {
            Ok(()) => Answer::Granted { term, index },
            Err(NoGrant::OtherBoot) => Answer::Refused(Refusal::NotStarted),
            Err(NoGrant::NoQuorum | NoGrant::Transferring) => Answer::Refused(Refusal::NotSure),
            Err(NoGrant::Lost) => {
                if known.is_some_and(|known| known.lost) && begun.back.insert(node) {
                    self.0.back.notify_one();
                }
                Answer::Refused(Refusal::Lost)
            }
        }
    }
}

fn known(node: &Node) -> Known {
    Known { boot: node.boot, lost: node.presence == Presence::Lost }
}
