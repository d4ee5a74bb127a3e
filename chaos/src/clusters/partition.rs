//! Nodes that don't hear each other: cut off in every shape, for longer than a lease, then healed.

use std::{fmt, io, time::Duration};

use apolo::http::{Role, View};
use tokio::time::{Instant, sleep};

use super::{
    account::Account,
    cluster::{Cluster, ClusterError, ClusterOptions, LOAD, WELL_WITHIN},
    firewall::Firewall,
};

/// Who does not hear whom. The first node is the leader at the time of the cut, the last one the follower that owns most.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// N1: the leader is alone.
    LeaderAlone,
    /// N1: a follower is alone.
    FollowerAlone,
    /// N1: the leader is with a minority.
    LeaderInMinority,
    /// N2: the leader hears nobody, and is heard.
    LeaderDeaf,
    /// N2: nobody hears the leader, and it hears all.
    LeaderMute,
    /// N2: a follower hears nobody.
    FollowerDeaf,
    /// N3: the leader and one follower don't hear each other; both hear the others.
    LeaderAndFollower,
    /// N3: two followers don't hear each other.
    TwoFollowers,
    /// N4: two halves, joined by one node.
    Bridge,
    /// N4: each hears its two neighbours.
    Ring,
}

impl Shape {
    /// Those that three nodes can have.
    pub const OF_THREE: [Self; 7] = [
        Self::LeaderAlone,
        Self::FollowerAlone,
        Self::LeaderDeaf,
        Self::LeaderMute,
        Self::FollowerDeaf,
        Self::LeaderAndFollower,
        Self::TwoFollowers,
    ];

    /// Those that need five.
    pub const OF_FIVE: [Self; 3] = [Self::LeaderInMinority, Self::Bridge, Self::Ring];

    /// Whether what `from` sends does not reach `to`, of `count` nodes in a row.
    const fn cuts(self, from: usize, to: usize, count: usize) -> bool {
        let (low, high) = if from < to { (from, to) } else { (to, from) };
        match self {
            Self::LeaderAlone => low == 0,
            Self::FollowerAlone => high == count - 1,
            Self::LeaderInMinority => low < count / 2 && high >= count / 2,
            Self::LeaderDeaf => to == 0,
            Self::LeaderMute => from == 0,
            Self::FollowerDeaf => to == count - 1,
            Self::LeaderAndFollower => low == 0 && high == count - 1,
            Self::TwoFollowers => low == 1 && high == 2,
            Self::Bridge => low < count / 2 && high > count / 2,
            Self::Ring => high - low != 1 && high - low != count - 1,
        }
    }
}

/// One cut.
#[derive(Clone, Debug)]
pub struct Cut {
    /// Its shape.
    pub shape: Shape,
    /// From the cut to the last moment at which a shard was down.
    pub down: Duration,
    /// How many terms later it was when all was well again: one for each leader, and each election without one.
    pub terms: u64,
    /// From the healing until every node saw every node, and all shards ran.
    pub healed: Duration,
}

/// What the cuts came to.
#[derive(Clone, Debug)]
pub struct PartitionReport {
    /// What must hold.
    pub account: Account,
    /// The cuts, in order.
    pub cuts: Vec<Cut>,
    cut_for: Duration,
}

/// Cuts the cluster in each of `shapes` for `cut_for`, and heals it. `told` hears of each that is over.
///
/// # Errors
///
/// [`ClusterError`]: also where the packets can't be dropped (see [`can_partition`](super::can_partition)), and where
/// the cluster is not whole again.
pub async fn partition(
    options: &ClusterOptions,
    shapes: &[Shape],
    cut_for: Duration,
    told: impl Fn(usize),
) -> Result<PartitionReport, ClusterError> {
    let mut cluster = Cluster::start(options).await?;
    let mut cuts = Vec::new();
    for shape in shapes {
        sleep(LOAD).await;
        cuts.push(cut(&mut cluster, *shape, cut_for).await?);
        told(cuts.len());
    }
    Ok(PartitionReport { account: cluster.account().await, cuts, cut_for })
}

async fn cut(cluster: &mut Cluster, shape: Shape, cut_for: Duration) -> Result<Cut, ClusterError> {
    let before = cluster.whole("all is well", WELL_WITHIN).await?;
    let firewall = drop_in(cluster, &before, shape)?;
    let down = cluster.watch(cut_for).await;
    cluster.connected(&format!("{shape:?}: every shard runs somewhere"), WELL_WITHIN).await?;
    drop(firewall);
    let healed = Instant::now();
    let after = cluster.whole(&format!("{shape:?}: all is well again"), WELL_WITHIN).await?;
    Ok(Cut { shape, down, terms: after.term - before.term, healed: healed.elapsed() })
}

/// Cuts the cluster, as a node sees it, until the firewall is dropped.
pub(super) fn drop_in(cluster: &Cluster, view: &View, shape: Shape) -> io::Result<Firewall> {
    let ports = in_a_row(cluster, view);
    let mut cut = Vec::new();
    for (from, sends) in ports.iter().enumerate() {
        for (to, hears) in ports.iter().enumerate() {
            if from != to && shape.cuts(from, to, ports.len()) {
                cut.push((*sends, *hears));
            }
        }
    }
    Firewall::drop_between(&cut)
}

/// The nodes' ports: the leader first, and last the follower that has most to lose.
fn in_a_row(cluster: &Cluster, view: &View) -> Vec<u16> {
    let mut rows: Vec<_> = view.nodes.iter().filter(|row| !row.lost).collect();
    rows.sort_by_key(|row| (row.role != Role::Leader, row.shards));
    let ports = cluster.nodes.quic_ports();
    rows.iter().filter_map(|row| Some(ports[cluster.nodes.index_of(&row.name)?])).collect()
}

impl fmt::Display for PartitionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "cuts               {} of {:?}", self.cuts.len(), self.cut_for)?;
        write!(f, "{}", self.account)?;
        for Cut { shape, down, terms, healed } in &self.cuts {
            let shape = format!("{shape:?}");
            writeln!(
                f,
                "{shape:<18} a shard down until {down:.2?}, {terms} terms, whole {healed:.2?} after it"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_cuts_the_pairs_that_it_names() {
        let cut = |shape: Shape, count: usize| -> Vec<(usize, usize)> {
            let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
            pairs.filter(|(from, to)| from != to && shape.cuts(*from, *to, count)).collect()
        };

        assert_eq!(cut(Shape::LeaderAlone, 3), [(0, 1), (0, 2), (1, 0), (2, 0)]);
        assert_eq!(cut(Shape::LeaderDeaf, 3), [(1, 0), (2, 0)]);
        assert_eq!(cut(Shape::LeaderMute, 3), [(0, 1), (0, 2)]);
        assert_eq!(cut(Shape::LeaderAndFollower, 3), [(0, 2), (2, 0)]);
        assert_eq!(cut(Shape::TwoFollowers, 3), [(1, 2), (2, 1)]);
        let bridge = cut(Shape::Bridge, 5);
        assert_eq!(bridge.len(), 8);
        assert!(bridge.iter().all(|(from, to)| *from != 2 && *to != 2));
        let ring = cut(Shape::Ring, 5);
        assert_eq!(ring.iter().filter(|(from, _)| *from == 0).count(), 2);
        assert_eq!(ring.len(), 10);
    }
}
