//! Shards that talk to each other while operators move them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use apolo::{
    ShardId,
    http::View,
    ipc::{Answers, Call, Ipc, IpcError, Receiver, Target},
};
use tokio::time::{Instant, interval, sleep, timeout};

use super::support::{Cluster, DEADLINE, said};

const BROADCASTS: usize = 10_000;

/// Between two broadcasts: so that they last as long as the moves of shards meanwhile.
const BROADCAST_EVERY: Duration = Duration::from_millis(3);

/// So many may be on their way: a slow machine takes longer, and none runs out of time.
const BEHIND_MAX: usize = 100;

/// All, on a machine that is busy with much else.
const TOLD_WITHIN: Duration = Duration::from_secs(600);

/// How often each broadcast ran for each shard.
struct Runs {
    shards: usize,
    counts: Vec<AtomicU8>,
    all: AtomicUsize,
}

impl Runs {
    fn of(shards: u32, broadcasts: usize) -> Arc<Self> {
        let shards = usize::try_from(shards).expect("few");
        let counts = (0..shards * broadcasts).map(|_| AtomicU8::new(0)).collect();
        Arc::new(Self { shards, counts, all: AtomicUsize::new(0) })
    }

    fn count(&self, broadcast: usize, receiver: Receiver) {
        let Receiver::Shard(shard) = receiver else { panic!("{receiver} is no shard") };
        let shard = usize::try_from(shard.0).expect("few");
        self.counts[broadcast * self.shards + shard].fetch_add(1, Ordering::Relaxed);
        self.all.fetch_add(1, Ordering::Relaxed);
    }

    fn with(&self, runs: impl Fn(u8) -> bool) -> usize {
        self.counts.iter().filter(|count| runs(count.load(Ordering::Relaxed))).count()
    }
}

fn register(cluster: &Cluster, runs: &Arc<Runs>) {
    for place in &cluster.places {
        let ipc = place.ipc.as_ref().expect("it has started");
        let runs = Arc::clone(runs);
        ipc.register_handler("count", move |call: Call, broadcast: usize| {
            runs.count(broadcast, call.receiver);
            async { Ok(()) }
        });
        let name = place.name.clone();
        ipc.register_handler("where", move |_: Call, (): ()| {
            let name = name.clone();
            async move { Ok(name) }
        });
    }
}

/// Broadcasts from each node in turn.
async fn tell(from: Vec<Ipc>, runs: Arc<Runs>) {
    let mut ticks = interval(BROADCAST_EVERY);
    for (broadcast, ipc) in (0..BROADCASTS).zip(from.iter().cycle()) {
        ticks.tick().await;
        while broadcast > BEHIND_MAX + runs.all.load(Ordering::Relaxed) / runs.shards {
            ticks.tick().await;
        }
        ipc.broadcast("count", &broadcast).expect("few are under way");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_broadcast_runs_once_for_each_shard_while_nodes_are_drained() {
    let cluster = Cluster::of(5, 64).await;
    let runs = Runs::of(64, BROADCASTS);
    register(&cluster, &runs);
    let ipc = cluster.places.iter().map(|place| place.ipc.clone().expect("it has started"));
    let telling = tokio::spawn(tell(ipc.collect(), Arc::clone(&runs)));

    let (mut operations, deadline) = (0, Instant::now() + TOLD_WITHIN);
    for nth in (1..5).cycle() {
        let name = format!("node-{nth}");
        for word in ["drain", "undrain"] {
            let output = cluster.apolo(0, &[word, &name]).await;
            assert_eq!(output.status.code(), Some(0), "{}", said(&output));
            operations += 1;
        }
        if telling.is_finished() || Instant::now() > deadline {
            break;
        }
    }

    timeout(DEADLINE, telling).await.expect("it ends").expect("it does not panic");
    let all = async {
        while runs.with(|times| times == 0) > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let came = timeout(DEADLINE, all).await;
    assert!(came.is_ok(), "{} never ran", runs.with(|times| times == 0));
    assert_eq!(runs.with(|times| times > 1), 0, "of {}", runs.counts.len());
    assert!(operations >= 4, "{operations}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_answers_from_its_next_owner() {
    let mut cluster = Cluster::of(3, 6).await;
    register(&cluster, &Runs::of(6, 0));
    let ipc = cluster.places[0].ipc.clone().expect("it has started");
    let names: Answers<String> = ipc.broadcast_request("where", &()).await.expect("all are asked");
    assert_eq!((names.answers.len(), names.failed.len()), (6, 0));
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

/// Longer than a lease lasts, an election included.
const BLOCKED_FOR: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_block_every_thread_of_the_bot_cost_no_lease_and_no_leader() {
    let cluster = Cluster::of(3, 6).await;
    let before = cluster.whole(3).await;
    for place in &cluster.places {
        let ipc = place.ipc.as_ref().expect("it has started");
        ipc.register_handler("block", |_: Call, (): ()| async {
            std::thread::sleep(BLOCKED_FOR);
            Ok(())
        });
    }

    let ipc = cluster.places[0].ipc.clone().expect("it has started");
    let all = ipc.broadcast_request::<()>("block", &()).await.expect("all are asked");

    assert_eq!((all.answers.len(), all.failed.len()), (6, 0), "{:?}", all.failed);
    let after = cluster.whole(3).await;
    assert_eq!(after.leader, before.leader);
    let epochs = |view: &View| view.shards.iter().map(|row| row.epoch.clone()).collect::<Vec<_>>();
    assert_eq!(epochs(&after), epochs(&before));
}
