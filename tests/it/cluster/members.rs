//! Members that lose each other and are found again.

use std::{collections::BTreeSet, time::Duration};

use apolo::{
    cluster::{Directory, directory},
    model::{ClusterId, NodeId},
    transport::{Identity, Protocol, Transport, answer},
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::support::{Pod, X, Y, a_minute, at, candidates, pods, until};

/// A member, and who its Raft says is one.
pub(crate) struct Member {
    pub(crate) pod: Pod,
    pub(crate) transport: Transport,
    pub(crate) directory: Directory,
    pub(crate) members: watch::Sender<BTreeSet<NodeId>>,
    _task: JoinHandle<()>,
    _stop: DropGuard,
}

impl Pod {
    /// Starts the node as a member of a cluster that was formed long ago, with all nodes up to number 9.
    pub(crate) fn member_of(self, cluster: ClusterId) -> Member {
        let transport = self.transport(Identity::server(cluster, NodeId(self.id)));
        let echo = |_, request| async move { Ok(request) };
        transport.register(Protocol::Raft, answer(echo));
        let (members, seen) = watch::channel([NodeId(self.id)].into());
        let stop = CancellationToken::new();
        let options = directory::Options {
            transport: transport.clone(),
            candidates: self.peers.clone(),
            name: self.name.clone(),
            members: seen,
            promise: None,
        };
        let (directory, task) = Directory::start(options, stop.clone());
        Member { pod: self, transport, directory, members, _task: task, _stop: stop.drop_guard() }
    }
}

impl Member {
    fn sees(&self, node: u64) -> bool {
        self.transport.connected().iter().any(|peer| peer.node == NodeId(node))
    }

    async fn end(self) -> Pod {
        self.transport.stop().await;
        Pod { boot: self.pod.boot + 1, ..self.pod }
    }
}

fn all(members: &[Member]) -> BTreeSet<NodeId> {
    members.iter().map(|member| NodeId(member.pod.id)).collect()
}

fn tell(members: &[Member]) {
    let all = all(members);
    members.iter().for_each(|member| drop(member.members.send_replace(all.clone())));
}

async fn all_connected(members: &[Member]) {
    until("all members are connected", || {
        members.iter().all(|one| {
            members.iter().all(|other| one.pod.id == other.pod.id || one.sees(other.pod.id))
        })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn members_find_each_other_and_know_where_they_are() {
    let members: Vec<_> = pods(3, 3).into_iter().map(|pod| pod.member_of(X)).collect();
    tell(&members);

    all_connected(&members).await;

    for member in &members {
        for other in members.iter().filter(|other| other.pod.id != member.pod.id) {
            until("its address is known", || {
                member.directory.address(NodeId(other.pod.id)) == Some(at(other.pod.host))
            })
            .await;
        }
        assert_eq!(member.directory.foreigners(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn all_restart_with_new_addresses_and_find_each_other() {
    let mut members: Vec<_> = pods(5, 3).into_iter().map(|pod| pod.member_of(X)).collect();
    tell(&members);
    all_connected(&members).await;

    let mut pods = Vec::new();
    for member in members.drain(..) {
        pods.push(member.end().await);
    }
    for pod in &mut pods {
        pod.host += 20;
        // One seed is enough: it tells of the others.
        pod.peers = candidates(&[21]);
    }
    let members: Vec<_> = pods.into_iter().map(|pod| pod.member_of(X)).collect();
    tell(&members);

    all_connected(&members).await;
    until("the new address is the one that is known", || {
        members[1].directory.address(NodeId(5)) == Some(at(25))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_comes_back_elsewhere_is_found_by_those_who_stayed() {
    let mut members: Vec<_> = pods(3, 3).into_iter().map(|pod| pod.member_of(X)).collect();
    tell(&members);
    all_connected(&members).await;

    let mut pod = members.pop().expect("three").end().await;
    until("it is missed", || !members[0].sees(3) && !members[1].sees(3)).await;
    pod.host = 30;
    members.push(pod.member_of(X));
    tell(&members);

    all_connected(&members).await;
    until("its new address is known", || members[0].directory.address(NodeId(3)) == Some(at(30)))
        .await;
    assert_eq!(
        members[0]
            .transport
            .request(NodeId(3), Protocol::Raft, b"x", Duration::from_secs(5))
            .await
            .unwrap(),
        "x"
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_no_longer_a_member_is_forgotten() {
    let members: Vec<_> = pods(3, 3).into_iter().map(|pod| pod.member_of(X)).collect();
    tell(&members);
    all_connected(&members).await;

    for member in &members {
        member.members.send_if_modified(|all| all.remove(&NodeId(3)));
    }
    until("it is let go", || !members[0].sees(3) && !members[1].sees(3)).await;

    assert_eq!(members[0].directory.address(NodeId(3)), None);
    assert!(members[0].sees(2));
}

#[tokio::test(start_paused = true)]
async fn two_clusters_never_merge() {
    let pods = pods(4, 2);
    let clusters = [X, X, Y, Y];
    let members: Vec<_> =
        pods.into_iter().zip(clusters).map(|(pod, cluster)| pod.member_of(cluster)).collect();
    // Even where somebody is told that all of them are members.
    tell(&members);

    until("the strangers are noticed", || {
        members.iter().all(|member| member.directory.foreigners() > 0)
    })
    .await;
    a_minute().await;

    let pairs = [(0, [3, 4]), (1, [3, 4]), (2, [1, 2]), (3, [1, 2])];
    for (member, strangers) in pairs {
        assert!(strangers.iter().all(|stranger| !members[member].sees(*stranger)));
    }
    assert!(members[0].sees(2) && members[2].sees(4));
}
