//! A process is stopped in its middle (SIGSTOP), stays so for longer than its lease, and wakes.

use std::{collections::BTreeMap, fmt, time::Duration};

use apolo::{
    http::Role,
    simulator::{ConnectionTruth, Truth},
};
use nix::sys::signal::Signal;
use tokio::time::sleep;

use super::{
    account::Account,
    cluster::{Cluster, ClusterError, ClusterOptions, LOAD, WELL_WITHIN},
    spans::Spans,
};
use crate::kills::Record;

/// A thread may be stopped between its look at the fence and the handler, and then finishes that one: so many events
/// at most, one for each of tokio's workers.
const UNDER_WAY_MAX: u64 = 2;

/// What the freezes came to.
#[derive(Clone, Debug)]
pub struct FreezeReport {
    /// What must hold.
    pub account: Account,
    /// Events that a process delivered after it woke, of those that were there before.
    pub late_events: u64,
    /// Bytes that it sent after it woke, on connections from before.
    pub late_bytes: u64,
    /// From the freeze to the last of its shards' RESUMED elsewhere.
    pub taken_over: Spans,
    freezes: usize,
    frozen_for: Duration,
}

impl FreezeReport {
    /// Whether a process that woke kept its hands still, and everything else held.
    #[must_use]
    pub fn holds(&self) -> bool {
        let under_way = UNDER_WAY_MAX * self.freezes as u64;
        self.account.holds_but_for_overlaps()
            && self.late_bytes == 0
            && self.late_events <= under_way
    }
}

/// Freezes the leader and the owner of most shards in turn, `freezes` times, for `frozen_for` each. `told` hears of
/// each that is over.
///
/// # Errors
///
/// [`ClusterError`]. What was found is no error: see [`FreezeReport::holds`].
pub async fn freeze(
    options: &ClusterOptions,
    freezes: usize,
    frozen_for: Duration,
    told: impl Fn(usize),
) -> Result<FreezeReport, ClusterError> {
    let cluster = Cluster::start(options).await?;
    let (mut late_events, mut late_bytes, mut taken_over) = (0, 0, Vec::new());
    for round in 0..freezes {
        sleep(LOAD).await;
        let view = cluster.whole("all nodes are back", WELL_WITHIN).await?;
        let leads = |role| (role == Role::Leader) == (round % 2 == 0);
        let most = view.nodes.iter().filter(|node| leads(node.role)).max_by_key(|node| node.shards);
        let nth = most.and_then(|node| cluster.nodes.index_of(&node.name)).unwrap_or(0);
        cluster.nodes.signal(nth, Signal::SIGSTOP)?;
        let froze = cluster.simulator.truth();
        sleep(frozen_for).await;
        let asleep = cluster.simulator.truth();
        taken_over.push(resumed_since(&froze, &asleep));
        let wrote = cluster.nodes.last_life(nth).len();
        cluster.nodes.signal(nth, Signal::SIGCONT)?;
        cluster.whole("it takes part again", WELL_WITHIN).await?;
        late_events += late(&cluster.nodes.last_life(nth)[wrote..], &asleep);
        late_bytes += sent_since(&asleep, &cluster.simulator.truth());
        told(round + 1);
    }
    let account = cluster.account().await;
    let taken_over = taken_over.into_iter().collect();
    Ok(FreezeReport { account, late_events, late_bytes, taken_over, freezes, frozen_for })
}

/// Events among `records` that existed before the process woke: the others had them by then.
fn late(records: &[Record], asleep: &Truth) -> u64 {
    let last: BTreeMap<_, _> =
        asleep.sessions.iter().map(|session| (session.shard, session.last)).collect();
    let late = records.iter().filter(|record| match record {
        Record::Event { shard, sequence, .. } => last.get(shard).is_some_and(|it| sequence <= it),
        Record::Session { .. } | Record::Lost { .. } => false,
    });
    late.count() as u64
}

/// Bytes that came by connections whose session another one had taken while their client was `asleep`.
fn sent_since(asleep: &Truth, now: &Truth) -> u64 {
    let mut newest = BTreeMap::new();
    for it in &asleep.connections {
        let at = newest.entry(it.session.as_deref()).or_insert(it.established_ms);
        *at = it.established_ms.max(*at);
    }
    let taken = |it: &&ConnectionTruth| {
        let newest = newest.get(&it.session.as_deref()).copied().flatten();
        it.established_ms.is_some() && it.established_ms < newest
    };
    let before: BTreeMap<_, _> =
        asleep.connections.iter().filter(taken).map(|it| (it.id, it.received_bytes)).collect();
    let grown = now.connections.iter();
    grown.filter_map(|it| Some(it.received_bytes - before.get(&it.id)?)).sum()
}

/// From one moment to the last RESUME before the other.
fn resumed_since(from: &Truth, to: &Truth) -> Duration {
    let resumes = to.resumes.iter().filter(|resume| resume.outcome.is_ok());
    let last = resumes.map(|resume| resume.at_ms).max().unwrap_or_default();
    Duration::from_millis(last.saturating_sub(from.at_ms))
}

impl fmt::Display for FreezeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "freezes            {} of {:?}", self.freezes, self.frozen_for)?;
        write!(f, "{}", self.account)?;
        writeln!(f, "delivered late     {} events", self.late_events)?;
        writeln!(f, "sent late          {} bytes", self.late_bytes)?;
        writeln!(f, "frozen to RESUMED  {}, the last shard each", self.taken_over)
    }
}
