//! The replicated state machine.
//!
//! Everything that must be right about ownership, sessions and identifies is decided here, in [`State::apply`]. It is
//! a value: no I/O, no clock, no randomness, no order of a hash. Equal logs make equal states, byte for byte.
//!
//! It promises that a shard's (epoch, session number, sequence) only grows, that a command from a former owner changes
//! nothing, that only its owner's release or loss takes a shard from its owner, that a lost node owns nothing, and that
//! no IDENTIFY is granted past a bucket, the day's budget or a halt. It does not plan: a [`Command::Assign`] says who
//! gets a shard, and who decided so is not its business.

#![warn(clippy::wildcard_enum_match_arm, reason = "a new command must be looked at everywhere")]

mod codec;
mod command;
mod facts;
mod ledger;
mod node;
mod nodes;
mod roster;
mod shard;
#[cfg(test)]
mod tests;
mod tokens;
pub mod user;

pub use codec::{CodecError, decode_command, decode_state, encode_command, encode_state};
pub use command::{Command, Gateway, Limits, Loss, Move, Outcome, Refusal, ShardReport};
pub use facts::Facts;
pub use ledger::{Halted, Ledger, Purpose};
pub use node::{Drain, Node, Presence};
pub use roster::{GuildSize, Roster, RosterReport};
pub use shard::{Assignment, Shard};
pub use tokens::{Invitation, NewToken, TOKEN_LIFETIME_MAX, TokenUse};

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::{
    ClusterId, Epoch, Format, LogIndex, NodeId, ShardId, ShardTotal, SystemHealth, TokenId,
    system_health,
};
use user::UserState;

/// What all nodes of a cluster know.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct State {
    cluster: Option<ClusterId>,
    generation: u32,
    facts: Option<Facts>,
    gateway: Option<Gateway>,
    nodes: BTreeMap<NodeId, Node>,
    /// Above every count of losses of a node that is gone, so that no command about it fits one that takes its id.
    losses_before: u32,
    shards: BTreeMap<ShardId, Shard>,
    ledger: Ledger,
    lead: Option<Lead>,
    applied: LogIndex,
    /// Nodes that were removed, the latest last: at most [`GONE_MAX`]. Not part of version 1.
    gone: Vec<NodeId>,
    /// Not part of version 1.
    tokens: BTreeMap<TokenId, Invitation>,
    /// The guilds of the shards. Not part of version 2.
    rosters: BTreeMap<ShardId, Roster>,
    /// What the bot keeps. Not part of version 3; version 4 ends before what a restore has put aside.
    user: UserState,
    /// Not part of version 5.
    format: Format,
}

/// Removed nodes that are remembered. An id is never used again, so one that is forgotten has been dead for as long as
/// it takes to lose a thousand others.
const GONE_MAX: usize = 1_024;

/// The last leader that began to lead.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Lead {
    /// The leader.
    pub node: NodeId,
    /// Its term.
    pub term: u64,
    /// The leader before it. Its own right to run shards ended with its quorum, long before a lease would.
    pub before: Option<NodeId>,
}

