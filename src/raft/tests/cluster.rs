//! Several nodes, over the simulated network; for tests of what stands above Raft, too.

use std::{collections::BTreeSet, net::SocketAddr};

use futures_util::future::join_all;
use tokio::time::Instant;

use super::*;
use crate::model::Format;
use crate::raft::{Standings, propose::PROPOSE_WITHIN};
use crate::store::Write;
use crate::transport::{Identity, Options as TransportOptions, SimulatedNetwork, Transport};

/// A node that can be killed and started again on what it had stored.
struct Member {
    id: NodeId,
    memory: Memory,
    boot: u64,
    standings: Option<Arc<Standings>>,
    running: Option<(Handle, Transport)>,
}

/// What would be left of a directory that is copied now.
fn copy(memory: &Memory) -> Memory {
    let (copy, held) = (Memory::default(), memory.recovered());
    let votes = held.vote.into_iter().map(Write::Vote);
    for write in votes.chain([Write::Append(held.records)]) {
        copy.submit(write, Box::new(|_| ()));
    }
    copy
}

pub(crate) struct Cluster {
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
    pub(crate) async fn formed(nodes: u64, voters: u64) -> Self {
        let network = SimulatedNetwork::new(7);
        let mut cluster = Self { network, id: ClusterId::mint(), members: Vec::new() };
        for id in 1..=nodes {
            let id = NodeId(id);
            let memory = Memory::default();
            cluster.members.push(Member { id, memory, boot: 0, standings: None, running: None });
            cluster.start(id).await;
        }
        cluster.handle(1).form((1..=voters).map(NodeId)).await.unwrap();
        let leader = cluster.leader().await;
        let form = Command::Form { cluster: cluster.id };
        assert_eq!(leader.propose(form).await, Ok(Outcome::Applied));
        cluster
    }

    pub(crate) async fn start(&mut self, id: NodeId) {
        let everyone: Vec<_> = self.members.iter().map(|member| member.id).collect();
        let socket = self.network.join(address(id), Identity::server(self.id, id));
        let member = self.members.iter_mut().find(|member| member.id == id).unwrap();
        member.boot += 1;
        let recovered = member.memory.recovered();
        let standings = Arc::new(Standings::new(&recovered, Format::MAX));
        let options = TransportOptions::simulated(socket, BootEpoch(member.boot));
        let transport = Transport::start(options.with_local(standings.clone())).unwrap();
        let options = Options {
            node: id,
            store: Arc::new(member.memory.clone()),
            recovered,
            transport: Some(transport.clone()),
            profile: Profile::Lan,
            on_vote: None,
            standings: Some(standings.clone()),
        };
        let handle = Handle::start(options).await.unwrap();
        member.standings = Some(standings);
        member.running = Some((handle, transport.clone()));
        for peer in (1..=everyone.len() as u64 + 3).map(NodeId).filter(|peer| *peer != id) {
            transport.peer(peer, address(peer));
        }
    }

    pub(crate) async fn kill(&mut self, id: NodeId) {
        self.network.kill(address(id));
        let member = self.members.iter_mut().find(|member| member.id == id).unwrap();
        let (handle, transport) = member.running.take().unwrap();
        handle.shutdown().await;
        transport.stop().await;
    }

    /// Ends the connections between two nodes, with what is under way on them. They make new ones.
    pub(crate) fn cut(&self, one: NodeId, other: NodeId) {
        self.network.cut(address(one), address(other));
    }

