//! Raft, as far as leases rest on it: terms, votes, a leader's rounds, a committed log, restarts and transfers.
//!
//! Three voters, so a leader or candidate and one other are a quorum, and a round or a vote is one step.

use super::{
    Rule,
    log::{Entry, NOBODY, NodeId},
    machine::{Protocol, State, nodes},
    network::Message,
    node::{Appended, Lead},
};

impl State {
    pub(super) fn round(&mut self, leader: NodeId, voter: NodeId, model: &Protocol) -> bool {
        if !self.hears(leader, voter, model) {
            return false;
        }
        if let Some(lead) = &mut self.node(leader).lead {
            if model.bounds.slow_rounds {
                lead.unacked = Some(0);
            } else {
                lead.round = 0;
            }
        }
        true
    }

    /// `voter` takes in a word of `leader`, unless it has promised itself to a later term.
    fn hears(&mut self, leader: NodeId, voter: NodeId, model: &Protocol) -> bool {
        let term = self.node(leader).term;
        let leads = self.node(leader).lead.is_some();
        let voter = self.node(voter);
        if !leads || voter.term > term || (voter.term == term && voter.lead.is_some()) {
            return false;
        }
        voter.resign(model);
        (voter.term, voter.contact) = (term, 0);
        true
    }

    pub(super) fn acknowledge(&mut self, leader: NodeId, model: &Protocol) -> bool {
        let Some(lead) = &mut self.node(leader).lead else { return false };
        let Some(sent) = lead.unacked.take() else { return false };
        let counts = model.rules.hold(Rule::LeaderCountsFromSend);
        lead.round = if counts { lead.round.min(sent) } else { 0 };
        true
    }

    pub(super) fn step_down(&mut self, node: NodeId, model: &Protocol) -> bool {
        let highest = self.nodes.iter().map(|node| node.term).max().unwrap_or_default();
        let node = self.node(node);
        if node.lead.is_none() || highest <= node.term {
            return false;
        }
        node.resign(model);
        node.term = highest;
        true
    }

    pub(super) fn elect(
        &mut self,
        candidate: NodeId,
        voter: NodeId,
        adopt: Option<NodeId>,
        model: &Protocol,
    ) -> bool {
        let votes = self.votes(candidate, model) && self.votes(voter, model);
        votes
            && self.node(candidate).lead.is_none()
            && self.take_over(candidate, voter, adopt, model)
    }

    /// Whether no leader can still count on this node's promise.
    fn votes(&mut self, node: NodeId, model: &Protocol) -> bool {
        let node = self.node(node);
        let since = node.lead.map_or(node.contact, |lead| lead.round);
        since >= model.timing.election
    }

    fn take_over(
        &mut self,
        candidate: NodeId,
        voter: NodeId,
        adopt: Option<NodeId>,
        model: &Protocol,
    ) -> bool {
        let term = self.node(candidate).term.max(self.node(voter).term) + 1;
        let newest = self.committed(model.rules).term;
        let adopted =
            adopt.and_then(|from| self.node(from).appended).filter(|one| one.term >= newest);
        if term > model.bounds.terms || adopt.is_some() != adopted.is_some() {
            return false;
        }
        let node = self.node(voter);
        node.resign(model);
        node.term = term;
        let node = self.node(candidate);
        (node.term, node.lead, node.appended) =
            (term, Some(Lead::elected(candidate, model)), adopted);
        node.contact = model.timing.election;
        if model.rules.hold(Rule::LeaderHoldsNoNodeLease) {
            node.shorten_lease(model);
        }
        if model.rules.hold(Rule::LeadingVoidsOldRenewals) {
            self.network.void_renewals(candidate);
        }
        true
    }

    pub(super) fn establish(&mut self, leader: NodeId, voter: NodeId, model: &Protocol) -> bool {
        let term = self.node(leader).term;
        let known = self.committed(model.rules);
        // A leader that yielded and has not asked for a transfer may think better of it.
        let asked = self.node(leader).lead.is_some_and(|lead| lead.asked);
        let again = known.term == term && known.leader == NOBODY && !asked;
        if (known.term >= term && !again) || !self.hears(leader, voter, model) {
            return false;
        }
        if let Some(adopted) = self.node(leader).appended.take() {
            self.log.push(adopted.entry);
        }
        self.log.push(Entry::Lead { node: leader, term });
        self.acked(leader);
        self.last_index() <= model.bounds.entries
    }

