//! One thing that happened.

use std::{fmt::Write as _, time::Duration};

use serde::{Deserialize, Serialize};

use crate::model::{ShardId, UnixMillis};

/// A sentence names this many shards, and counts the others.
const SHARDS_NAMED_MAX: usize = 8;

/// What happened.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A node became a member.
    NodeJoined,
    /// A node is no member any more.
    NodeLeft,
    /// A node's process started again.
    NodeStarted,
    /// A node renewed its lease no more.
    NodeLost,
    /// A lost node renews it again.
    NodeBack,
    /// A node's shards are to go elsewhere.
    NodeDraining,
    /// It takes its part again.
    NodeUndrained,
    /// Another node leads.
    LeaderChanged,
    /// Shards are connected.
    ShardReady,
    /// Shards lost their connection and are getting it back.
    ShardDisconnected,
    /// Shards were given up for dead: `SHARD_TIMEOUT`, or a fatal close code.
    ShardDead,
    /// Shards have another owner.
    ShardMoved,
    /// All shards of a lost node are ready elsewhere.
    Failover,
    /// Shards that were handed from node to node are ready there.
    Handoff,
    /// Nobody identifies until an operator has looked.
    Halted,
    /// Identifies go on.
    Unhalted,
    /// The bot is split into another number of shards.
    Resharded,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 17] = [
        Self::NodeJoined,
        Self::NodeLeft,
        Self::NodeStarted,
        Self::NodeLost,
        Self::NodeBack,
        Self::NodeDraining,
        Self::NodeUndrained,
        Self::LeaderChanged,
        Self::ShardReady,
        Self::ShardDisconnected,
        Self::ShardDead,
        Self::ShardMoved,
        Self::Failover,
        Self::Handoff,
        Self::Halted,
        Self::Unhalted,
        Self::Resharded,
    ];

    /// Its name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NodeJoined => "nodeJoined",
            Self::NodeLeft => "nodeLeft",
            Self::NodeStarted => "nodeStarted",
            Self::NodeLost => "nodeLost",
            Self::NodeBack => "nodeBack",
            Self::NodeDraining => "nodeDraining",
            Self::NodeUndrained => "nodeUndrained",
            Self::LeaderChanged => "leaderChanged",
            Self::ShardReady => "shardReady",
            Self::ShardDisconnected => "shardDisconnected",
            Self::ShardDead => "shardDead",
            Self::ShardMoved => "shardMoved",
            Self::Failover => "failover",
            Self::Handoff => "handoff",
            Self::Halted => "halted",
            Self::Unhalted => "unhalted",
            Self::Resharded => "resharded",
        }
    }

    /// Whether somebody should look, though nothing may have to be done.
    #[must_use]
    pub const fn is_grave(self) -> bool {
        matches!(self, Self::NodeLost | Self::ShardDead | Self::Halted)
    }
}

/// What happened, to whom. Shards to which the same happened at once are told of together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fact {
    /// What.
    pub kind: Kind,
    /// The node's name; of two, the one where it ended.
    pub node: Option<String>,
    /// The node where it began.
    pub from: Option<String>,
    /// The shards, in order.
    pub shards: Vec<ShardId>,
    /// How long it took, for what has a duration.
    pub took: Option<Duration>,
    /// What a sentence needs besides.
    pub(super) more: String,
}

/// A [`Fact`] with its place and its time.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Grows by one with each entry of a process. The first is about when that has started, in milliseconds since 1970, so
    /// that no two processes give the same.
    pub id: u64,
    /// When the node that tells it learned of it, in milliseconds since 1970.
    pub at_ms: UnixMillis,
    /// What happened.
    pub kind: Kind,
    /// The node's name; of two, the one where it ended.
    pub node: Option<String>,
    /// The node where it began.
    pub from: Option<String>,
    /// The shards, in order.
    pub shards: Vec<ShardId>,
    /// How long it took, in milliseconds, for what has a duration.
    pub took_ms: Option<u64>,
    /// All of it as a sentence.
    pub text: String,
}

impl Fact {
    pub(super) const fn new(kind: Kind) -> Self {
        Self { kind, node: None, from: None, shards: Vec::new(), took: None, more: String::new() }
    }

    pub(super) fn at(kind: Kind, node: impl Into<String>) -> Self {
        Self { node: Some(node.into()), ..Self::new(kind) }
    }

    /// The fact as a sentence.
    #[must_use]
    pub fn text(&self) -> String {
        let node = self.node.as_deref().unwrap_or("no node");
        let from = self.from.as_deref().unwrap_or("nobody");
        let shards = named(&self.shards);
        let (are, run) = if self.shards.len() == 1 { ("is", "runs") } else { ("are", "run") };
        let took = self.took.unwrap_or_default().as_secs_f64();
        match self.kind {
            Kind::NodeJoined => format!("{node} is a member"),
            Kind::NodeLeft => format!("{node} is no member any more"),
            Kind::NodeStarted => format!("{node} has started again"),
            Kind::NodeLost if self.shards.is_empty() => format!("{node} is lost; it ran no shard"),
            Kind::NodeLost => format!("{node} is lost; other nodes take {shards} over"),
            Kind::NodeBack => format!("{node} is back"),
            Kind::NodeDraining => format!("{node} {}", self.more),
            Kind::NodeUndrained => format!("{node} takes shards again"),
            Kind::LeaderChanged => format!("{node} leads, in term {}", self.more),
            Kind::ShardReady => format!("{shards} {are} ready on {node}"),
            Kind::ShardDisconnected => {
                format!("{shards} {are} getting the connection back on {node}")
            }
            Kind::ShardDead => format!("{shards} {are} dead on {node}; see `apolo shards`"),
            Kind::ShardMoved if self.from.is_none() => format!("{node} was given {shards}"),
            Kind::ShardMoved => format!("{node} took {shards} over from {from}"),
            Kind::Failover => {
                format!("{shards} of lost {node} {run} again, {took:.1} s after it was given up")
            }
            Kind::Handoff => format!("{shards} of {from} {run} on {node} after {took:.1} s"),
            Kind::Halted | Kind::Unhalted | Kind::Resharded => self.more.clone(),
        }
    }

    pub(super) fn entry(self, id: u64, at_ms: UnixMillis) -> Entry {
        let text = self.text();
        let Self { kind, node, from, shards, took, .. } = self;
        let took_ms = took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        Entry { id, at_ms, kind, node, from, shards, took_ms, text }
    }
}

/// `shard 3`, `shards 1, 2 and 3`, or the first of them and a count.
fn named(shards: &[ShardId]) -> String {
    match shards {
        [] => "no shard".to_owned(),
        [one] => format!("shard {one}"),
        _ => {
            let shown = &shards[..SHARDS_NAMED_MAX.min(shards.len())];
            let mut words = format!("{} shards (", shards.len());
            for (nth, shard) in shown.iter().enumerate() {
                let comma = if nth == 0 { "" } else { ", " };
                let _ = write!(words, "{comma}{shard}");
            }
            words.push_str(if shards.len() > shown.len() { ", …)" } else { ")" });
            words
        }
    }
}
