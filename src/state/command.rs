//! Every entry that the log can hold, and what applying one did.

use serde::{Deserialize, Serialize};

use crate::model::{
    BootEpoch, Checkpoint, ClusterId, Epoch, Format, NodeId, Sequence, Session, SessionNumber,
    ShardHealth, ShardId, ShardTotal, TokenId, UnixMillis,
};

use super::{
    Facts, NewToken, Purpose, RosterReport, TokenUse,
    user::{Restore, RestoreRefusal, Restored, UserBatch, UserOutcome},
};

/// A change of the replicated state. New variants go to the end: their position is their number on disk.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// The cluster begins.
    Form {
        /// Its id.
        cluster: ClusterId,
    },
    /// A node's process started, or started again.
    StartNode {
        /// The node.
        node: NodeId,
        /// Its name for people: the pod's name, by default the host's.
        name: String,
        /// Which start of its data directory this is.
        boot: BootEpoch,
    },
    /// Fixes what every node must agree on. Refused where other facts are fixed already.
    FixFacts(Facts),
    /// Changes the facts, at the price of every session that the change makes useless.
    Reshard {
        /// The total that the operator saw when deciding.
        from: ShardTotal,
        /// The new facts.
        facts: Facts,
    },
    /// Gives orphans an owner. All of them or, where one has found an owner meanwhile, none.
    Assign(Vec<Move>),
    /// An owner gives shards up, with its last word on each. One that is being handed off is its next owner's at once.
    Release(Vec<ShardReport>),
    /// READY came. Proposed before the session's first event is delivered.
    StartSession {
        /// The shard.
        shard: ShardId,
        /// The owner's epoch.
        epoch: Epoch,
        /// The session.
        session: Session,
    },
    /// Discord dropped a session.
    LoseSession {
        /// The shard.
        shard: ShardId,
        /// The owner's epoch.
        epoch: Epoch,
        /// The session that is gone.
        session: SessionNumber,
    },
    /// What changed on some shards since the last report: one entry for a node's or a cluster's whole tick.
    Report(Vec<ShardReport>),
    /// What `GET /gateway/bot` says.
    ObserveGateway(Gateway),
    /// Leave for one IDENTIFY. Counts as spent from here on.
    Grant {
        /// The shard.
        shard: ShardId,
        /// The owner's epoch.
        epoch: Epoch,
        /// Whether it starts a shard or recovers one.
        purpose: Purpose,
    },
    /// These buckets' last IDENTIFY is long enough past.
    ReopenBuckets(Vec<u32>),
    /// Discord closed a connection for good: nobody identifies until an operator has looked.
    Halt {
        /// The close code.
        code: u16,
        /// The shard that met it.
        shard: ShardId,
    },
    /// The operator has mended what a fatal close code complained of.
    Unhalt,
    /// A leader begins: it has applied all that was committed before its term, and acts from here on.
    Lead {
        /// The leader.
        node: NodeId,
        /// Its term.
        term: u64,
    },
    /// A node has not renewed its lease for longer than it lasts. Its shards are orphans, or go where `moves` says.
    /// Proposed only in the term in which the silence was measured: another leader may have renewed the lease since.
    LoseNode {
        /// Which node, and on what it was decided.
        loss: Loss,
        /// What it has reported last, if that is not committed yet.
        reports: Vec<ShardReport>,
        /// Where its shards go. One that does not fit any more is left out: its shard is an orphan.
        moves: Vec<Move>,
    },
    /// A node that was lost renews again; the count of losses is the one behind its loss.
    ReturnNode(Loss),
    /// An operator wants a node to be emptied of shards, or no longer.
    DrainNode {
        /// The node.
        node: NodeId,
        /// Whether it is to be without shards.
        wanted: bool,
    },
    /// A node's process is about to end.
    StopNode {
        /// The node.
        node: NodeId,
        /// Which start of it: one that comes late must not stop the next.
        boot: BootEpoch,
    },
    /// A node is gone for good.
    RemoveNode {
        /// The node, which owns nothing.
        node: NodeId,
    },
    /// Healthy shards are to change hands: each owner stops its own and releases it.
    HandOff(Vec<Move>),
    /// A leader is about to hand the leadership over. Its right to run shards lasts as long as it would have, so its
    /// successor waits for it as for everyone.
    YieldLead {
        /// The leader.
        node: NodeId,
        /// Its term.
        term: u64,
    },
    /// The cluster has lost its quorum for good, and an operator goes on with one node. A new generation begins.
    Recover {
        /// The node that goes on.
        node: NodeId,
        /// All others. Their shards are orphans, and they never come back.
        gone: Vec<NodeId>,
    },
    /// A node without the authority's key may join with a token that an operator has made.
    CreateToken(NewToken),
    /// A node joins with a token, which is used up by that.
    UseToken {
        /// The token.
        token: TokenId,
        /// The node's name.
        name: String,
        /// Who uses it; the time is the leader's.
        by: TokenUse,
    },
    /// Nobody may join with a token any more.
    RevokeToken {
        /// The token.
        token: TokenId,
    },
    /// What shards' owners have counted of their guilds. Each counts by itself, as reports do.
    CountGuilds(Vec<RosterReport>),
    /// What the bot wants changed of what it keeps.
    User(UserBatch),
    /// A step of a restore of what the bot keeps.
    Restore(Restore),
    /// All members read this format, so it may be written from here on.
    RaiseFormat(Format),
}