    pub(super) fn commit(&mut self, leader: NodeId, voter: NodeId, model: &Protocol) -> bool {
        let term = self.node(leader).term;
        let Some(Appended { term: of, entry }) = self.node(leader).appended else { return false };
        if of != term
            || self.committed(model.rules).term != term
            || !self.hears(leader, voter, model)
        {
            return false;
        }
        self.log.push(entry);
        self.node(leader).appended = None;
        self.acked(leader);
        self.last_index() <= model.bounds.entries
    }

    fn acked(&mut self, leader: NodeId) {
        if let Some(lead) = &mut self.node(leader).lead {
            lead.round = 0;
        }
    }

    /// The leader writes `entry` to its log, if it may write at all.
    pub(super) fn append(&mut self, leader: NodeId, entry: Entry) -> bool {
        let node = self.node(leader);
        let may = node.is_established(leader) && node.lead.is_some_and(|lead| !lead.asked);
        if !may || node.appended.is_some() {
            return false;
        }
        node.appended = Some(Appended { term: node.term, entry });
        true
    }

    pub(super) fn apply(&mut self, node: NodeId, model: &Protocol) -> bool {
        let next = self.nodes[node as usize].facts.index - self.base.index;
        let Some(entry) = self.log.get(next as usize).copied() else { return false };
        let id = node;
        let node = self.node(node);
        node.facts.apply(entry, model.rules);
        if entry == (Entry::Yield { term: node.term }) && node.has_yielded() {
            node.keep_right(model);
        }
        if let (Some(lead), Entry::Lost { node, .. } | Entry::Started { node, .. }) =
            (&mut node.lead, entry)
        {
            lead.losing[node as usize] = false;
        }
        for (shard, work) in node.facts.shards.iter().zip(&mut node.work) {
            *work = work.filter(|work| shard.owner == id && work.epoch == shard.epoch);
        }
        for (shard, stopped) in node.facts.shards.iter().zip(&mut node.stopped) {
            *stopped = stopped.filter(|word| word.epoch == shard.epoch);
        }
        true
    }

    /// What is durable stays: the boot epoch grows, the promise and the log remain, the state is the last snapshot's.
    pub(super) fn restart(&mut self, node: NodeId, model: &Protocol) -> bool {
        self.restarts += 1;
        let base = self.base;
        let election = model.timing.election;
        let node = self.node(node);
        node.boot += 1;
        node.contact = if model.rules.hold(Rule::RestartedVoterWaits) { 0 } else { election };
        node.facts = base;
        (node.lease, node.lead, node.losing) = (None, None, None);
        (node.stopped, node.work) = (Default::default(), Default::default());
        self.restarts <= model.bounds.restarts
    }

    pub(super) fn yield_lead(&mut self, leader: NodeId) -> bool {
        let term = self.node(leader).term;
        self.append(leader, Entry::Yield { term })
    }

    pub(super) fn ask_transfer(&mut self, leader: NodeId, to: NodeId, model: &Protocol) -> bool {
        let may = self.may_transfer(leader, model);
        let term = self.node(leader).term;
        let Some(lead) = &mut self.node(leader).lead else { return false };
        if lead.asked {
            // The first request may be lost, and openraft lets this leader propose nothing more.
            self.network.send(Message::Transfer { to, term }, model);
            return model.rules.hold(Rule::TransferIsAskedAgain);
        }
        lead.asked = true;
        self.transfers += 1;
        self.network.send(Message::Transfer { to, term }, model);
        may && self.transfers <= model.bounds.transfers
    }

    fn may_transfer(&self, leader: NodeId, model: &Protocol) -> bool {
        let leading = &self.nodes[leader as usize];
        let yielded = leading.has_yielded();
        let rash =
            !yielded && leading.owns_any(leader) && model.rules.hold(Rule::YieldsBeforeTransfer);
        let applied = leading.facts.index == self.last_index() && leading.appended.is_none();
        let in_flight = !applied && model.rules.hold(Rule::NothingInFlightAtTransfer);
        (yielded || leading.is_established(leader)) && !rash && !in_flight
    }

    /// The leader itself lets this election pass every voter's refusal.
    pub(super) fn take_transfer(&mut self, to: NodeId, voter: NodeId, model: &Protocol) -> bool {
        to != voter && self.take_over(to, voter, None, model)
    }

    /// A leader that no one has superseded.
    pub(super) fn rightful_leader(&self) -> Option<NodeId> {
        let highest = self.nodes.iter().map(|node| node.term).max()?;
        nodes().find(|id| {
            let node = &self.nodes[*id as usize];
            node.lead.is_some() && node.term == highest
        })
    }
}
