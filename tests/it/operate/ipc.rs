//! Shards that talk to each other while operators move them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use apolo::{
    ShardId,
    ipc::{Answers, Call, IpcError, Receiver, Target},
};
use tokio::time::{sleep, timeout};

use super::support::{Cluster, DEADLINE, said};

const SHARDS: u32 = 6;
const BROADCASTS: u64 = 300;

/// How often each broadcast ran for each shard.
type Runs = Arc<Mutex<BTreeMap<(u64, Receiver), usize>>>;

fn count_on(cluster: &Cluster) -> Runs {
    let runs = Runs::default();
    for place in &cluster.places {
        let ipc = place.ipc.as_ref().expect("it has started");
        let counted = Arc::clone(&runs);
        ipc.register_handler("count", move |call: Call, broadcast: u64| {
            *counted
                .lock()
                .expect("nobody panics")
                .entry((broadcast, call.receiver))
                .or_default() += 1;
            async { Ok(()) }
        });
        let name = place.name.clone();
        ipc.register_handler("where", move |_: Call, (): ()| {
            let name = name.clone();
            async move { Ok(name) }
        });
    }
    runs
}

#[tokio::test(flavor = "multi_thread")]
async fn every_broadcast_runs_once_for_each_shard_while_nodes_are_drained() {
    let cluster = Cluster::of(3, SHARDS).await;
    let runs = count_on(&cluster);
    let ipc = cluster.places[0].ipc.clone().expect("it has started");
    let telling = tokio::spawn(async move {
        for broadcast in 0..BROADCASTS {
            ipc.broadcast("count", &broadcast).expect("few are under way");
            sleep(Duration::from_millis(10)).await;
        }
    });

    for words in [["drain", "node-2"], ["undrain", "node-2"], ["drain", "node-3"]] {
        let output = cluster.apolo(0, &words).await;
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }

    timeout(DEADLINE, telling).await.expect("it ends").expect("it does not panic");
    let expected = usize::try_from(BROADCASTS).expect("few") * SHARDS as usize;
    let all = async {
        while runs.lock().unwrap().len() < expected {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let came = timeout(DEADLINE, all).await;
    let runs = runs.lock().unwrap();
    assert!(came.is_ok(), "{} of {expected}", runs.len());
    assert!(runs.values().all(|times| *times == 1), "{runs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_answers_from_its_next_owner() {
    let mut cluster = Cluster::of(3, SHARDS).await;
    count_on(&cluster);
    let ipc = cluster.places[0].ipc.clone().expect("it has started");
    let names: Answers<String> = ipc.broadcast_request("where", &()).await.expect("all are asked");
    assert_eq!((names.answers.len(), names.failed.len()), (SHARDS as usize, 0));
    let owner = &names.answers[&Receiver::Shard(ShardId(0))];
    let next = if owner == "node-1" { "node-2" } else { "node-1" };

    let output = cluster.apolo(0, &["move", "0", next]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let moved = cluster.sees("it has moved", |view| {
        let row = view.shards.iter().find(|row| row.shard == ShardId(0));
        row.is_some_and(|row| row.node.as_deref() == Some(next))
    });
    moved.await;

    let target = Target::Shard(ShardId(0));
    assert_eq!(ipc.request::<String>(target, "where", &()).await, Ok(next.to_owned()));
    let nothing = ipc.request::<String>(target, "nothing", &()).await;
    assert_eq!(nothing, Err(IpcError::NoHandler { event: "nothing".into() }));
    for nth in [0, 1, 2] {
        cluster.stop(nth).await;
    }
}
