//! Several nodes, over the simulated network.

use std::{collections::BTreeSet, net::SocketAddr};

use super::*;
use crate::transport::{Identity, Options as TransportOptions, SimulatedNetwork, Transport};

/// A node that can be killed and started again on what it had stored.
struct Member {
    id: NodeId,
    memory: Memory,
    boot: u64,
    running: Option<(Handle, Transport)>,
}

struct Cluster {
    network: SimulatedNetwork,
    id: ClusterId,
    members: Vec<Member>,
}

fn address(node: NodeId) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(node.0).unwrap()], 7400))
}

fn start_named(node: u64, boot: u64) -> Command {
    Command::StartNode { node: NodeId(node), name: node.to_string(), boot: BootEpoch(boot) }
}

impl Cluster {
    /// So many nodes, of which the first `voters` have formed a cluster.
    async fn formed(nodes: u64, voters: u64) -> Self {
        let network = SimulatedNetwork::new(7);
        let mut cluster = Self { network, id: ClusterId::mint(), members: Vec::new() };
        for id in 1..=nodes {
            let id = NodeId(id);
            let memory = Memory::default();
            cluster.members.push(Member { id, memory, boot: 0, running: None });
            cluster.start(id).await;
        }
        cluster.handle(1).form((1..=voters).map(NodeId)).await.unwrap();
        let leader = cluster.leader().await;
        let form = Command::Form { cluster: cluster.id };
        assert_eq!(leader.propose(form).await, Ok(Outcome::Applied));
        cluster
    }

    async fn start(&mut self, id: NodeId) {
        let everyone: Vec<_> = self.members.iter().map(|member| member.id).collect();
        let socket = self.network.join(address(id), Identity::server(self.id, id));
        let member = self.members.iter_mut().find(|member| member.id == id).unwrap();
        member.boot += 1;
        let transport =
            Transport::start(TransportOptions::simulated(socket, BootEpoch(member.boot))).unwrap();
        let options = Options {
            node: id,
            store: Arc::new(member.memory.clone()),
            recovered: member.memory.recovered(),
            transport: Some(transport.clone()),
            profile: Profile::Lan,
            on_vote: None,
        };
        let handle = Handle::start(options).await.unwrap();
        member.running = Some((handle, transport.clone()));
        for peer in (1..=everyone.len() as u64 + 3).map(NodeId).filter(|peer| *peer != id) {
            transport.peer(peer, address(peer));
        }
    }

    async fn kill(&mut self, id: NodeId) {
        self.network.kill(address(id));
        let member = self.members.iter_mut().find(|member| member.id == id).unwrap();
        let (handle, transport) = member.running.take().unwrap();
        handle.shutdown().await;
        transport.stop().await;
    }

    fn handle(&self, id: u64) -> Handle {
        let member = self.members.iter().find(|member| member.id == NodeId(id)).unwrap();
        member.running.as_ref().unwrap().0.clone()
    }

    fn running(&self) -> impl Iterator<Item = &Handle> {
        self.members.iter().filter_map(|member| member.running.as_ref().map(|it| &it.0))
    }

    async fn leader(&self) -> Handle {
        until("a leader", || self.running().any(Handle::is_leader)).await;
        self.running().find(|handle| handle.is_leader()).unwrap().clone()
    }

    /// Waits until every running node has applied what `handle` has.
    async fn settled(&self) {
        let target = self.running().map(|handle| handle.states().borrow().applied()).max().unwrap();
        let all = || self.running().all(|handle| handle.states().borrow().applied() >= target);
        until("all have applied it", all).await;
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, held).await.unwrap_or_else(|_| panic!("waited too long for {what}"));
}

