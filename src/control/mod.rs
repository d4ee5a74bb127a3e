//! What only the leader does: keep every shard owned by a node that is there, and let shards through the identify
//! turnstile.
//!
//! One loop: look at the state and at who renews its lease, decide ([`placement`], [`identify`],
//! [`Tenure`]), propose. It runs on every node and acts only while that node leads. What it decides is in the log or
//! never happened.
//!
//! It promises that a shard is taken from a node only when no lease of that node can be in force, and that what a lost
//! node has reported is committed with its loss. It does not run shards, and it tells nobody: the state does.

mod autopilot;
mod desk;
mod hand_offs;
mod identifies;
pub mod identify;
mod membership;
mod permits;
mod proposer;
mod remote;
mod removal;
mod reports;
mod transfer;
mod wish;
mod wishes;

pub use autopilot::VOTERS_MAX;
pub use permits::PermitDesk;
pub use reports::report_pause;
pub use wish::{Fulfilled, Wish, WishRefusal};
pub use wishes::{WishError, Wishes};

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::lease::{Right, Tenure};
use crate::model::{BootEpoch, NodeId};
use crate::placement;
use crate::raft::{Handle, Leadership};
use crate::state::{Command, Loss, Presence, ShardReport, State};
use crate::transport::Transport;

use desk::Desk;
use hand_offs::HandOffs;
use identifies::{Identifies, News};
use membership::Membership;
use proposer::Proposer;
use remote::RemotePermits;
use reports::Reports;
use wish::WishAnswer;
use wishes::Asked;

/// How long the leader waits before it looks again after a proposal failed.
const RETRY: Duration = Duration::from_millis(100);

/// Between two looks at the leases: a quarter of the margin by which a loss is declared late.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Without any change the state is looked at this often by a node that does not lead, in case a wake-up was missed.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(5);

/// The leader's loop.
#[derive(Debug)]
pub struct Control {
    me: NodeId,
    raft: Handle,
    right: Right,
    desk: Desk,
    identifies: Identifies,
    inbox: mpsc::Receiver<Vec<ShardReport>>,
    wishes: mpsc::Receiver<Asked>,
    reports: Reports,
    membership: Membership,
    hand_offs: HandOffs,
    /// The nodes as last seen in this term: start, losses, presence.
    nodes: BTreeMap<NodeId, (BootEpoch, u32, Presence)>,
}

/// What a leader's loop goes by.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Comes on top of Discord's own spacing of identifies.
    pub spawn_delay: Duration,
    /// How many nodes are to vote, at most [`VOTERS_MAX`].
    pub voters: usize,
}

/// The ways to the loop.
#[derive(Debug)]
pub struct Doors {
    /// Where shards of this node ask for permits.
    pub permits: PermitDesk,
    /// Where this node's shards report.
    pub reports: mpsc::Sender<Vec<ShardReport>>,
    /// Where operators ask.
    pub wishes: Wishes,
}

impl Control {
    /// The loop, and the ways to it. With a transport it serves the other nodes too.
    #[must_use]
    pub fn new(
        raft: Handle,
        right: Right,
        transport: Option<&Transport>,
        options: Options,
    ) -> (Self, Doors) {
        let (permits, asks) = PermitDesk::new();
        let (desk, inbox) = Desk::new(raft.clone(), right.clone());
        let (wishes, asked) = Wishes::new(raft.clone(), transport.cloned());
        if let Some(transport) = transport {
            desk.serve(transport);
            RemotePermits::new(raft.clone(), permits.clone()).serve(transport);
            wishes.serve(transport);
        }
        let doors = Doors { permits, reports: desk.reports(), wishes };
        let control = Self {
            me: raft.id(),
            hand_offs: HandOffs::new(right.clock().now()),
            desk,
            identifies: Identifies::new(asks, options.spawn_delay),
            membership: Membership::new(raft.clone(), right.clone(), options.voters),
            raft,
            right,
            inbox,
            wishes: asked,
            reports: Reports::default(),
            nodes: BTreeMap::new(),
        };
        (control, doors)
    }

