//! What there is to see of a node, as plain data. Its JSON is the API's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Format, Sequence, SessionNumber, ShardId, ShardStatus, SystemHealth};
use crate::state::Limits;

/// A disk that has not answered a write for this long hangs, and so does a loop that has not come round. Three proposals
/// in a row have failed by then, and storage that fails over or works off a backlog takes less.
pub(super) const STALL_MAX: Duration = Duration::from_secs(15);

/// After this long it is told: what the node acknowledges in time is not durable in time.
pub(super) const STALL_TOLD: Duration = Duration::from_secs(2);

/// How things stand, as one node sees them.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// The node that answers.
    pub node: Node,
    /// The verdict over all shards, once the total is fixed.
    pub health: Option<SystemHealth>,
    /// Its data directory is open.
    #[serde(default)]
    pub started: bool,
    /// What the node waits for before it is a member of a cluster.
    #[serde(default)]
    pub waiting: Option<String>,
    /// The leader's name, where one is known.
    pub leader: Option<String>,
    /// Raft's term in which the last leader known here began to lead.
    #[serde(default)]
    pub term: u64,
    /// The format in which the cluster writes.
    #[serde(default)]
    pub format: Format,
    /// Ids of members that have joined and never started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never_started: Vec<String>,
    /// Whether this node has the right to run shards.
    #[serde(default)]
    pub lease: bool,
    /// The nodes of the cluster, by id.
    #[serde(default)]
    pub nodes: Vec<NodeRow>,
    /// Why the store takes no more writes, where it doesn't.
    pub store_failure: Option<String>,
    /// How long the disk has taken over the write that is under way, in milliseconds.
    #[serde(default)]
    pub write_under_way_ms: Option<u64>,
    /// For how long the loops that keep the node going have not been seen to turn, in milliseconds: a second at most as a
    /// rule.
    #[serde(default)]
    pub silent_ms: u64,
    /// The node hands its shards off and will stop.
    pub draining: bool,
    /// Identifies are halted.
    pub halted: Option<Halt>,
    /// What is left of the day's identifies, as far as known.
    pub identifies: Option<Limits>,
    /// How many shards a node should run, where an operator has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// How full the store of what the bot keeps is.
    #[serde(default)]
    pub kept: Kept,
    /// The consumers of this node, where it lets some in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumers: Option<Consumers>,
    /// Every shard, in order.
    pub shards: Vec<ShardRow>,
}

/// How much the bot keeps in the cluster.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// What all keys count, in bytes.
    pub bytes: u64,
    /// How much they may.
    pub limit: u64,
}

/// The consumers of a node.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Consumers {
    /// Where they connect.
    pub url: String,
    /// By group.
    pub groups: Vec<ConsumerGroup>,
}

/// Consumers that share a node's events.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerGroup {
    /// Its name.
    pub name: String,
    /// Whether every event waits for it.
    pub required: bool,
    /// How many are connected.
    pub consumers: usize,
    /// Events that were not sent yet.
    pub waiting: usize,
    /// Events that were sent and not acknowledged.
    pub unacknowledged: usize,
    /// For how long the one that was sent first has been, in milliseconds.
    #[serde(default)]
    pub oldest_ms: Option<u64>,
}

/// How many shards a node should run: no limit, since no shard stays down for it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// So many.
    pub shards_per_node: u32,
    /// The nodes that run more.
    pub over: Vec<Excess>,
}

/// A node that runs more shards than it should.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Excess {
    /// Its name.
    pub node: String,
    /// How many.
    pub shards: usize,
}

impl View {
    /// What to say of a disk that does not answer, or of loops that do not turn, where that has lasted for `span`.
    pub(super) fn stall(&self, span: Duration) -> Option<String> {
        let lasts = |ms: u64| Some(Duration::from_millis(ms)).filter(|taken| *taken >= span);
        let disk = self.write_under_way_ms.and_then(lasts);
        let disk =
            disk.map(|it| format!("the disk has not answered a write for {} s", it.as_secs()));
        disk.or_else(|| {
            let silent = lasts(self.silent_ms)?;
            Some(format!("the loops of this node have stood still for {} s", silent.as_secs()))
        })
    }
}

