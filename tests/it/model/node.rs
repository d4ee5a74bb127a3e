//! One node: what it promised, what it knows, and whether it may deliver.

use super::{
    NODES, Rule, SHARDS,
    log::{Boot, Checkpoint, Entry, Facts, Index, NOBODY, NodeId, ShardId, Term, Word},
    machine::Protocol,
    time::{Age, older},
};

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Node {
    pub(super) boot: Boot,
    /// The highest term it has promised itself to.
    pub(super) term: Term,
    /// Since the last word from a leader, up to the time for which it refuses votes.
    pub(super) contact: Age,
    /// What it has applied.
    pub(super) facts: Facts,
    pub(super) lease: Option<Lease>,
    pub(super) lead: Option<Lead>,
    /// A loss that its control loop has decided and not yet proposed. It outlives the term.
    pub(super) losing: Option<Losing>,
    /// An entry in its log that is not committed. It outlives the term and the process.
    pub(super) appended: Option<Appended>,
    /// Its last word on each shard that it has stopped.
    pub(super) stopped: [Option<Word>; SHARDS],
    /// Its connections to Discord.
    pub(super) work: [Option<Work>; SHARDS],
}

/// The right to own, from a leader.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Lease {
    /// Since the renewal was sent.
    pub(super) age: Age,
    /// The leader's applied index.
    pub(super) index: Index,
}

/// What a node holds that believes it leads `Node::term`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Lead {
    /// Since the last round was sent that a quorum acknowledged, up to the right to own.
    pub(super) round: Age,
    /// Since a round was sent whose acknowledgement is on its way.
    pub(super) unacked: Option<Age>,
    /// Since each node was granted a lease or, before the first one, since the election, up to the TTL.
    pub(super) silence: [Age; NODES],
    /// Whether each node was granted a lease in this term.
    pub(super) renewed: [bool; NODES],
    /// Whether it has decided to take each node's shards, and has not applied that entry yet.
    pub(super) losing: [bool; NODES],
    /// It has asked for a transfer.
    pub(super) asked: bool,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Losing {
    pub(super) node: NodeId,
    pub(super) term: Term,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Appended {
    pub(super) term: Term,
    pub(super) entry: Entry,
}

/// A connection, and what came over it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Work {
    pub(super) epoch: Index,
    /// The session's number.
    pub(super) number: u8,
    /// Discord's id of the session.
    pub(super) session: u8,
    /// The last sequence received.
    pub(super) received: u8,
    /// Which of the events are handled, by sequence.
    pub(super) handled: u8,
}

impl Work {
    /// The sequence up to which every event is handled.
    pub(super) const fn contiguous(self) -> u8 {
        (self.handled >> 1).trailing_ones() as u8
    }

    /// The highest sequence that is handled, the wrong thing to report.
    const fn highest(self) -> u8 {
        7 - (self.handled | 1).leading_zeros() as u8
    }

    pub(super) fn checkpoint(self, model: &Protocol) -> Checkpoint {
        let contiguous = model.rules.hold(Rule::CheckpointIsContiguous);
        let sequence = if contiguous { self.contiguous() } else { self.highest() };
        Checkpoint { session: self.number, sequence }
    }
}

impl Lead {
    pub(super) fn elected(leader: NodeId, model: &Protocol) -> Self {
        let mut silence = [0; NODES];
        silence[leader as usize] = model.timing.ttl;
        Self {
            round: model.timing.leader_owns,
            unacked: None,
            silence,
            renewed: [false; NODES],
            losing: [false; NODES],
            asked: false,
        }
    }

    fn forget(&mut self, superseded: bool, predecessor: NodeId, model: &Protocol) {
        let ttl = model.timing.ttl;
        for (id, (renewed, silence)) in (0..).zip(self.renewed.iter_mut().zip(&mut self.silence)) {
            if superseded && model.rules.hold(Rule::LossOfItsTerm) {
                *silence = ttl;
            }
            *renewed &= *silence < ttl;
            if model.rules.hold(Rule::OthersAreWaitedFor) {
                *renewed &= id == predecessor;
            }
        }
    }

