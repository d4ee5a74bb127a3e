//! Discord, and the owner's side of a connection: resume, identify, events, progress, handoff.

use super::{
    Rule,
    log::{Checkpoint, NodeId, ShardId, Word},
    machine::{Protocol, State},
    network::Message,
    node::Work,
};

/// What Discord knows of a shard, and what the model notes beside it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Discord {
    /// The id of the session that can be resumed.
    pub(super) session: u8,
    /// It has dropped that session, and told nobody yet.
    pub(super) dropped: bool,
    /// Sessions dropped so far.
    pub(super) drops: u8,
    /// The last event that an owner took from the session.
    pub(super) taken: u8,
    /// Which of the session's events are handled, by sequence. The model's own note.
    pub(super) handled: u8,
    /// An event was skipped. The model's own note.
    pub(super) skipped: bool,
}

impl Discord {
    pub(super) const fn new() -> Self {
        Self { session: 1, dropped: false, drops: 0, taken: 0, handled: 0, skipped: false }
    }

    fn resume(&mut self, from: u8) {
        let before = (1 << (from + 1)) - 2;
        self.skipped |= self.handled & before != before;
    }

    /// A new session. The old one's events are lost silently if Discord could still have replayed them.
    fn identify(&mut self) {
        self.skipped |= !self.dropped && self.taken > 0;
        *self = Self { session: self.session + 1, dropped: false, taken: 0, handled: 0, ..*self };
    }
}

impl State {
    pub(super) fn connect(&mut self, node: NodeId, shard: ShardId, model: &Protocol) -> bool {
        let known = self.node(node).facts.shards[shard as usize];
        let delivers = self.node(node).delivers(node, shard, model);
        let discord = &mut self.discord[shard as usize];
        let connected = self.nodes[node as usize].work[shard as usize];
        let alive =
            connected.is_some_and(|work| work.session == discord.session && !discord.dropped);
        if !delivers || alive {
            return false;
        }
        let resumes = known.session == discord.session && !discord.dropped;
        let (number, received) = if resumes {
            discord.resume(known.checkpoint.sequence);
            (known.checkpoint.session, known.checkpoint.sequence)
        } else {
            discord.identify();
            (known.checkpoint.session + 1, 0)
        };
        let handled = ((1_u16 << (received + 1)) - 2) as u8;
        let session = discord.session;
        self.node(node).work[shard as usize] =
            Some(Work { epoch: known.epoch, number, session, received, handled });
        true
    }

    pub(super) fn work(&self, node: NodeId, shard: ShardId) -> Option<Work> {
        self.nodes[node as usize].work[shard as usize]
    }

    pub(super) fn word(&self, node: NodeId, shard: ShardId, checkpoint: Checkpoint) -> Word {
        let known = self.nodes[node as usize].facts.shards[shard as usize];
        let session = self.work(node, shard).map_or(known.session, |work| work.session);
        Word { node, shard, epoch: known.epoch, checkpoint, session }
    }

    /// A number that is taken already is another session's, so the next one is asked for.
    pub(super) fn say_ready(&mut self, node: NodeId, shard: ShardId, model: &Protocol) -> bool {
        let known = self.node(node).facts.shards[shard as usize];
        let Some(work) = &mut self.node(node).work[shard as usize] else { return false };
        if known.session == work.session {
            return false;
        }
        work.number = known.checkpoint.session + 1;
        let checkpoint = Checkpoint { session: work.number, sequence: 0 };
        let word = self.word(node, shard, checkpoint);
        self.network.send(Message::StartSession(word), model);
        true
    }

    pub(super) fn receive(&mut self, node: NodeId, shard: ShardId, model: &Protocol) -> bool {
        let known = self.node(node).facts.shards[shard as usize];
        let delivers = self.node(node).delivers(node, shard, model);
        let discord = &mut self.discord[shard as usize];
        let Some(work) = &mut self.nodes[node as usize].work[shard as usize] else { return false };
        let first =
            known.session == work.session || !model.rules.hold(Rule::SessionBeforeItsEvents);
        let alive = work.session == discord.session && !discord.dropped;
        if !delivers || !first || !alive || work.received == model.bounds.events {
            return false;
        }
        work.received += 1;
        discord.taken = discord.taken.max(work.received);
        true
    }

    pub(super) fn handle(&mut self, node: NodeId, shard: ShardId, sequence: u8) -> bool {
        let discord = &mut self.discord[shard as usize];
        let Some(work) = &mut self.nodes[node as usize].work[shard as usize] else { return false };
        let bit = 1 << sequence;
        if sequence > work.received || work.handled & bit != 0 {
            return false;
        }
        work.handled |= bit;
        if work.session == discord.session {
            discord.handled |= bit;
        }
        true
    }

    pub(super) fn say_progress(&mut self, node: NodeId, shard: ShardId, model: &Protocol) -> bool {
        let known = self.node(node).facts.shards[shard as usize];
        let Some(work) = self.work(node, shard) else { return false };
        let checkpoint = work.checkpoint(model);
        if known.session != work.session || checkpoint <= known.checkpoint {
            return false;
        }
        let word = self.word(node, shard, checkpoint);
        self.network.send(Message::Report(word), model);
        true
    }

    pub(super) fn drop_session(&mut self, shard: ShardId, model: &Protocol) -> bool {
        let discord = &mut self.discord[shard as usize];
        let may = !discord.dropped && discord.drops < model.bounds.drops;
        discord.dropped = true;
        discord.drops += 1;
        may
    }
}