    /// Runs until `stop`. Nobody is renewed any more afterwards.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.look_on()).await;
        self.desk.begin(None);
    }

    async fn look_on(&mut self) {
        let mut states = self.raft.states();
        let mut leadership = self.raft.leadership();
        let mut leading = None;
        loop {
            let state = Arc::clone(&states.borrow_and_update());
            let leads = match *leadership.borrow_and_update() {
                Leadership::Leading { term } => Some(term),
                Leadership::Following { .. } => None,
            };
            if leads != leading {
                leading = leads;
                self.desk.begin(None);
            }
            let done = match leads {
                Some(term) => self.lead(term, &state).await,
                None => Ok(()),
            };
            let now = Instant::now();
            let look = if leads.is_some() { LOOK_EVERY } else { LOOK_AT_LEAST_EVERY };
            let wake = match done {
                Ok(()) => self.identifies.wakes_at(now).unwrap_or(now + look).min(now + look),
                Err(()) => now + RETRY,
            };
            tokio::select! {
                changed = states.changed() => if changed.is_err() { return },
                changed = leadership.changed() => if changed.is_err() { return },
                Some(reports) = self.inbox.recv() => self.reports.add(reports),
                Some(asked) = self.wishes.recv() => self.fulfil(asked, leads).await,
                () = self.desk.back() => {}
                news = self.identifies.news() => match news {
                    News::Asked(ask) => self.identifies.ask(ask, &states.borrow()),
                    News::Used(used) => self.identifies.note(used),
                    News::Over => return,
                },
                () = sleep_until(wake) => {}
            }
        }
    }

    /// One round of a leader.
    async fn lead(&mut self, term: u64, state: &State) -> Result<(), ()> {
        let proposer = Proposer { raft: self.raft.clone(), term };
        let Some(lead) = state.lead().filter(|it| (it.node, it.term) == (self.me, term)) else {
            self.reports.clear();
            // From the entry on, its successor knows whom it succeeds.
            return proposer.propose(Command::Lead { node: self.me, term }).await.map(drop);
        };
        if self.desk.term().is_none() {
            let predecessor = lead.before.filter(|before| *before != self.me);
            let now = self.right.clock().now();
            self.desk.begin(Some(Tenure::new(term, predecessor, now)));
            self.identifies.begin_term();
            self.membership.begin_term();
            self.hand_offs = HandOffs::new(now);
            self.nodes.clear();
            info!(term, "this node leads");
        }
        self.meet(state);
        self.lose_the_silent(&proposer, state).await?;
        self.take_back(&proposer, state).await?;
        let moves = placement::assign(state);
        if !moves.is_empty() {
            debug!(shards = moves.len(), "assigning shards that nobody owns");
            // The new state wakes the loop.
            return proposer.propose(Command::Assign(moves)).await.map(drop);
        }
        let moves = self.hand_offs.plan(self.right.clock().now(), state);
        if !moves.is_empty() {
            info!(shards = moves.len(), "shards are to change hands");
            return proposer.propose(Command::HandOff(moves)).await.map(drop);
        }
        self.reports.commit(&proposer, state);
        self.membership.look(&proposer, state);
        self.identifies.act(&proposer, state).await
    }

    /// Does what an operator wishes, and nothing else meanwhile.
    async fn fulfil(&mut self, Asked { wish, reply }: Asked, leads: Option<u64>) {
        if reply.is_closed() {
            // It has waited for so long that whoever asked has gone on.
            return;
        }
        let Some(term) = leads
            .filter(|term| self.desk.term().as_ref().is_some_and(|it| it.tenure.term() == *term))
        else {
            let _ = reply.send(WishAnswer::NotLeader { leader: None });
            return;
        };
        let proposer = Proposer { raft: self.raft.clone(), term };
        self.membership.settle().await;
        let state = Arc::clone(&self.raft.states().borrow());
        let done = match wish {
            Wish::TransferLeader { to } => {
                transfer::transfer(&self.desk, &proposer, &state, to).await
            }
            Wish::Remove(node) => {
                removal::remove(&proposer, &state, node, self.membership.wanted()).await
            }
            Wish::Leave { node, check } => {
                removal::leave(&proposer, &state, (node, check), self.membership.wanted()).await
            }
        };
        // Whoever asked may have given up.
        let _ = reply.send(match done {
            Ok(done) => WishAnswer::Done(done),
            Err(refusal) => WishAnswer::Refused(refusal),
        });
    }

    /// Gives nodes that have come, or come back, time for their first renewal; and ends the losing of those that are
    /// lost.
    fn meet(&mut self, state: &State) {
        let now = self.right.clock().now();
        let mut term = self.desk.term();
        let Some(term) = term.as_mut() else { return };
        let first = self.nodes.is_empty();
        for (id, node) in state.nodes() {
            let seen = (node.boot, node.losses, node.presence);
            if self.nodes.insert(*id, seen) == Some(seen) {
                continue;
            }
            term.tenure.settled(*id);
            // In the first round everybody's silence counts from the beginning of the term.
            if !first {
                term.tenure.met(now, *id);
            }
        }
        self.nodes.retain(|id, _| state.nodes().contains_key(id));
    }

    /// Takes the shards of nodes that can't hold a lease any more, one entry for each.
    async fn lose_the_silent(&mut self, proposer: &Proposer, state: &State) -> Result<(), ()> {
        let now = self.right.clock().now();
        let timing = *self.right.timing();
        let silent = {
            let mut term = self.desk.term();
            let Some(term) = term.as_mut() else { return Err(()) };
            let present = state
                .nodes()
                .iter()
                .filter(|(id, node)| **id != self.me && node.presence == Presence::Present);
            let mut silent = present.filter(|(id, _)| term.tenure.is_silent(&timing, now, **id));
            let found = silent.next().map(|(id, node)| (*id, node.clone()));
            let found = found.map(|(id, node)| (id, node, term.tenure.silence(now, id)));
            found.filter(|(id, _, _)| term.tenure.begin_loss(*id))
        };
        let Some((id, node, silence)) = silent else { return Ok(()) };
        let moves = placement::on_loss(state, id);
        let reports = self.reports.of(state, id);
        let shards = state.owned_by(id).count();
        let silent_ms = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
        info!(node = %node.name, shards, silent_ms, "the node is given up");
        let loss = Loss { node: id, boot: node.boot, losses: node.losses };
        if proposer.insist(Command::LoseNode { loss, reports, moves }).await {
            debug!(node = %node.name, shards, "the loss is committed");
            Ok(())
        } else {
            Err(())
        }
    }

    async fn take_back(&mut self, proposer: &Proposer, state: &State) -> Result<(), ()> {
        let back = self.desk.term().as_mut().map(|term| std::mem::take(&mut term.back));
        for id in back.unwrap_or_default() {
            let Some(node) = state.nodes().get(&id).filter(|it| it.presence == Presence::Lost)
            else {
                continue;
            };
            debug!(node = %node.name, "the node is back");
            let life = Loss { node: id, boot: node.boot, losses: node.losses };
            proposer.propose(Command::ReturnNode(life)).await?;
        }
        Ok(())
    }
}