/// A node.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its id, as it is logged.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// apolo's version.
    pub version: String,
    /// How long it has been up.
    pub uptime_ms: u64,
}

/// A node of the cluster.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRow {
    /// Its id.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Its part in Raft.
    pub role: Role,
    /// It renews no lease.
    pub lost: bool,
    /// Its shards go elsewhere.
    pub drains: bool,
    /// How many shards it owns.
    pub shards: usize,
    /// Which start of it runs.
    pub boot: u64,
    /// What it said of itself when it was asked just now; nothing where it was not, or did not answer.
    #[serde(default, flatten)]
    pub said: Option<NodeSaid>,
}

/// What a node says of its process.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSaid {
    /// apolo's version.
    pub version: String,
    /// How long it has been up.
    pub uptime_ms: u64,
    /// Log entries that it has yet to apply, of those that the node furthest ahead has.
    pub lag: u64,
    /// How long its answer took, in microseconds; 0 of the node that asks.
    pub round_trip_us: u64,
    /// The newest format that it reads and lets the cluster write; nothing while it is not connected.
    #[serde(default)]
    pub format_max: Option<Format>,
}

/// A node's part in Raft.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Leads.
    Leader,
    /// Votes.
    Voter,
    /// Is sent the log.
    Learner,
    /// None, as far as this node knows.
    None,
}

/// Why identifies are halted.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Halt {
    /// The close code.
    pub code: u16,
    /// The shard that got it.
    pub shard: ShardId,
    /// What the operator must do.
    pub advice: String,
}

/// A shard.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardRow {
    /// Its id.
    pub shard: ShardId,
    /// Its condition.
    pub status: ShardStatus,
    /// What its connection is doing.
    pub phase: Phase,
    /// More about the phase: until when, or what must be done.
    pub note: Option<String>,
    /// Whether it runs on the node that answers.
    pub here: bool,
    /// The name of the node that owns it.
    pub node: Option<String>,
    /// Its fencing number.
    pub epoch: Option<String>,
    /// Its session.
    pub session: Option<SessionNumber>,
    /// The last sequence received.
    pub sequence: Sequence,
    /// The sequence up to which everything has been handled, durably.
    pub checkpoint: Sequence,
    /// Guilds that it sees.
    pub guilds: u32,
    /// Members of these.
    pub members: u64,
    /// Round trip of the last heartbeat.
    pub latency_ms: Option<u64>,
    /// Attempts to connect since its owner started it.
    pub connects: u64,
    /// How often it connected in the last ten minutes, where that is too often.
    #[serde(default)]
    pub connects_of_late: Option<usize>,
    /// Why the last connection ended.
    pub last_disconnect: Option<String>,
}

impl ShardRow {
    /// A shard of which nothing is known but its id.
    #[must_use]
    pub const fn new(shard: ShardId) -> Self {
        Self {
            shard,
            status: ShardStatus::Spawning,
            phase: Phase::Unassigned,
            note: None,
            here: false,
            node: None,
            epoch: None,
            session: None,
            sequence: Sequence(0),
            checkpoint: Sequence(0),
            guilds: 0,
            members: 0,
            latency_ms: None,
            connects: 0,
            connects_of_late: None,
            last_disconnect: None,
        }
    }
}

/// What a shard's connection is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// No node owns it.
    Unassigned,
    /// It runs on another node, which alone knows.
    Elsewhere,
    /// Waits before the next attempt.
    BackingOff,
    /// TCP, TLS, WebSocket, HELLO.
    Connecting,
    /// Waits for leave to identify.
    WaitingForPermit,
    /// Sent IDENTIFY.
    Identifying,
    /// Sent RESUME.
    Resuming,
    /// Events flow.
    Connected,
    /// Connected, but its handlers must catch up first.
    Behind,
    /// Identified too often; waits.
    Parked,
    /// Ended by a fatal close code.
    Halted,
}

