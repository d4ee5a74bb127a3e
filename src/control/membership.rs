//! Carries out what the autopilot decides, beside the loop: a change of the members may take an election's time.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::Instant};
use tracing::{info, warn};

use super::{
    autopilot::{Autopilot, Change, Sight},
    proposer::Proposer,
};
use crate::lease::Right;
use crate::raft::Handle;
use crate::state::{Command, State};

/// Between two looks: a change is never urgent.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The changes of the members, one at a time.
#[derive(Debug)]
pub(super) struct Membership {
    raft: Handle,
    right: Right,
    wanted: usize,
    autopilot: Autopilot,
    changing: Option<JoinHandle<()>>,
    looked: Option<Instant>,
}

impl Membership {
    pub(super) fn new(raft: Handle, right: Right, wanted: usize) -> Self {
        let autopilot = Autopilot::default();
        Self { raft, right, wanted, autopilot, changing: None, looked: None }
    }

    /// What was seen in another term counts no more.
    pub(super) fn begin_term(&mut self) {
        self.autopilot = Autopilot::default();
    }

    /// How many are to vote.
    pub(super) const fn wanted(&self) -> usize {
        self.wanted
    }

    /// Waits for the change that is under way, if one is.
    pub(super) async fn settle(&mut self) {
        if let Some(task) = self.changing.take() {
            // It has told what came of it.
            let _ = task.await;
        }
    }

    /// Looks whether a change is due, and begins it.
    pub(super) fn look(&mut self, proposer: &Proposer, state: &State) {
        if self.changing.as_ref().is_some_and(|task| !task.is_finished())
            || self.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY)
        {
            return;
        }
        self.looked = Some(Instant::now());
        let Some(matched) = self.raft.matched() else { return };
        let members = Arc::new(self.raft.members().borrow().clone());
        let sight = Sight {
            me: self.raft.id(),
            members: &members,
            nodes: state.nodes(),
            matched: &matched,
            last: state.applied().0,
            wanted: self.wanted,
            format: state.format(),
            allowed: &self.raft.allowed_formats(),
        };
        let Some(change) = self.autopilot.decide(self.right.clock().now(), &sight) else { return };
        let (raft, proposer) = (self.raft.clone(), proposer.clone());
        if matches!(&change, Change::Voters(voters) if voters.len() > 1) {
            // A sole voter owns without an end. Before there is a second one, its right has one.
            self.right.lead_no_longer_alone();
        }
        self.changing = Some(tokio::spawn(async move {
            info!(?change, "changing the cluster");
            let changed = match &change {
                Change::Voters(voters) => raft.set_voters(&members, voters.clone(), true).await,
                Change::Forget(node) if members.contains(*node) => {
                    raft.remove_learner(&members, *node).await
                }
                // A removal before this one was not told the state.
                Change::Forget(_) => Ok(()),
                // Who has joined meanwhile was not asked.
                Change::Format(_) if *raft.members().borrow() != *members => return,
                Change::Format(_) => Ok(()),
            };
            match (changed, change) {
                (Ok(()), Change::Forget(node)) => {
                    let _ = proposer.propose(Command::RemoveNode { node }).await;
                }
                (Ok(()), Change::Format(format)) => {
                    let _ = proposer.propose(Command::RaiseFormat(format)).await;
                }
                (Ok(()), Change::Voters(_)) => {}
                (Err(error), _) => warn!(%error, "the members stay as they were"),
            }
        }));
    }
}
