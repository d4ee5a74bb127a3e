//! Exactly one cluster, or none.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use apolo::{
    cluster::{Answer, Caller, Question, SeekError, Waiting},
    model::{BootEpoch, ClusterId, NodeId},
    store::{Memory, Promise, WriteError},
    transport::{Identity, SimulatedNetwork, Weather},
};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use super::support::{Pod, Running, Sought, Stuck, X, a_minute, ask, at, candidates, formed, pods};

async fn all_form(nodes: &[Running]) -> ClusterId {
    let mut clusters = BTreeSet::new();
    for node in nodes {
        let (promise, founder) = formed(node.outcome().await);
        assert_eq!(founder, node.pod.name == "node-1", "the lowest name founds");
        assert_eq!(promise.members.len(), nodes.len());
        clusters.insert(promise.cluster);
    }
    assert_eq!(clusters.len(), 1);
    assert_eq!(nodes[0].pod.formed.borrow().len(), 1);
    clusters.pop_first().expect("there is one")
}

#[tokio::test(start_paused = true)]
async fn three_form_one_cluster_whatever_the_order_of_their_starts() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for apart in [0, 40, 3000] {
            let pods = pods(3, 3);
            let mut nodes = Vec::new();
            for nth in order {
                nodes.push(pods[nth].start());
                sleep(Duration::from_millis(apart)).await;
            }

            all_form(&nodes).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bad_weather_delays_a_cluster_and_makes_no_second_one() {
    for seed in 0..8 {
        let mut pods = pods(5, 5);
        let network = SimulatedNetwork::new(seed);
        network.set_weather_everywhere(Weather {
            delay: Duration::from_millis(30),
            jitter: Duration::from_millis(60),
            loss: 0.1,
        });
        pods.iter_mut().for_each(|pod| pod.network = network.clone());
        let nodes: Vec<_> = pods.iter().map(Pod::start).collect();

        all_form(&nodes).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_of_three_never_form_and_name_the_third() {
    let pods = pods(3, 3);
    let nodes = [pods[0].start(), pods[1].start()];

    a_minute().await;

    for node in &nodes {
        assert!(node.is_seeking());
        let waiting = node.waiting.borrow().as_ref().map(ToString::to_string).unwrap_or_default();
        assert!(waiting.contains("2 of 3") && waiting.contains("10.0.0.3:7400"), "{waiting}");
        assert_eq!(node.pod.store.recovered().promise, None);
    }
    let third = pods[2].start();
    let [one, two] = nodes;
    all_form(&[one, two, third]).await;
}

#[tokio::test(start_paused = true)]
async fn four_that_expect_three_never_form() {
    let nodes: Vec<_> = pods(4, 3).iter().map(Pod::start).collect();

    a_minute().await;

    for node in &nodes {
        assert!(node.is_seeking());
        assert!(matches!(*node.waiting.borrow(), Some(Waiting::Many { expect: 3, .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn six_that_see_different_parts_of_each_other_form_nothing() {
    let rings: [fn(u8) -> Vec<u8>; 3] = [
        |host| vec![host, host % 6 + 1, (host + 1) % 6 + 1],
        |host| if host <= 3 { vec![1, 2, 3] } else { vec![3, 4, 5, 6] },
        |host| if host % 2 == 0 { vec![2, 4, 6, 1] } else { vec![1, 3, 5] },
    ];
    for lists in rings {
        let mut pods = pods(6, 3);
        pods.iter_mut().for_each(|pod| pod.peers = candidates(&lists(pod.host)));
        let nodes: Vec<_> = pods.iter().map(Pod::start).collect();

        a_minute().await;

        for node in &nodes {
            assert!(node.is_seeking(), "{}", node.pod.name);
            assert_eq!(node.pod.store.recovered().promise, None, "{}", node.pod.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_names_nobody_is_a_cluster_at_once_and_one_that_names_a_silent_peer_waits() {
    let mut alone = pods(1, 1).remove(0);
    alone.peers = candidates(&[]);
    let mut waits = pods(1, 1).remove(0);
    waits.peers = candidates(&[1, 2]);

    let (promise, founder) = formed(alone.start().outcome().await);
    let waits = waits.start();
    let waiting = waits.waits(|waiting| matches!(waiting, Waiting::Silent { .. })).await;
    a_minute().await;

    assert!(founder);
    assert_eq!(alone.store.recovered().promise, Some(promise));
    assert!(waiting.to_string().contains("10.0.0.2:7400"), "{waiting}");
    assert!(waits.is_seeking());
}

#[tokio::test(start_paused = true)]
async fn peers_that_are_named_by_one_side_alone_find_each_other() {
    let mut pods = pods(3, 3);
    pods[0].peers = candidates(&[]);
    pods[1].peers = candidates(&[1]);
    pods[2].peers = candidates(&[1]);
    let nodes: Vec<_> = pods.iter().map(Pod::start).collect();

    sleep(Duration::from_secs(5)).await;

    // Two and three know nothing of each other, so the three do not see the same.
    assert!(nodes.iter().all(Running::is_seeking));
    for node in nodes {
        node.kill();
    }
    pods[2].peers = candidates(&[1, 2]);
    sleep(Duration::from_secs(5)).await;
    let nodes: Vec<_> = pods.iter().map(Pod::start).collect();
    all_form(&nodes).await;
}

/// A founder that has its own promise and that of node 2; node 3's disk hangs.
async fn half_promised(pods: &[Pod]) -> (Promise, Vec<Running>) {
    let stuck = Arc::new(Stuck(std::sync::Mutex::default()));
    let nodes = vec![pods[0].start(), pods[1].start(), pods[2].start_with(stuck)];
    let (promise, founder) = formed(nodes[1].outcome().await);
    assert!(!founder);
    nodes[0]
        .waits(|waiting| matches!(waiting, Waiting::Promises { missing, .. } if missing.len() == 1))
        .await;
    (promise, nodes)
}

#[tokio::test(start_paused = true)]
async fn a_founder_that_dies_after_some_promises_resumes_to_the_same_cluster() {
    let pods = pods(3, 3);
    let (promise, mut nodes) = half_promised(&pods).await;
    let three = nodes.pop().expect("three").kill();
    let two = nodes.pop().expect("two");
    let one = nodes.pop().expect("one").kill();
    a_minute().await;

    let nodes = [one.start(), two, three.start()];
    let cluster = all_form(&nodes).await;

    assert_eq!(cluster, promise.cluster);
    assert_eq!(pods[2].store.recovered().promise, Some(promise));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_restarts_after_its_promise_is_there_for_the_founder_at_once() {
    let pods = pods(3, 3);
    let (promise, mut nodes) = half_promised(&pods).await;
    let three = nodes.pop().expect("three").kill();
    let two = nodes.pop().expect("two").kill();

    let two = two.start();
    let (again, founder) = formed(two.outcome().await);
    let nodes = [nodes.pop().expect("one"), two, three.start()];

    assert_eq!((again, founder), (promise.clone(), false));
    assert_eq!(all_form(&nodes).await, promise.cluster);
}

#[tokio::test(start_paused = true)]
async fn a_founder_whose_disk_is_gone_is_refused_by_those_who_promised() {
    let pods = pods(3, 3);
    let (promise, mut nodes) = half_promised(&pods).await;
    let three = nodes.pop().expect("three").kill();
    let one = nodes.remove(0).kill();

    let new = Pod { id: 11, store: Memory::default(), ..one.clone() };
    let nodes = [new.start(), three.start()];
    let waiting = nodes[0].waits(|waiting| matches!(waiting, Waiting::BeingFormed { .. })).await;
    a_minute().await;

    assert!(waiting.to_string().contains(&promise.cluster.to_string()), "{waiting}");
    assert!(waiting.to_string().contains("delete the data directories"), "{waiting}");
    for node in nodes {
        assert!(node.is_seeking());
        assert_eq!(node.kill().store.recovered().promise, None);
    }
    // And were it to ask, it would be told so.
    let second = Promise { cluster: X, founder: NodeId(11), members: promise.members };
    let stranger = new.transport(Identity::joiner(NodeId(11)));
    let answer = ask(&stranger, 2, &Question::Promise(second)).await;
    assert!(matches!(answer, Ok(Answer::Refused { .. })), "{answer:?}");
    stranger.stop().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_in_another_nodes_name_is_refused() {
    let pods = pods(3, 3);
    let two = pods[1].start();
    let stranger = pods[0].transport(Identity::joiner(NodeId(1)));
    let members = two.pod.id..=two.pod.id;
    let members = members.map(|id| (NodeId(id), "node-2".to_owned())).collect();
    let forged = Caller { node: NodeId(3), name: "node-3".to_owned(), boot: BootEpoch(1) };

    two.waits(|waiting| *waiting != Waiting::Looking).await;
    let promise = Question::Promise(Promise { cluster: X, founder: NodeId(3), members });
    let who = Question::WhoAreYou { from: forged, sees: BTreeSet::new() };

    for question in [promise, who] {
        let answer = ask(&stranger, 2, &question).await;
        assert!(answer.as_ref().is_err_and(|error| error.contains("may not ask")), "{answer:?}");
    }
    assert_eq!(two.pod.store.recovered().promise, None);
}

#[tokio::test(start_paused = true)]
async fn a_kind_of_the_future_is_answered_with_a_reason() {
    let two = pods(2, 3)[1].start();
    let stranger = two.pod.network.join(at(9), Identity::joiner(NodeId(9)));
    let options = apolo::transport::Options::simulated(stranger, BootEpoch(1));
    let stranger = apolo::transport::Transport::start(options).expect("a transport");
    two.waits(|waiting| *waiting != Waiting::Looking).await;

    let meeting = stranger.meet(at(2), Duration::from_secs(5)).await.unwrap();
    for future in [&[2, 0, 0][..], &[1, 9, 9]] {
        let bytes = meeting.ask(future, Duration::from_secs(5)).await.unwrap();
        assert!(matches!(Answer::decode(&bytes), Ok(Answer::Refused { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_and_a_stop_end_the_search() {
    let mut pod = pods(1, 1).remove(0);
    pod.peers = candidates(&[]);
    pod.store.fail(WriteError::Closed);
    let seek = |pod: &Pod| {
        let transport = pod.transport(Identity::joiner(NodeId(pod.id)));
        pod.seek(transport, Arc::new(pod.store.clone()), watch::Sender::new(None))
    };

    let failed: Sought = seek(&pod).run(CancellationToken::new()).await;
    let stopped = CancellationToken::new();
    stopped.cancel();
    let stopped: Sought = seek(&Pod { host: 2, ..pod.clone() }).run(stopped).await;

    assert!(matches!(failed, Err(SeekError::Store(WriteError::Closed))), "{failed:?}");
    assert!(matches!(stopped, Err(SeekError::Stopped)), "{stopped:?}");
}
