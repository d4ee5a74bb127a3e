//! Leases: asked for, granted, taken; and the losses that a leader declares when it has granted none for too long.

use std::mem;

use super::{
    Rule,
    log::{Boot, Entry, NodeId},
    machine::{Protocol, State},
    network::Message,
    node::{Lease, Losing},
    time::Age,
};

impl State {
    pub(super) fn renew(&mut self, node: NodeId, leader: NodeId, model: &Protocol) -> bool {
        let boot = self.node(node).boot;
        if self.node(node).lead.is_some() || self.node(leader).lead.is_none() {
            return false;
        }
        if model.bounds.slow_renewals {
            self.network.send(Message::Renew { node, boot, leader, age: 0 }, model);
            return true;
        }
        self.take_renewal(node, boot, leader, 0, model)
    }

    /// A leader takes in a renewal: it grants a lease, learns of a start, or stays silent.
    pub(super) fn take_renewal(
        &mut self,
        node: NodeId,
        boot: Boot,
        leader: NodeId,
        age: Age,
        model: &Protocol,
    ) -> bool {
        let known = self.node(leader).facts.boots[node as usize];
        if self.node(leader).lead.is_none() {
            return false;
        }
        let committed = boot == known || !model.rules.hold(Rule::GrantNamesCommittedBoot);
        if boot < known || !committed || !self.grants_to(leader, node, model) {
            return false;
        }
        let index = self.node(leader).facts.index;
        if let Some(lead) = &mut self.node(leader).lead {
            lead.silence[node as usize] = 0;
            lead.renewed[node as usize] = true;
        }
        if !model.bounds.slow_grants {
            return self.take_grant(node, boot, Lease { age, index }, model);
        }
        self.network.send(Message::Grant { node, boot, index, age }, model);
        true
    }

    /// The new process proves that the old one is dead, so what that owned is free.
    pub(super) fn greet(
        &mut self,
        node: NodeId,
        leader: NodeId,
        to: NodeId,
        model: &Protocol,
    ) -> bool {
        let boot = self.node(node).boot;
        let known = self.node(leader).facts.boots[node as usize];
        let frees = boot > known || !model.rules.hold(Rule::HigherBootFreesLease);
        frees
            && self.begin_taking(leader, node, model)
            && self.append(leader, Entry::Started { node, boot, to })
    }

    fn grants_to(&self, leader: NodeId, node: NodeId, model: &Protocol) -> bool {
        let rules = model.rules;
        let leading = &self.nodes[leader as usize];
        let Some(lead) = leading.lead else { return false };
        let begun = leading.is_established(leader) || leading.has_yielded();
        let first = begun || !rules.hold(Rule::NoGrantBeforeFirstEntry);
        let kept = !lead.losing[node as usize] || !rules.hold(Rule::NoGrantToTheLosing);
        let briefly =
            lead.round < model.timing.renews_others || !rules.hold(Rule::RenewsOthersBriefly);
        let stays = !lead.asked || !rules.hold(Rule::NoGrantAfterTransfer);
        first && kept && briefly && stays
    }

    pub(super) fn take_grant(
        &mut self,
        node: NodeId,
        boot: Boot,
        lease: Lease,
        model: &Protocol,
    ) -> bool {
        let node = self.node(node);
        if node.boot != boot || node.lead.is_some() {
            return false;
        }
        let from_send = model.rules.hold(Rule::RenewalCountsFromSend);
        let lease = if from_send { lease } else { Lease { age: 0, ..lease } };
        if node.lease.is_none_or(|held| held.age > lease.age) {
            node.lease = Some(lease);
        }
        true
    }

    pub(super) fn lose(
        &mut self,
        leader: NodeId,
        node: NodeId,
        to: NodeId,
        model: &Protocol,
    ) -> bool {
        let leading = self.node(leader);
        let term = leading.term;
        let idle = leading.losing.is_none() && leading.appended.is_none();
        let plans = leading.is_established(leader) && idle && leading.owns_any(node);
        if !plans || !self.is_silent(leader, node, model) {
            return false;
        }
        self.node(leader).losing = Some(Losing { node, term });
        self.begin_taking(leader, node, model)
            && (model.bounds.slow_losses || self.propose(leader, to, model))
    }

    fn is_silent(&self, leader: NodeId, node: NodeId, model: &Protocol) -> bool {
        let leading = &self.nodes[leader as usize];
        let Some(lead) = leading.lead.filter(|lead| !lead.asked) else { return false };
        let rules = model.rules;
        let silence = lead.silence[node as usize];
        if lead.renewed[node as usize] {
            return silence >= model.timing.ttl;
        }
        if leading.facts.before == node {
            return silence >= model.timing.dead_leader || !rules.hold(Rule::DeadLeaderIsWaitedFor);
        }
        silence >= model.timing.ttl || !rules.hold(Rule::OthersAreWaitedFor)
    }

    pub(super) fn propose(&mut self, leader: NodeId, to: NodeId, model: &Protocol) -> bool {
        let leading = self.node(leader);
        let Some(Losing { node, term }) = leading.losing else { return false };
        let of_its_term = term == leading.term || !model.rules.hold(Rule::LossOfItsTerm);
        self.node(leader).losing = None;
        // A measurement of another term is dropped.
        !of_its_term || (node != to && self.append(leader, Entry::Lost { node, to }))
    }

    /// From here on a leader grants `node` nothing, until it has applied the entry that takes the shards.
    fn begin_taking(&mut self, leader: NodeId, node: NodeId, model: &Protocol) -> bool {
        let Some(lead) = &mut self.node(leader).lead else { return false };
        let first = !mem::replace(&mut lead.losing[node as usize], true);
        first || !model.rules.hold(Rule::OneTakingAtATime)
    }
}