    fn tick(&mut self, model: &Protocol) {
        older(&mut self.round, model.timing.leader_owns);
        if let Some(age) = &mut self.unacked {
            older(age, model.timing.leader_owns);
        }
        for age in &mut self.silence {
            older(age, model.timing.ttl);
        }
    }
}

impl Node {
    pub(super) fn tick(&mut self, model: &Protocol) {
        older(&mut self.contact, model.timing.election);
        if let Some(lease) = &mut self.lease {
            lease.age += 1;
            if lease.age >= model.timing.ttl {
                self.lease = None;
            }
        }
        if let Some(lead) = &mut self.lead {
            lead.tick(model);
        }
    }

    /// Drops what can't matter any more, given all that is committed.
    pub(super) fn forget(&mut self, id: NodeId, committed: Facts, model: &Protocol) {
        self.appended = self.appended.filter(|appended| appended.term >= committed.term);
        if let Some(lease) = &mut self.lease
            && lease.index <= self.facts.index
        {
            lease.index = 0;
        }
        let superseded = committed.term > self.term;
        let predecessor = if committed.leader == id { committed.before } else { committed.leader };
        if let Some(lead) = &mut self.lead {
            lead.forget(superseded, predecessor, model);
        }
    }

    /// A candidate keeps no more of its lease than a leader's right lasts: its successor waits for no more.
    pub(super) fn shorten_lease(&mut self, model: &Protocol) {
        let spent = model.timing.ttl - model.timing.leader_owns;
        if let Some(lease) = &mut self.lease {
            lease.age = lease.age.max(spent);
        }
    }

    /// It has applied that it yields: its right grows no more, and lasts as long as it would have.
    pub(super) fn keep_right(&mut self, model: &Protocol) {
        let owns = model.timing.leader_owns;
        if let Some(lead) = self.lead.filter(|lead| lead.round < owns) {
            let age = model.timing.ttl - owns + lead.round;
            let held = self.lease.map_or(model.timing.ttl, |lease| lease.age);
            self.lease = Some(Lease { age: age.min(held), index: 0 });
        }
    }

    /// It leads no longer. The right that its last acknowledged round gave it lasts as long as it would have.
    pub(super) fn resign(&mut self, model: &Protocol) {
        let Some(lead) = self.lead.take() else { return };
        let began = self.facts.term == self.term;
        if began && !lead.asked {
            self.lead = Some(lead);
            self.keep_right(model);
            self.lead = None;
        }
    }

    /// It believes that it leads, and has applied that it yields.
    pub(super) fn has_yielded(&self) -> bool {
        self.lead.is_some() && self.facts.leader == NOBODY && self.facts.term == self.term
    }

    /// It believes that it leads, and its first entry is applied.
    pub(super) fn is_established(&self, id: NodeId) -> bool {
        self.lead.is_some() && self.facts.leader == id && self.facts.term == self.term
    }

    /// Whether it may own shards at this instant.
    fn has_right(&self, id: NodeId, model: &Protocol) -> bool {
        let lease = self.lease.is_some_and(|lease| {
            self.facts.index >= lease.index || !model.rules.hold(Rule::LeaseWaitsForItsIndex)
        });
        lease || self.lead.is_some_and(|lead| self.leads_with_right(id, lead, model))
    }

    fn leads_with_right(&self, id: NodeId, lead: Lead, model: &Protocol) -> bool {
        let rules = model.rules;
        let fresh = lead.round < model.timing.leader_owns || !rules.hold(Rule::LeaderRightEnds);
        let first = self.is_established(id) || !rules.hold(Rule::LeaderOwnsFromFirstEntry);
        fresh && first
    }

    /// Whether it would deliver an event of `shard` at this instant.
    pub(super) fn delivers(&self, id: NodeId, shard: ShardId, model: &Protocol) -> bool {
        let known = self.facts.shards[shard as usize];
        let stopped = self.stopped[shard as usize].is_some_and(|word| word.epoch == known.epoch);
        known.owner == id && !stopped && self.has_right(id, model)
    }

    pub(super) fn owns_any(&self, node: NodeId) -> bool {
        self.facts.shards.iter().any(|shard| shard.owner == node)
    }
}
