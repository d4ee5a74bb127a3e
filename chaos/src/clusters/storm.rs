//! One shard asks the others as fast as it can, from a process with half a processor.

use std::{collections::BTreeMap, fmt, fs, time::Duration};

use apolo::{http::View, simulator::Truth};
use tokio::time::{Instant, sleep};

use super::{
    account::Account,
    cluster::{Cluster, ClusterError, ClusterOptions, LOAD, WELL_WITHIN},
    processor::HalfProcessor,
};
use crate::kills::{Life, Record, storm::counts_of};

/// Between two looks at how far the others are behind.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a shard may hold back: its handlers under way, what waits for them, and what Discord has sent since the look.
const BEHIND_MAX: u64 = 256 + 1_024;

/// What the storm came to.
#[derive(Clone, Debug)]
pub struct StormReport {
    /// What must hold.
    pub account: Account,
    /// Requests that were answered, by the asker's count.
    pub answered: u64,
    /// Requests that ended in an error.
    pub failed: u64,
    /// Changes of the leader while it lasted.
    pub terms: u64,
    /// Shards that changed hands while it lasted.
    pub moved: usize,
    /// The most events of a shard elsewhere that existed and were not handled, at any look.
    pub behind_elsewhere: u64,
    /// The same for the shards of the node that storms.
    pub behind_there: u64,
    lasted: Duration,
}

impl StormReport {
    /// Whether the cluster bore it: no election, no lease lost, no other shard held up, nothing lost.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.account.holds()
            && (self.terms, self.moved) == (0, 0)
            && self.behind_elsewhere <= BEHIND_MAX
            && self.answered > 0
    }
}

/// Whether a process's share of the processor can be capped here.
///
/// # Errors
///
/// Why not.
pub fn can_cap() -> Result<(), String> {
    HalfProcessor::available()
        .map_err(|error| format!("no control group for the processor: {error}"))
}

/// Has the node that owns most shards storm for so long.
///
/// # Errors
///
/// [`ClusterError`]. What was found is no error: see [`StormReport::holds`].
pub async fn storm(
    options: &ClusterOptions,
    lasting: Duration,
) -> Result<StormReport, ClusterError> {
    let cluster = Cluster::start(options).await?;
    let before = balanced(&cluster).await?;
    let most = before.nodes.iter().max_by_key(|node| node.shards);
    let storms = most.and_then(|node| cluster.nodes.index_of(&node.name)).unwrap_or(0);
    let process = cluster.nodes.process(storms)?;
    let half = HalfProcessor::hold(process)?;
    fs::write(cluster.nodes.storm_of(storms), "")?;
    let began = Instant::now();
    let (mut behind_elsewhere, mut behind_there) = (0, 0);
    while began.elapsed() < lasting {
        sleep(LOOK_EVERY).await;
        let truth = cluster.simulator.truth();
        let [there, elsewhere] = behind(&truth, &cluster.nodes.lives(), storms);
        behind_there = behind_there.max(there);
        behind_elsewhere = behind_elsewhere.max(elsewhere);
    }
    let lasted = began.elapsed();
    // Before anything may recover: this is what the storm has done.
    let after = cluster.whole("all nodes are still there", WELL_WITHIN).await?;
    let file = cluster.nodes.storm_of(storms);
    let told = fs::read_to_string(counts_of(&file))?;
    fs::remove_file(file)?;
    drop(half);
    let mut counts = told.split_whitespace().filter_map(|count| count.parse().ok());
    let (answered, failed) = (counts.next().unwrap_or(0), counts.next().unwrap_or(0));
    Ok(StormReport {
        account: cluster.account().await,
        answered,
        failed,
        terms: after.term - before.term,
        moved: moved(&before, &after),
        behind_elsewhere,
        behind_there,
        lasted,
    })
}

/// Waits until no shard has a reason to move but the storm.
async fn balanced(cluster: &Cluster) -> Result<View, ClusterError> {
    let deadline = Instant::now() + WELL_WITHIN;
    loop {
        sleep(LOAD).await;
        let view = cluster.whole("all nodes are there", WELL_WITHIN).await?;
        let counts = || view.nodes.iter().map(|node| node.shards);
        let apart = counts().max().unwrap_or(0) - counts().min().unwrap_or(0);
        if apart <= 1 {
            return Ok(view);
        }
        if Instant::now() > deadline {
            return Err(cluster.late(
                "as many shards on each node",
                WELL_WITHIN,
                format!("{apart} apart"),
            ));
        }
    }
}

/// How far the most belated shard is behind: of those whose events the nth node's lives have handled, and of the others.
fn behind(truth: &Truth, lives: &[Life], nth: usize) -> [u64; 2] {
    let mut handled: BTreeMap<u32, (u64, usize)> = BTreeMap::new();
    for (node, life) in lives.iter().enumerate() {
        for record in &life.records {
            if let Record::Event { shard, sequence, .. } = record {
                let latest = handled.entry(*shard).or_default();
                *latest = (*latest).max((*sequence, node));
            }
        }
    }
    let mut behind = [0; 2];
    for session in &truth.sessions {
        let (sequence, node) = handled.get(&session.shard).copied().unwrap_or_default();
        let most = &mut behind[usize::from(node != nth)];
        *most = session.last.saturating_sub(sequence).max(*most);
    }
    behind
}

fn moved(before: &View, after: &View) -> usize {
    let pairs = before.shards.iter().zip(&after.shards);
    pairs.filter(|(before, after)| before.epoch != after.epoch).count()
}

impl fmt::Display for StormReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.answered as f64 / self.lasted.as_secs_f64();
        writeln!(f, "storm              {:.1?}, half a processor", self.lasted)?;
        writeln!(
            f,
            "requests           {} answered ({rate:.0}/s), {} failed",
            self.answered, self.failed
        )?;
        writeln!(f, "changes of leader  {}", self.terms)?;
        writeln!(f, "shards moved       {}", self.moved)?;
        writeln!(f, "behind elsewhere   {} events of one shard at most", self.behind_elsewhere)?;
        writeln!(f, "behind there       {}", self.behind_there)?;
        write!(f, "{}", self.account)
    }
}