impl State {
    /// The cluster's id, once it has been formed.
    #[must_use]
    pub const fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }

    /// How often the cluster was begun: once when it was formed, and with each recovery from lost quorum.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// What every node must agree on, once it has been fixed.
    #[must_use]
    pub const fn facts(&self) -> Option<Facts> {
        self.facts
    }

    /// What `GET /gateway/bot` said last. Its limits are as old as the answer; the ledger's count down.
    #[must_use]
    pub const fn gateway(&self) -> Option<&Gateway> {
        self.gateway.as_ref()
    }

    /// The members, by id.
    #[must_use]
    pub const fn nodes(&self) -> &BTreeMap<NodeId, Node> {
        &self.nodes
    }

    /// The member of this name or id. Of several of one name that with `presence` is meant.
    #[must_use]
    pub fn node_called(&self, wanted: &str, presence: Presence) -> Option<(NodeId, &Node)> {
        let called =
            |(id, node): &(&NodeId, &Node)| node.name == wanted || id.to_string() == wanted;
        let found = self.nodes.iter().filter(called);
        let found = found.max_by_key(|(_, node)| node.presence == presence);
        found.map(|(id, node)| (*id, node))
    }

    /// The shards, by id.
    #[must_use]
    pub const fn shards(&self) -> &BTreeMap<ShardId, Shard> {
        &self.shards
    }

    /// Who may identify.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The last leader that began to lead, unless it has said since that it hands over.
    #[must_use]
    pub const fn lead(&self) -> Option<Lead> {
        self.lead
    }

    /// Whether the node was removed: it must not come back under this id.
    #[must_use]
    pub fn is_gone(&self, node: NodeId) -> bool {
        self.gone.contains(&node)
    }

    /// The tokens by which nodes may join, or have joined.
    #[must_use]
    pub const fn tokens(&self) -> &BTreeMap<TokenId, Invitation> {
        &self.tokens
    }

    /// The guilds of the shards that have counted any.
    #[must_use]
    pub const fn rosters(&self) -> &BTreeMap<ShardId, Roster> {
        &self.rosters
    }

    /// What the bot keeps.
    #[must_use]
    pub const fn user(&self) -> &UserState {
        &self.user
    }

    /// What the cluster writes: all its members read it.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The last entry that is part of this state.
    #[must_use]
    pub const fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The shards that `node` owns, in order.
    pub fn owned_by(&self, node: NodeId) -> impl Iterator<Item = (ShardId, &Shard)> {
        self.shards
            .iter()
            .filter(move |(_, shard)| shard.assignment().is_some_and(|held| held.node == node))
            .map(|(id, shard)| (*id, shard))
    }

    /// The seed's verdict over all shards, once the total is fixed.
    #[must_use]
    pub fn health(&self) -> Option<SystemHealth> {
        let total = self.facts?.total;
        Some(system_health(total, self.shards.values().map(Shard::health)))
    }

    /// Applies the committed command at `index`.
    pub fn apply(&mut self, index: LogIndex, command: Command) -> Outcome {
        assert!(index > self.applied, "entry {index} was applied already");
        self.applied = index;
        match command {
            Command::Form { cluster } => self.form(cluster),
            Command::StartNode { node, name, boot } => self.start_node(index, node, name, boot),
            Command::FixFacts(facts) => self.fix_facts(facts),
            Command::Reshard { from, facts } => self.reshard(from, facts),
            Command::Assign(moves) => self.assign_shards(index, &moves),
            Command::Release(reports) => self.release(index, &reports),
            Command::StartSession { shard, epoch, session } => {
                let outcome = self.with(shard, |shard| shard.start_session(epoch, session));
                if outcome == Outcome::Applied {
                    self.ledger.prove();
                }
                outcome
            }
            Command::LoseSession { shard, epoch, session } => {
                self.with(shard, |shard| shard.lose_session(epoch, session))
            }
            Command::Report(reports) => self.each(&reports, Shard::report),
            Command::ObserveGateway(gateway) => {
                self.ledger.observe(gateway.limits);
                self.gateway = Some(gateway);
                Outcome::Applied
            }
            Command::Grant { shard, epoch, purpose } => self.grant(shard, epoch, purpose),
            Command::ReopenBuckets(buckets) => {
                self.ledger.reopen(&buckets);
                Outcome::Applied
            }
            Command::Halt { code, shard } => {
                self.ledger.halt(Halted { code, shard });
                Outcome::Applied
            }
            Command::Unhalt => {
                self.ledger.unhalt();
                Outcome::Applied
            }
            Command::Lead { node, term } => self.begin_lead(node, term),
            Command::LoseNode { loss, reports, moves } => {
                self.lose_node(index, loss, &reports, &moves)
            }
            Command::ReturnNode(back) => self.return_node(back),
            Command::DrainNode { node, wanted } => self.drain_node(node, wanted),
            Command::StopNode { node, boot } => self.stop_node(node, boot),
            Command::RemoveNode { node } => self.remove_node(node),
            Command::HandOff(moves) => self.hand_off(&moves),
            Command::YieldLead { node, term } => self.yield_lead(node, term),
            Command::Recover { node, gone } => self.recover(node, &gone),
            Command::CreateToken(new) => self.create_token(new),
            Command::UseToken { token, name, by } => self.use_token(token, &name, by),
            Command::RevokeToken { token } => self.revoke_token(token),
            Command::CountGuilds(reports) => self.count_guilds(&reports),
            Command::User(batch) => match batch.sent {
                Some(sent) if self.is_gone(sent.node) => Outcome::Refused(Refusal::Unknown),
                _ => Outcome::User(self.user.apply(batch)),
            },
            Command::Restore(step) => match self.user.restore(step) {
                Ok(None) => Outcome::Applied,
                Ok(Some(done)) => Outcome::Restored(done),
                Err(refusal) => Outcome::Refused(refusal.into()),
            },
            Command::RaiseFormat(format) => self.raise_format(format),
        }
    }

    /// Notes that the entry at `index`, which holds no command, is part of this state.
    pub fn skip(&mut self, index: LogIndex) {
        self.applied = self.applied.max(index);
    }

    fn form(&mut self, cluster: ClusterId) -> Outcome {
        match self.cluster {
            None => {
                self.cluster = Some(cluster);
                self.generation = 1;
                Outcome::Applied
            }
            Some(formed) if formed == cluster => Outcome::Applied,
            Some(formed) => Outcome::Refused(Refusal::OtherCluster(formed)),
        }
    }

    /// A format is never left: what was written in it stays in the log.
    fn raise_format(&mut self, format: Format) -> Outcome {
        assert!(format <= Format::MAX, "format {format} is not read here, and was not decoded");
        self.format = self.format.max(format);
        Outcome::Applied
    }

    fn fix_facts(&mut self, facts: Facts) -> Outcome {
        match self.facts {
            None => {
                self.facts = Some(facts);
                self.shards = facts.total.shards().map(|id| (id, Shard::default())).collect();
                Outcome::Applied
            }
            Some(fixed) if fixed == facts => Outcome::Applied,
            Some(fixed) => Outcome::Refused(Refusal::FactsDiffer(fixed)),
        }
    }

    fn reshard(&mut self, from: ShardTotal, facts: Facts) -> Outcome {
        let Some(fixed) = self.facts else {
            return Outcome::Refused(Refusal::Unknown);
        };
        if fixed.application != facts.application {
            return Outcome::Refused(Refusal::FactsDiffer(fixed));
        }
        if fixed.total != from {
            return Outcome::Stale;
        }
        self.shards.retain(|id, _| id.0 < facts.total.get());
        for id in facts.total.shards() {
            self.shards.entry(id).or_default().drop_session();
        }
        // Guilds are other shards' with another total.
        self.rosters.clear();
        self.facts = Some(facts);
        Outcome::Applied
    }

    /// Only orphans: what has an owner is taken from it by its own release or by its loss.
    fn assign_shards(&mut self, index: LogIndex, moves: &[Move]) -> Outcome {
        let mut planned = BTreeSet::new();
        for step in moves {
            let Some(shard) = self.shards.get(&step.shard) else {
                return Outcome::Refused(Refusal::Unknown);
            };
            if !planned.insert(step.shard) {
                return Outcome::Refused(Refusal::MovedTwice(step.shard));
            }
            let Some(to) = self.nodes.get(&step.to) else {
                return Outcome::Refused(Refusal::Unknown);
            };
            if step.from.is_some() || shard.epoch().is_some() || !to.takes_orphans() {
                return Outcome::Stale;
            }
        }
        let epoch = Epoch { generation: self.generation, index };
        for step in moves {
            if let Some(shard) = self.shards.get_mut(&step.shard) {
                shard.assign(Assignment { node: step.to, epoch });
            }
        }
        Outcome::Applied
    }

    fn grant(&mut self, shard: ShardId, epoch: Epoch, purpose: Purpose) -> Outcome {
        let Some(owned) = self.shards.get(&shard) else {
            return Outcome::Refused(Refusal::Unknown);
        };
        if owned.epoch() != Some(epoch) {
            return Outcome::Stale;
        }
        match self.ledger.grant(shard, purpose) {
            Ok(()) => Outcome::Applied,
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    /// Applies each report by itself: one shard that has moved meanwhile must not hold up the others.
    fn each(
        &mut self,
        reports: &[ShardReport],
        apply: fn(&mut Shard, &ShardReport) -> Result<(), shard::Stale>,
    ) -> Outcome {
        let mut outcome = Outcome::Applied;
        for report in reports {
            let applied = self.shards.get_mut(&report.shard).map(|shard| apply(shard, report));
            if applied != Some(Ok(())) {
                outcome = Outcome::Stale;
            }
        }
        outcome
    }

    fn count_guilds(&mut self, reports: &[RosterReport]) -> Outcome {
        let mut outcome = Outcome::Applied;
        for report in reports {
            let owned = self.shards.get(&report.shard);
            let Some(shard) = owned.filter(|shard| shard.epoch() == Some(report.epoch)) else {
                outcome = Outcome::Stale;
                continue;
            };
            let current = shard.session().map(|session| session.number);
            let mut roster = self.rosters.get(&report.shard).cloned().unwrap_or_default();
            match roster.take_in(report, current) {
                Ok(()) => drop(self.rosters.insert(report.shard, roster)),
                Err(shard::Stale) => outcome = Outcome::Stale,
            }
        }
        outcome
    }

    fn with(
        &mut self,
        shard: ShardId,
        change: impl FnOnce(&mut Shard) -> Result<(), shard::Stale>,
    ) -> Outcome {
        match self.shards.get_mut(&shard).map(change) {
            Some(Ok(())) => Outcome::Applied,
            Some(Err(shard::Stale)) => Outcome::Stale,
            None => Outcome::Refused(Refusal::Unknown),
        }
    }
}
