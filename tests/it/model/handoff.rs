//! An owner gives a shard up: it stops, its handlers finish, the socket is closed, and then it says so.

use super::{
    Rule,
    log::{Checkpoint, NodeId, ShardId},
    machine::{Protocol, State},
    network::Message,
};

impl State {
    /// No new events, handlers finish, the socket is closed, and then the last word.
    pub(super) fn hand_off(&mut self, node: NodeId, shard: ShardId, model: &Protocol) -> bool {
        let known = self.node(node).facts.shards[shard as usize];
        let work = self.work(node, shard);
        let idle = work.is_none_or(|work| work.contiguous() == work.received);
        let ready = idle || !model.rules.hold(Rule::HandlersFinishBeforeRelease);
        let committed = work.is_none_or(|work| work.session == known.session);
        if !ready || !committed || !self.node(node).delivers(node, shard, model) {
            return false;
        }
        self.handoffs += 1;
        let checkpoint = work.map_or(known.checkpoint, |work| Checkpoint {
            session: work.number,
            sequence: work.received,
        });
        let word = self.word(node, shard, checkpoint);
        if model.rules.hold(Rule::StopsBeforeRelease) {
            self.node(node).stopped[shard as usize] = Some(word);
            self.node(node).work[shard as usize] = None;
        }
        self.network.send(Message::Release(word), model);
        self.handoffs <= model.bounds.handoffs
    }

    pub(super) fn say_again(&mut self, node: NodeId, shard: ShardId, model: &Protocol) -> bool {
        let Some(word) = self.node(node).stopped[shard as usize] else { return false };
        self.network.send(Message::Release(word), model);
        true
    }
}
