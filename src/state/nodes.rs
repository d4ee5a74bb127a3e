//! What commands do to nodes, and to the shards of a node that comes or goes.

use std::collections::BTreeMap;

use super::{
    Assignment, GONE_MAX, Lead, Loss, Move, Node, Outcome, Presence, Refusal, Shard, ShardReport,
    State,
};
use crate::model::{BootEpoch, Epoch, LogIndex, NodeId};

impl State {
    /// The leader of `term` has applied all that was committed before it. Its predecessor is known from here on.
    pub(super) fn begin_lead(&mut self, node: NodeId, term: u64) -> Outcome {
        if self.lead.is_some_and(|known| known.term >= term) {
            return Outcome::Stale;
        }
        let before = self.lead.map(|known| known.node);
        self.lead = Some(Lead { node, term, before });
        Outcome::Applied
    }

    /// The next leader finds no predecessor, and takes nobody's shards before a whole lease is over: one that hands over
    /// has not waited for its own right to end.
    pub(super) fn yield_lead(&mut self, node: NodeId, term: u64) -> Outcome {
        if self.lead.take_if(|lead| (lead.node, lead.term) == (node, term)).is_some() {
            Outcome::Applied
        } else {
            Outcome::Stale
        }
    }

    /// A start gives the node's shards a new epoch: what its last process said and is still on its way counts no more.
    pub(super) fn start_node(
        &mut self,
        index: LogIndex,
        id: NodeId,
        name: String,
        boot: BootEpoch,
    ) -> Outcome {
        if self.cluster.is_none() {
            return Outcome::Refused(Refusal::NotFormed);
        }
        let node = match self.nodes.get(&id) {
            Some(known) if known.boot > boot => {
                return Outcome::Refused(Refusal::OlderBoot(known.boot));
            }
            Some(known) if known.boot == boot => return Outcome::Applied,
            Some(known) => known.restarted(name, boot),
            None => Node::new(name, boot, self.losses_before),
        };
        self.nodes.insert(id, node);
        let epoch = Epoch { generation: self.generation, index };
        for shard in self.shards.values_mut().filter(|shard| shard.is_owned_by(id)) {
            shard.assign(Assignment { node: id, epoch });
            shard.owner_started();
        }
        Outcome::Applied
    }

    /// What the node has reported and nobody has committed yet counts; then it owns nothing any more.
    pub(super) fn lose_node(
        &mut self,
        index: LogIndex,
        loss: Loss,
        reports: &[ShardReport],
        moves: &[Move],
    ) -> Outcome {
        let fits = |node: &&mut Node| {
            (node.boot, node.losses, node.presence) == (loss.boot, loss.losses, Presence::Present)
        };
        let Some(node) = self.nodes.get_mut(&loss.node).filter(fits) else {
            return Outcome::Stale;
        };
        node.presence = Presence::Lost;
        node.losses += 1;
        // A report that is no progress is as good as none: the loss stands.
        let _ = self.each(reports, Shard::report);
        // By shard: a plan that gives one twice gives it once, to the first.
        let mut given = BTreeMap::new();
        for step in moves {
            let held = self.shards.get(&step.shard);
            let fits =
                held.is_some_and(|held| held.is_owned_by(loss.node) && held.epoch() == step.from);
            if fits && self.nodes.get(&step.to).is_some_and(Node::takes_orphans) {
                given.entry(step.shard).or_insert(step.to);
            }
        }
        let epoch = Epoch { generation: self.generation, index };
        for (id, shard) in &mut self.shards {
            if !shard.is_owned_by(loss.node) {
                continue;
            }
            shard.lose_owner();
            if let Some(node) = given.remove(id) {
                shard.assign(Assignment { node, epoch });
            }
        }
        self.forget_hand_offs_to(loss.node);
        Outcome::Applied
    }

    pub(super) fn return_node(&mut self, back: Loss) -> Outcome {
        match self.nodes.get_mut(&back.node) {
            Some(node) if (node.boot, node.losses) == (back.boot, back.losses) => {
                node.presence = Presence::Present;
                Outcome::Applied
            }
            Some(_) => Outcome::Stale,
            None => Outcome::Refused(Refusal::Unknown),
        }
    }