impl Phase {
    /// What a shard can be at on the node that runs it.
    pub const HERE: [Self; 9] = [
        Self::BackingOff,
        Self::Connecting,
        Self::WaitingForPermit,
        Self::Identifying,
        Self::Resuming,
        Self::Connected,
        Self::Behind,
        Self::Parked,
        Self::Halted,
    ];

    /// The phase in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unassigned => "unassigned",
            Self::Elsewhere => "elsewhere",
            Self::BackingOff => "backing off",
            Self::Connecting => "connecting",
            Self::WaitingForPermit => "waiting for permit",
            Self::Identifying => "identifying",
            Self::Resuming => "resuming",
            Self::Connected => "connected",
            Self::Behind => "behind",
            Self::Parked => "parked",
            Self::Halted => "halted",
        }
    }
}

/// The body of `/health`: the system health of the seed, and who says so.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct HealthBody {
    /// The verdict over all shards; left out until the total is fixed.
    #[serde(flatten)]
    pub health: Option<SystemHealth>,
    /// The node that answers.
    pub node: Node,
    /// It hands its shards off and will stop.
    pub draining: bool,
    /// Identifies are halted.
    pub halted: Option<Halt>,
    /// The disk or the node hangs: what is wrong, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<String>,
}

impl From<View> for HealthBody {
    fn from(view: View) -> Self {
        let stall = view.stall(STALL_MAX);
        let View { health, node, draining, halted, .. } = view;
        Self { health, node, draining, halted, stall }
    }
}

/// What lifting a halt did.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Unhalted {
    /// The halt that was lifted; none where nothing was halted.
    pub lifted: Option<Halt>,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::HealthStatus;

    /// A node on which `shards` shards are connected.
    pub(in crate::http) fn view(shards: u32) -> View {
        let connected = |shard| ShardRow {
            status: ShardStatus::Ready,
            phase: Phase::Connected,
            here: true,
            node: Some("apolo-0".to_owned()),
            epoch: Some("1.7".to_owned()),
            session: Some(SessionNumber(1)),
            sequence: Sequence(20),
            checkpoint: Sequence(18),
            latency_ms: Some(41),
            ..ShardRow::new(ShardId(shard))
        };
        View {
            node: Node { name: "apolo-0".to_owned(), ..Node::default() },
            format: Format::MAX,
            never_started: Vec::new(),
            health: Some(SystemHealth {
                status: HealthStatus::Healthy,
                total_shards: shards,
                ready_shards: shards,
                total_guilds: 10,
                total_members: 100,
            }),
            started: true,
            waiting: None,
            lease: true,
            nodes: Vec::new(),
            leader: Some("apolo-0".to_owned()),
            term: 1,
            store_failure: None,
            write_under_way_ms: Some(3),
            silent_ms: 900,
            draining: false,
            halted: None,
            identifies: None,
            target: None,
            kept: Kept::default(),
            consumers: None,
            shards: (0..shards).map(connected).collect(),
        }
    }

    #[test]
    fn the_body_of_health_is_the_seeds_with_more_beside_it() {
        let body = serde_json::to_value(HealthBody::from(view(2))).unwrap();

        assert_eq!(body["status"], "healthy");
        assert_eq!(body["totalShards"], 2);
        assert_eq!(body["readyShards"], 2);
        assert_eq!(body["totalGuilds"], 10);
        assert_eq!(body["totalMembers"], 100);
        assert_eq!(body["node"]["name"], "apolo-0");
    }

    #[test]
    fn what_is_sent_reads_back_the_same() {
        let sent = view(3);

        let json = serde_json::to_string(&sent).unwrap();

        assert_eq!(serde_json::from_str::<View>(&json).unwrap(), sent);
    }
}