/// A stretch of a node's life: it ends with a loss, and with the next start.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// The node.
    pub node: NodeId,
    /// Which start of it.
    pub boot: BootEpoch,
    /// What its count of losses was.
    pub losses: u32,
}

/// One shard's new owner.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Move {
    /// The shard.
    pub shard: ShardId,
    /// The epoch that the planner saw; `None` where nobody owned it.
    pub from: Option<Epoch>,
    /// The new owner.
    pub to: NodeId,
}

/// What an owner says of one of its shards. `None` means unchanged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ShardReport {
    /// The shard.
    pub shard: ShardId,
    /// The owner's epoch.
    pub epoch: Epoch,
    /// How far its events are handled.
    pub checkpoint: Option<Checkpoint>,
    /// Its health.
    pub health: Option<ShardHealth>,
}

/// The answer of `GET /gateway/bot`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Gateway {
    /// Where to connect for a new session.
    pub url: String,
    /// How many shards Discord recommends.
    pub recommended: ShardTotal,
    /// How often the bot may identify.
    pub limits: Limits,
}

/// Discord's session start limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Identifies that may start at once, one a bucket.
    pub max_concurrency: u32,
    /// Identifies a day.
    pub total: u32,
    /// Identifies left until `resets_at`.
    pub remaining: u32,
    /// When `remaining` becomes `total` again.
    pub resets_at: UnixMillis,
}

/// What applying a command did.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// The state changed, or was as wished already.
    Applied,
    /// The command came from an owner, or was planned on a state, that is no longer current. Nothing changed; of
    /// reports and hand-offs, which count one by one, those that are current did.
    Stale,
    /// The state forbids it. Nothing changed.
    Refused(Refusal),
    /// What became of each of a batch's operations, in order.
    User(Vec<UserOutcome>),
    /// What a restore has done, with its last step.
    Restored(Restored),
}

/// Why a command was refused.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Another cluster lives here.
    #[error("this is cluster {0}")]
    OtherCluster(ClusterId),
    /// A command came before the one that it builds on.
    #[error("the cluster has not been formed yet")]
    NotFormed,
    /// A node started whose data directory a later process has opened.
    #[error("a later start of this node (boot epoch {0}) is on record")]
    OlderBoot(BootEpoch),
    /// Other facts are fixed.
    #[error("the cluster is fixed to {0}")]
    FactsDiffer(Facts),
    /// A shard or node that the state does not know.
    #[error("no such shard or node")]
    Unknown,
    /// Identifies are halted.
    #[error("identifies are halted after close code {0}")]
    Halted(u16),
    /// The bucket's last IDENTIFY is not long enough past.
    #[error("bucket {0} is taken")]
    BucketTaken(u32),
    /// Until one READY has proven the token, identifies go one by one.
    #[error("the first IDENTIFY has not been answered yet")]
    Unproven,
    /// Discord's limits are not known yet.
    #[error("the session start limit is not known yet")]
    LimitsUnknown,
    /// The day's identifies are spent, down to the reserve where a shard is to be started for the first time.
    #[error("{remaining} identifies are left until {resets_at:?}, {reserve} of them in reserve")]
    BudgetSpent {
        /// Left by Discord's count.
        remaining: u32,
        /// Kept for shards that lose their session.
        reserve: u32,
        /// When the day ends.
        resets_at: UnixMillis,
    },
    /// A plan that moves a shard twice.
    #[error("the plan moves shard {0} twice")]
    MovedTwice(ShardId),
    /// A node that is to be forgotten may still run shards.
    #[error("it owns {shards} shards; drain it first")]
    StillOwns {
        /// How many.
        shards: usize,
    },
    /// A token lives too long, or is bound to a name that no node can have.
    #[error("a token lives at most 24 h, and is bound to a name of at most 63 bytes")]
    TokenMalformed,
    /// A token has the id of another one.
    #[error("there is a token with this id; make another one")]
    TokenExists,
    /// Too many tokens are on record.
    #[error("{0} tokens are on record already; revoke some, or wait until they end")]
    TokensMany(usize),
    /// No such token is on record.
    #[error("there is no such token: it was revoked, ended long ago, or is another cluster's")]
    TokenUnknown,
    /// A token was used before.
    #[error("the token was used already: each lets one node join")]
    TokenUsed,
    /// A token has ended.
    #[error("the token has ended")]
    TokenExpired {
        /// When.
        at: UnixMillis,
    },
    /// A token is for another node.
    #[error("the token is for a node that is called {0:?}")]
    TokenBound(String),
    /// A node has this id already.
    #[error(
        "there is a node with this id already, {0:?}: to let it in again, make a token for it alone with `apolo token create --name {0}`"
    )]
    NodeTaken(String),
    /// A step of a restore was refused.
    #[error("{0}")]
    Restore(#[from] RestoreRefusal),
}

