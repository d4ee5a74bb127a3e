//! What happens to the nodes in the middle of a history.

use std::{fmt, sync::atomic::Ordering};

use apolo::http::View;
use nix::sys::signal::Signal;
use tokio::time::{sleep, timeout};

use super::{
    super::{
        cluster::{Cluster, ClusterError, WELL_WITHIN},
        firewall::Firewall,
        partition::{Shape, drop_in},
    },
    LOOK_EVERY, answered,
    client::Tally,
};

/// One fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// `kill -9` of the leader.
    KillLeader,
    /// `kill -9` of another node.
    KillFollower,
    /// `kill -9` of all, and a start.
    KillAll,
    /// SIGSTOP of the leader until another one leads, and SIGCONT.
    FreezeLeader,
    /// Packets between some nodes are dropped.
    Cut(Shape),
}

/// What a fault has done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Struck {
    pub(super) terms: u64,
    pub(super) new_leader: bool,
}

impl Fault {
    /// Those that so many nodes can have.
    pub(super) fn all(nodes: usize, cuts: bool) -> Vec<Self> {
        let mut all = vec![Self::KillAll];
        if nodes >= 3 {
            all.extend([Self::KillLeader, Self::KillFollower, Self::FreezeLeader]);
        }
        if cuts && nodes >= 3 {
            let shapes = [Shape::LeaderAlone, Shape::FollowerAlone, Shape::LeaderDeaf];
            all.extend(shapes.map(Self::Cut));
            all.push(Self::Cut(Shape::LeaderMute));
            all.push(Self::Cut(Shape::LeaderAndFollower));
        }
        if cuts && nodes >= 5 {
            all.extend([Shape::LeaderInMinority, Shape::Bridge].map(Self::Cut));
        }
        all
    }

    /// Whether the leader at the time is one no longer.
    const fn takes_the_lead(self) -> bool {
        match self {
            Self::KillLeader | Self::FreezeLeader => true,
            Self::KillFollower | Self::KillAll => false,
            Self::Cut(shape) => matches!(
                shape,
                Shape::LeaderAlone
                    | Shape::LeaderInMinority
                    | Shape::LeaderDeaf
                    | Shape::LeaderMute
            ),
        }
    }

    /// Strikes, waits until somebody else leads, where the fault is one of the leader, and until so many operations
    /// more have been answered, and heals.
    pub(super) async fn strike(
        self,
        cluster: &mut Cluster,
        tally: &Tally,
        operations: usize,
    ) -> Result<Struck, ClusterError> {
        let before = led(cluster, &format!("{self}: a node leads before"), |_| true).await?;
        let leader = before.leader.as_ref().and_then(|name| cluster.nodes.index_of(name));
        let leader = leader.unwrap_or(0);
        let victims: Vec<usize> = match self {
            Self::KillLeader | Self::FreezeLeader => vec![leader],
            Self::KillFollower => vec![(leader + 1) % cluster.nodes.nodes.len()],
            Self::KillAll => cluster.nodes.living().collect(),
            Self::Cut(_) => Vec::new(),
        };
        let _firewall = self.begin(cluster, &before, &victims).await?;
        let mut after = None;
        if self.takes_the_lead() {
            let what = format!("{self}: another node leads");
            let newer = |view: &View| view.term > before.term && view.leader != before.leader;
            after = Some(led(cluster, &what, newer).await?);
        }
        if self != Self::KillAll {
            let count = tally.answered.load(Ordering::Relaxed) + operations;
            let what = format!("{self}: operations are answered while it lasts");
            answered(cluster, tally, count, &what).await?;
        }
        self.end(cluster, &victims)?;
        let after = match after {
            Some(after) => after,
            None => led(cluster, &format!("{self}: a node leads after it"), |_| true).await?,
        };
        let new_leader = after.leader != before.leader;
        Ok(Struck { terms: after.term.saturating_sub(before.term), new_leader })
    }

    async fn begin(
        self,
        cluster: &mut Cluster,
        view: &View,
        victims: &[usize],
    ) -> Result<Option<Firewall>, ClusterError> {
        if let Self::Cut(shape) = self {
            return Ok(Some(drop_in(cluster, view, shape)?));
        }
        for nth in victims {
            if self == Self::FreezeLeader {
                cluster.nodes.signal(*nth, Signal::SIGSTOP)?;
            } else {
                cluster.kill(*nth).await?;
            }
        }
        Ok(None)
    }

    fn end(self, cluster: &mut Cluster, victims: &[usize]) -> Result<(), ClusterError> {
        for nth in victims {
            if self == Self::FreezeLeader {
                cluster.nodes.signal(*nth, Signal::SIGCONT)?;
            } else {
                cluster.nodes.start(*nth)?;
            }
        }
        Ok(())
    }
}

/// Waits until a node sees one lead as is wished, and returns what the latest of such nodes sees.
async fn led(
    cluster: &Cluster,
    what: &str,
    wished: impl Fn(&View) -> bool,
) -> Result<View, ClusterError> {
    let wait = async {
        loop {
            // Side by side: one that is frozen does not answer.
            let asked = cluster.nodes.living().map(|nth| cluster.nodes.view_of(nth));
            let views = futures_util::future::join_all(asked).await.into_iter().flatten();
            let newest = views.filter(|view| view.leader.is_some()).max_by_key(|view| view.term);
            if let Some(view) = newest.filter(&wished) {
                return view;
            }
            sleep(LOOK_EVERY).await;
        }
    };
    let waited = timeout(WELL_WITHIN, wait).await;
    waited.map_err(|_| cluster.late(what, WELL_WITHIN, "none does".to_owned()))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::KillLeader => "kill the leader",
            Self::KillFollower => "kill a follower",
            Self::KillAll => "kill all nodes",
            Self::FreezeLeader => "freeze the leader",
            Self::Cut(Shape::LeaderAlone) => "leader alone",
            Self::Cut(Shape::FollowerAlone) => "follower alone",
            Self::Cut(Shape::LeaderDeaf) => "leader deaf",
            Self::Cut(Shape::LeaderMute) => "leader mute",
            Self::Cut(Shape::LeaderAndFollower) => "leader and one",
            Self::Cut(Shape::LeaderInMinority) => "leader in minority",
            Self::Cut(other) => return write!(f, "{:<18}", format!("{other:?}")),
        };
        write!(f, "{name:<18}")
    }
}