    pub(crate) fn handle(&self, id: u64) -> Handle {
        let member = self.members.iter().find(|member| member.id == NodeId(id)).unwrap();
        member.running.as_ref().unwrap().0.clone()
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Handle> {
        self.members.iter().filter_map(|member| member.running.as_ref().map(|it| &it.0))
    }

    pub(crate) async fn leader(&self) -> Handle {
        until("a leader", || self.running().any(Handle::is_leader)).await;
        self.running().find(|handle| handle.is_leader()).unwrap().clone()
    }

    /// Waits until every running node has applied what `handle` has.
    pub(crate) async fn settled(&self) {
        let target = self.running().map(|handle| handle.states().borrow().applied()).max().unwrap();
        let all = || self.running().all(|handle| handle.states().borrow().applied() >= target);
        until("all have applied it", all).await;
    }
}

pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
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
async fn what_was_sent_to_a_leader_that_is_gone_is_given_up_when_another_leads() {
    let cluster = Cluster::formed(3, 3).await;
    cluster.settled().await;
    let gone = cluster.leader().await.id();
    let others: Vec<_> = cluster.running().filter(|handle| handle.id() != gone).cloned().collect();
    for other in &others {
        // Nobody is told: what is sent that way is not answered.
        cluster.network.partition(address(gone), address(other.id()));
    }

    let asked = others.iter().map(|other| timeout(PATIENCE, other.propose(start_named(9, 1))));
    let began = Instant::now();
    let answers = join_all(asked).await;

    let soon = PROPOSE_WITHIN - Duration::from_millis(500);
    assert!(began.elapsed() < soon, "{answers:?} after {:?}", began.elapsed());
    let leads = others.iter().any(|other| other.is_leader());
    assert!(leads, "another leads by then");
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

/// A follower's start on what it had when entry 9 was proposed, or on all that it had: what its leader says of it.
async fn started_on(an_old_copy: bool) -> Option<String> {
    let mut cluster = Cluster::formed(3, 3).await;
    let leader = cluster.leader().await;
    let follower = cluster.running().map(Handle::id).find(|id| *id != leader.id()).unwrap();
    cluster.settled().await;
    let nth = cluster.members.iter().position(|member| member.id == follower).unwrap();
    let old = copy(&cluster.members[nth].memory);
    for boot in 1..=20 {
        leader.propose(start_named(9, boot)).await.unwrap();
    }
    let last = leader.states().borrow().applied().0;
    until("the leader knows that the follower has all", || {
        leader.matched().is_some_and(|all| all.get(&follower) >= Some(&last))
    })
    .await;
    cluster.kill(follower).await;
    if an_old_copy {
        cluster.members[nth].memory = old;
    }

    cluster.start(follower).await;

    let told = cluster.members[nth].standings.as_ref().unwrap().told();
    let back = cluster.handle(follower.0);
    until("it is back, or told why not", || {
        told.borrow().is_some() || back.states().borrow().applied().0 >= last
    })
    .await;
    told.borrow().clone()
}

#[tokio::test]
async fn a_member_restored_from_an_old_copy_is_told_so_by_its_leader() {
    let told = started_on(true).await.expect("it was let in");

    assert!(told.contains("old copy"), "{told}");
}

#[tokio::test]
async fn a_member_started_on_all_it_had_is_let_in() {
    assert_eq!(started_on(false).await, None);
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
async fn a_learner_that_was_removed_while_it_was_away_is_told_when_it_starts() {
    let mut cluster = Cluster::formed(4, 3).await;
    let leader = cluster.leader().await;
    leader.add_learner(NodeId(4)).await.unwrap();
    let learner = cluster.handle(4);
    until("it learns", || learner.members().borrow().contains(NodeId(4))).await;
    drop(learner);
    cluster.kill(NodeId(4)).await;
    let seen = leader.members().borrow().clone();
    leader.remove_learner(&seen, NodeId(4)).await.unwrap();
    leader.propose(Command::RemoveNode { node: NodeId(4) }).await.unwrap();

    cluster.start(NodeId(4)).await;

    let back = cluster.handle(4);
    assert!(back.members().borrow().contains(NodeId(4)), "by itself it can't know");
    timeout(PATIENCE, back.is_removed()).await.expect("it is told");
}

#[tokio::test]
async fn what_a_removed_node_has_the_leader_propose_is_refused() {
    let cluster = Cluster::formed(3, 3).await;
    let leader = cluster.leader().await;
    let gone = cluster.running().find(|handle| handle.id() != leader.id()).unwrap();
    leader.propose(Command::RemoveNode { node: gone.id() }).await.unwrap();

    let outcome = gone.propose(start_named(9, 1)).await;

    assert!(outcome.is_err(), "{outcome:?}");
    assert!(!leader.states().borrow().nodes().contains_key(&NodeId(9)));
}

#[tokio::test]
async fn whoever_stops_last_does_not_wait_for_a_quorum_that_is_gone() {
    let mut cluster = Cluster::formed(3, 3).await;
    let last = cluster.leader().await;
    let applied = last.propose_at_the_end(start_named(9, 1)).await;
    assert_eq!(applied, Ok(Outcome::Applied), "with a quorum nothing is given up");
    let others: Vec<_> = cluster.running().map(Handle::id).filter(|id| *id != last.id()).collect();
    for other in others {
        cluster.kill(other).await;
    }
    until("they are missed", || !last.reaches_quorum()).await;

    let began = Instant::now();
    let outcome = last.propose_at_the_end(start_named(9, 2)).await;

    assert!(outcome.is_err(), "{outcome:?}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

impl Cluster {
    fn memory(&self, id: NodeId) -> Memory {
        self.members.iter().find(|member| member.id == id).unwrap().memory.clone()
    }

    async fn recover(&self, id: NodeId) -> Result<(), RecoverError> {
        let memory = self.memory(id);
        Recovery::of(id, &memory.recovered())?.carry_out(&memory).await
    }
}

#[tokio::test]
async fn a_survivor_goes_on_alone_and_the_others_are_refused_although_they_went_further() {
    let mut cluster = Cluster::formed(3, 3).await;
    let leader = cluster.leader().await;
    leader.propose(start_named(9, 1)).await.unwrap();
    cluster.settled().await;
    drop(leader);
    let [survivor, one, other] = [1, 2, 3].map(NodeId);
    cluster.kill(survivor).await;
    // In terms and at indices that the survivor never hears of.
    for boot in 2..40 {
        let leader = cluster.leader().await;
        leader.propose(start_named(9, boot)).await.unwrap();
    }
    cluster.kill(one).await;
    cluster.kill(other).await;

    cluster.recover(survivor).await.unwrap();
    cluster.start(survivor).await;

    let alone = cluster.handle(survivor.0);
    until("it leads", || alone.is_leader()).await;
    until("a generation begins", || alone.states().borrow().generation() == 2).await;
    assert!(alone.states().borrow().nodes().is_empty(), "node 9 was another's");
    assert_eq!(alone.members().borrow().voters, BTreeSet::from([survivor]));
    assert_eq!(alone.propose(start_named(1, 7)).await, Ok(Outcome::Applied));

    cluster.start(one).await;
    cluster.start(other).await;
    for old in [one, other] {
        timeout(PATIENCE, cluster.handle(old.0).is_removed()).await.expect("it is told");
    }
    assert_eq!(alone.propose(start_named(1, 8)).await, Ok(Outcome::Applied));
    assert_eq!(alone.states().borrow().generation(), 2);
}

#[tokio::test]
async fn a_recovery_that_is_not_applied_yet_is_defended_against_those_it_forgets() {
    let mut cluster = Cluster::formed(3, 3).await;
    cluster.leader().await.propose(start_named(9, 1)).await.unwrap();
    cluster.settled().await;
    for id in [1, 2, 3].map(NodeId) {
        cluster.kill(id).await;
    }
    cluster.recover(NodeId(1)).await.unwrap();

    let found = crate::raft::recover::forgotten(&cluster.memory(NodeId(1)).recovered()).unwrap();

    assert!(found.is_superset(&[2, 3].map(NodeId).into()), "{found:?}");
}

#[tokio::test]
async fn who_needs_no_other_or_never_was_a_member_is_not_recovered() {
    let mut cluster = Cluster::formed(2, 1).await;
    for id in [1, 2].map(NodeId) {
        cluster.kill(id).await;
    }

    assert!(matches!(cluster.recover(NodeId(1)).await, Err(RecoverError::Alone)));
    assert!(matches!(cluster.recover(NodeId(2)).await, Err(RecoverError::Nothing)));
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
        standings: None,
    })
    .await
    .unwrap();

    form(&handle).await;

    let term = until_leading(&handle).await;
    assert!(votes.lock().unwrap().contains(&(term, true)));
}