impl Command {
    /// The command as the leader proposes it: where it carries a time, that is the leader's. Applying it needs no
    /// clock.
    #[must_use]
    pub fn dated(mut self, now: UnixMillis) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "only what is judged by time is dated")]
        match &mut self {
            Self::CreateToken(NewToken { at, .. })
            | Self::UseToken { by: TokenUse { at, .. }, .. } => *at = now,
            _ => {}
        }
        self
    }

    /// Whether it is about what the bot keeps, so that it carries the leader's logical time.
    #[must_use]
    pub const fn is_user(&self) -> bool {
        matches!(self, Self::User(_) | Self::Restore(_))
    }

    /// The command with the leader's logical time, in milliseconds, where it carries one.
    #[must_use]
    pub fn timed(mut self, at_ms: u64) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "only what the bot keeps has that time")]
        match &mut self {
            Self::User(UserBatch { now_ms, .. }) | Self::Restore(Restore { now_ms, .. }) => {
                *now_ms = at_ms;
            }
            _ => {}
        }
        self
    }

    /// The command's kind, for logs and metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Form { .. } => "form",
            Self::StartNode { .. } => "start_node",
            Self::FixFacts(_) => "fix_facts",
            Self::Reshard { .. } => "reshard",
            Self::Assign(_) => "assign",
            Self::Release(_) => "release",
            Self::StartSession { .. } => "start_session",
            Self::LoseSession { .. } => "lose_session",
            Self::Report(_) => "report",
            Self::ObserveGateway(_) => "observe_gateway",
            Self::Grant { .. } => "grant",
            Self::ReopenBuckets(_) => "reopen_buckets",
            Self::Halt { .. } => "halt",
            Self::Unhalt => "unhalt",
            Self::Lead { .. } => "lead",
            Self::LoseNode { .. } => "lose_node",
            Self::ReturnNode(_) => "return_node",
            Self::DrainNode { .. } => "drain_node",
            Self::StopNode { .. } => "stop_node",
            Self::RemoveNode { .. } => "remove_node",
            Self::HandOff(_) => "hand_off",
            Self::YieldLead { .. } => "yield_lead",
            Self::Recover { .. } => "recover",
            Self::CreateToken(_) => "create_token",
            Self::UseToken { .. } => "use_token",
            Self::RevokeToken { .. } => "revoke_token",
            Self::CountGuilds(_) => "count_guilds",
            Self::User(_) => "user",
            Self::Restore(_) => "restore",
            Self::RaiseFormat(_) => "raise_format",
        }
    }
}

impl ShardReport {
    /// A report that says nothing yet.
    #[must_use]
    pub const fn new(shard: ShardId, epoch: Epoch) -> Self {
        Self { shard, epoch, checkpoint: None, health: None }
    }

    /// Adds how far the shard has come.
    #[must_use]
    pub const fn at(mut self, session: SessionNumber, sequence: Sequence) -> Self {
        self.checkpoint = Some(Checkpoint { session, sequence });
        self
    }
}
