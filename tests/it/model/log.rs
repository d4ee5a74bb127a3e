//! The committed log, and the facts that follow from it.

use super::{NODES, Rule, Rules, SHARDS};

/// Place of an entry in the log, from 1.
pub(super) type Index = u8;
pub(super) type NodeId = u8;
pub(super) type ShardId = u8;
pub(super) type Term = u8;
pub(super) type Boot = u8;

/// Who leads according to the log once its leader has yielded: no successor takes anybody's shards early.
pub(super) const NOBODY: NodeId = u8::MAX;

/// How far a shard's events are handled: session, then sequence.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Checkpoint {
    pub(super) session: u8,
    pub(super) sequence: u8,
}

/// What an owner says of a shard.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Word {
    pub(super) node: NodeId,
    pub(super) shard: ShardId,
    pub(super) epoch: Index,
    pub(super) checkpoint: Checkpoint,
    /// Discord's id of the session.
    pub(super) session: u8,
}

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Entry {
    /// A leader's first entry.
    Lead { node: NodeId, term: Term },
    /// The leader of `term` is about to ask for a transfer.
    Yield { term: Term },
    /// `node` is lost; its shards go to `to`.
    Lost { node: NodeId, to: NodeId },
    /// A later process of `node` runs; its shards go to `to`, which may be the node itself.
    Started { node: NodeId, boot: Boot, to: NodeId },
    /// The owner's last word on a shard, which goes to `to`.
    Release { word: Word, to: NodeId },
    /// How far the owner has come.
    Report(Word),
    /// READY came.
    StartSession(Word),
}

/// What the log up to some index says.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Facts {
    /// The last entry that is part of this.
    pub(super) index: Index,
    /// The last leader whose first entry was committed.
    pub(super) leader: NodeId,
    /// The one before it.
    pub(super) before: NodeId,
    /// That leader's term.
    pub(super) term: Term,
    pub(super) boots: [Boot; NODES],
    pub(super) shards: [Shard; SHARDS],
    /// A checkpoint went backwards. The model's own note, for a property.
    pub(super) went_back: bool,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Shard {
    pub(super) owner: NodeId,
    pub(super) epoch: Index,
    pub(super) checkpoint: Checkpoint,
    /// Discord's id of the session that can be resumed.
    pub(super) session: u8,
}

impl Facts {
    pub(super) fn apply(&mut self, entry: Entry, rules: Rules) {
        self.index += 1;
        match entry {
            Entry::Lead { node, term } => {
                self.before = self.leader;
                (self.leader, self.term) = (node, term);
            }
            Entry::Yield { term } if term == self.term => self.leader = NOBODY,
            Entry::Yield { .. } => {}
            Entry::Lost { node, to } => self.give(node, to),
            Entry::Started { node, boot, to } => self.start(node, boot, to, rules),
            Entry::Release { word, to } => self.release(word, to, rules),
            Entry::Report(word) => self.report(word, rules),
            Entry::StartSession(word) => self.start_session(word, rules),
        }
    }

    /// Proposed twice, it counts once: the second one would take shards from the very process that the first one named.
    fn start(&mut self, node: NodeId, boot: Boot, to: NodeId, rules: Rules) {
        if boot <= self.boots[node as usize] && rules.hold(Rule::HigherBootFreesLease) {
            return;
        }
        self.boots[node as usize] = boot;
        if node != to || rules.hold(Rule::StartRaisesEpoch) {
            self.give(node, to);
        }
    }

    fn give(&mut self, from: NodeId, to: NodeId) {
        for shard in self.shards.iter_mut().filter(|shard| shard.owner == from) {
            (shard.owner, shard.epoch) = (to, self.index);
        }
    }

    fn release(&mut self, word: Word, to: NodeId, rules: Rules) {
        let shard = &self.shards[word.shard as usize];
        let current = shard.epoch == word.epoch || !rules.hold(Rule::ReleaseNamesItsEpoch);
        if shard.owner != word.node || !current {
            return;
        }
        self.report(word, rules);
        let shard = &mut self.shards[word.shard as usize];
        (shard.owner, shard.epoch) = (to, self.index);
    }

    fn report(&mut self, word: Word, rules: Rules) {
        let shard = &mut self.shards[word.shard as usize];
        let known = shard.checkpoint.session == word.checkpoint.session;
        let grows = shard.epoch == word.epoch && known && word.checkpoint > shard.checkpoint;
        if grows || !rules.hold(Rule::CheckpointsOnlyGrow) {
            self.went_back |= word.checkpoint < shard.checkpoint;
            shard.checkpoint = word.checkpoint;
        }
    }

    fn start_session(&mut self, word: Word, rules: Rules) {
        let shard = &mut self.shards[word.shard as usize];
        let grows = shard.epoch == word.epoch && word.checkpoint.session > shard.checkpoint.session;
        if grows || !rules.hold(Rule::CheckpointsOnlyGrow) {
            self.went_back |= word.checkpoint < shard.checkpoint;
            (shard.checkpoint, shard.session) = (word.checkpoint, word.session);
        }
    }
}