#[tokio::test]
async fn a_follower_has_the_leader_propose_and_sees_the_effect() {
    let cluster = Cluster::formed(3, 3).await;
    let leader = cluster.leader().await.id();
    let follower = cluster.running().find(|handle| handle.id() != leader).unwrap();

    assert_eq!(follower.propose(start_named(9, 1)).await, Ok(Outcome::Applied));

    assert!(follower.states().borrow().nodes().contains_key(&NodeId(9)));
    cluster.settled().await;
    let states: Vec<_> =
        cluster.running().map(|handle| handle.states().borrow().as_ref().clone()).collect();
    assert!(states.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn the_others_elect_a_leader_that_lacks_nothing() {
    let mut cluster = Cluster::formed(3, 3).await;
    let first = cluster.leader().await;
    first.propose(start_named(9, 1)).await.unwrap();
    let dead = first.id();
    drop(first);

    cluster.kill(dead).await;

    let second = cluster.leader().await;
    assert!(second.states().borrow().nodes().contains_key(&NodeId(9)));
    assert_eq!(second.propose(start_named(9, 2)).await, Ok(Outcome::Applied));
    cluster.start(dead).await;
    let back = cluster.handle(dead.0);
    until("the dead one has caught up", || {
        back.states().borrow().nodes().get(&NodeId(9)).is_some_and(|it| it.boot == BootEpoch(2))
    })
    .await;
}

#[tokio::test]
async fn without_a_quorum_nothing_is_committed() {
    let mut cluster = Cluster::formed(3, 3).await;
    let leader = cluster.leader().await;
    let others: Vec<_> =
        cluster.running().map(Handle::id).filter(|id| *id != leader.id()).collect();
    for other in others {
        cluster.kill(other).await;
    }

    let outcome = leader.propose(start_named(9, 1)).await;

    let error = outcome.expect_err("nobody acknowledges it");
    assert!(error.is_retryable(), "{error}");
    assert!(!leader.states().borrow().nodes().contains_key(&NodeId(9)));
}

#[tokio::test]
async fn a_proposal_of_another_term_is_refused() {
    let cluster = Cluster::formed(3, 3).await;
    let leader = cluster.leader().await;
    let term = until_leading(&leader).await;

    assert!(leader.propose_in(term + 1, start_named(9, 1)).await.is_err());
    assert_eq!(leader.propose_in(term, start_named(9, 1)).await, Ok(Outcome::Applied));
}

#[tokio::test]
async fn a_learner_is_sent_a_snapshot_and_can_be_made_a_voter() {
    let cluster = Cluster::formed(4, 3).await;
    let leader = cluster.leader().await;
    // So long that one request does not hold what a learner lacks, nor one frame a snapshot.
    for boot in 1..=40 {
        let command = Command::StartNode {
            node: NodeId(20 + boot),
            name: "x".repeat(100 * 1024),
            boot: BootEpoch(boot),
        };
        leader.propose(command).await.unwrap();
    }
    leader.snapshot().await.unwrap();
    let purged = leader.raft().wait(Some(PATIENCE));
    purged.metrics(|metrics| metrics.snapshot.is_some(), "a snapshot").await.unwrap();
    let last = leader.states().borrow().applied().0;
    leader.raft().trigger().purge_log(last - 1).await.unwrap();

    leader.add_learner(NodeId(4)).await.unwrap();

    let learner = cluster.handle(4);
    until("the learner has caught up", || learner.states().borrow().nodes().len() >= 40).await;
    let seen = leader.members().borrow().clone();
    assert_eq!(seen.learners, BTreeSet::from([NodeId(4)]));
    let voters = (1..=4).map(NodeId).collect::<BTreeSet<_>>();
    leader.set_voters(&seen, voters.clone(), true).await.unwrap();
    until("it votes", || learner.members().borrow().voters == voters).await;
}

#[tokio::test]
async fn a_change_on_what_somebody_else_has_changed_is_refused() {
    let cluster = Cluster::formed(4, 3).await;
    let leader = cluster.leader().await;
    let seen = leader.members().borrow().clone();
    leader.add_learner(NodeId(4)).await.unwrap();

    let voters = (1..=2).map(NodeId).collect();
    let changed = leader.set_voters(&seen, voters, true).await;

    assert!(matches!(changed, Err(ChangeError::Refused(_))), "{changed:?}");
}

#[tokio::test]
async fn leadership_goes_where_it_is_sent() {
    let cluster = Cluster::formed(3, 3).await;
    let leader = cluster.leader().await;
    let to = cluster.running().map(Handle::id).find(|id| *id != leader.id()).unwrap();

    leader.transfer_leadership(to).await.unwrap();

    let next = cluster.handle(to.0);
    until("the other leads", || next.is_leader()).await;
    assert_eq!(next.propose(start_named(9, 1)).await, Ok(Outcome::Applied));
}

#[tokio::test]
async fn a_removed_member_is_told() {
    let cluster = Cluster::formed(3, 3).await;
    let leader = cluster.leader().await;
    let gone = cluster.running().find(|handle| handle.id() != leader.id()).unwrap().clone();
    let seen = leader.members().borrow().clone();
    let rest = seen.voters.iter().copied().filter(|id| *id != gone.id()).collect();

    leader.set_voters(&seen, rest, false).await.unwrap();

    // It may have applied its own removal; if not, it campaigns and hears of it.
    until("it knows", || {
        gone.removed().borrow().is_some() || !gone.members().borrow().contains(gone.id())
    })
    .await;
}

#[tokio::test]
async fn a_vote_is_told_before_it_is_given() {
    let votes = Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = Arc::clone(&votes);
    let memory = Memory::default();
    let handle = Handle::start(Options {
        node: NodeId(1),
        store: Arc::new(memory.clone()),
        recovered: Recovered::default(),
        transport: None,
        profile: Profile::Lan,
        on_vote: Some(Arc::new(move |term, own| told.lock().unwrap().push((term, own)))),
    })
    .await
    .unwrap();

    form(&handle).await;

    let term = until_leading(&handle).await;
    assert!(votes.lock().unwrap().contains(&(term, true)));
}