    pub(super) fn drain_node(&mut self, id: NodeId, wanted: bool) -> Outcome {
        let Some(node) = self.nodes.get_mut(&id) else {
            return Outcome::Refused(Refusal::Unknown);
        };
        node.want_empty(wanted);
        if wanted {
            self.forget_hand_offs_to(id);
        }
        Outcome::Applied
    }

    pub(super) fn stop_node(&mut self, id: NodeId, boot: BootEpoch) -> Outcome {
        let Some(node) = self.nodes.get_mut(&id) else {
            return Outcome::Refused(Refusal::Unknown);
        };
        if node.boot != boot {
            return Outcome::Stale;
        }
        node.stop();
        self.forget_hand_offs_to(id);
        Outcome::Applied
    }

    /// Forgets a node. While it owns a shard it may be running it.
    pub(super) fn remove_node(&mut self, id: NodeId) -> Outcome {
        let Some(node) = self.nodes.get(&id) else {
            self.note_gone(id);
            return Outcome::Applied;
        };
        let shards = self.owned_by(id).count();
        if shards > 0 {
            return Outcome::Refused(Refusal::StillOwns { shards });
        }
        self.losses_before = self.losses_before.max(node.losses + 1);
        self.nodes.remove(&id);
        self.note_gone(id);
        self.forget_hand_offs_to(id);
        Outcome::Applied
    }

    /// One node goes on. Every epoch from here on is above all before, those included that only the others knew of.
    pub(super) fn recover(&mut self, survivor: NodeId, gone: &[NodeId]) -> Outcome {
        self.generation += 1;
        self.lead = None;
        self.user.leap();
        for shard in self.shards.values_mut().filter(|shard| !shard.is_owned_by(survivor)) {
            shard.lose_owner();
        }
        let others: Vec<_> = self.nodes.keys().copied().filter(|id| *id != survivor).collect();
        for id in others.iter().chain(gone).filter(|id| **id != survivor) {
            if let Some(node) = self.nodes.remove(id) {
                self.losses_before = self.losses_before.max(node.losses + 1);
            }
            self.note_gone(*id);
            self.forget_hand_offs_to(*id);
        }
        Outcome::Applied
    }

    fn note_gone(&mut self, id: NodeId) {
        self.gone.retain(|gone| *gone != id);
        self.gone.push(id);
        self.user.forget(id);
        let beyond = self.gone.len().saturating_sub(GONE_MAX);
        self.gone.drain(..beyond);
    }

    fn forget_hand_offs_to(&mut self, node: NodeId) {
        for shard in self.shards.values_mut().filter(|shard| shard.handoff() == Some(node)) {
            shard.hand_off(None);
        }
    }

    /// Notes who is to own shards next. Their owners stop, and release them to whom it says.
    pub(super) fn hand_off(&mut self, moves: &[Move]) -> Outcome {
        let mut outcome = Outcome::Applied;
        for step in moves {
            let takes = self.nodes.get(&step.to).is_some_and(Node::takes_shards);
            match self.shards.get_mut(&step.shard) {
                Some(shard)
                    if step.from.is_some()
                        && shard.epoch() == step.from
                        && !shard.is_owned_by(step.to)
                        && takes =>
                {
                    shard.hand_off(Some(step.to));
                }
                Some(_) | None => outcome = Outcome::Stale,
            }
        }
        outcome
    }

    /// Each by itself. A shard that somebody waits for is theirs at once, without another entry between.
    pub(super) fn release(&mut self, index: LogIndex, reports: &[ShardReport]) -> Outcome {
        let mut outcome = Outcome::Applied;
        let epoch = Epoch { generation: self.generation, index };
        for report in reports {
            let Some(shard) = self.shards.get_mut(&report.shard) else {
                outcome = Outcome::Stale;
                continue;
            };
            let next = shard.handoff();
            if shard.release(report).is_err() {
                outcome = Outcome::Stale;
                continue;
            }
            if let Some(to) = next.filter(|to| self.nodes.get(to).is_some_and(Node::takes_shards)) {
                shard.assign(Assignment { node: to, epoch });
            }
        }
        outcome
    }
}
