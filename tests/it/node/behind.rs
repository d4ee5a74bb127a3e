//! A shard whose handlers stay behind for longer than Discord's buffer reaches back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use apolo::{
    LostRange, Node, Notice, ShardId, ShardTotal,
    agent::ShardNow,
    bot::ClosureBot,
    gateway::Phase,
    simulator::{self, Fault, Simulator},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};

use super::{DEADLINE, ready, start, until};

/// The shard whose handlers hang.
const SLOW: ShardId = ShardId(0);

/// What a session's buffer holds.
const BUFFER: usize = 100;

/// The slow shard drops this many before its handlers go on: more than the buffer holds by far.
const DROPPED: u64 = 1_000;

/// Events that a node holds of one shard at most: 4,096 in the queue, and what its deliverer takes ahead of the
/// checkpoint, which is 2,048 and the last batch of 64.
const HELD_MAX: u64 = 4_096 + 2_048 + 64;

async fn discord() -> Simulator {
    let options = simulator::Options {
        guilds: 40,
        recommended_shards: ShardTotal::new(4).expect("a valid total"),
        event_rate: 200.0,
        buffer: Some(BUFFER),
        heartbeat_interval: Duration::from_secs(2),
        ..simulator::Options::default()
    };
    Simulator::start(options).await.expect("the simulator starts")
}

/// A bot whose handlers hang on the slow shard while the gate is shut. A lost session shuts it.
fn bot(
    gate: &watch::Sender<bool>,
    others: &Arc<AtomicU64>,
) -> (ClosureBot, mpsc::UnboundedReceiver<(ShardId, LostRange)>) {
    let (told, losses) = mpsc::unbounded_channel();
    let (open, shut, others) = (gate.subscribe(), gate.clone(), Arc::clone(others));
    let bot = ClosureBot::default()
        .on_event(move |context, _| {
            let (mut open, others) = (open.clone(), Arc::clone(&others));
            async move {
                if context.shard() == SLOW {
                    // The gate outlives the node.
                    let _ = open.wait_for(|open| *open).await;
                } else {
                    others.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
        .on_notice(move |context, notice| {
            if let Notice::SessionLost(range) = notice {
                shut.send_replace(false);
                let _ = told.send((context.shard(), range));
            }
            async {}
        });
    (bot, losses)
}

fn slow(node: &Node) -> ShardNow {
    let mut shards = node.board().shards().into_iter();
    shards.find(|shard| shard.shard == SLOW).expect("it runs")
}

/// `/ready`: its status, and what it says of the shards.
async fn readiness(node: &Node) -> (u16, Value) {
    let response = reqwest::get(format!("http://{}/ready", node.http_addr())).await;
    let response = response.expect("the node answers");
    let status = response.status().as_u16();
    let body: Value = response.json().await.expect("it is JSON");
    let conditions = body["conditions"].as_array().expect("a list");
    let shards = conditions.iter().find(|condition| condition["name"] == "shards");
    (status, shards.expect("one of them")["detail"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_stays_behind_loses_its_session_twice_and_is_parked_alone() {
    let discord = discord().await;
    let directory = TempDir::new().expect("a directory");
    let (gate, others) = (watch::Sender::new(false), Arc::new(AtomicU64::new(0)));
    let (bot, mut losses) = bot(&gate, &others);
    let node = start(&discord, directory.path(), bot).await.expect("it starts");
    until("four shards ready", || ready(&node) == 4).await;
    assert_eq!(readiness(&node).await.0, 200);

    discord
        .inject(Fault::Burst { events_per_second: 3_000.0 }.on([SLOW.0]))
        .expect("it can be injected");
    for _ in 1..=2 {
        until("the shard is behind", || slow(&node).status.phase == Phase::Behind).await;
        let hung = slow(&node);
        let dropped = hung.received.0 + DROPPED;
        until("it drops what comes", || slow(&node).received.0 > dropped).await;
        gate.send_replace(true);
        let lost = timeout(DEADLINE, losses.recv()).await.expect("it is told").expect("open");

        let (shard, range) = lost;
        assert_eq!((shard, range.session), (SLOW, hung.progress.session));
        assert!(range.known() >= DROPPED, "{range:?}");
        let held = range.after.0 - hung.progress.handled.0;
        assert!(held <= HELD_MAX, "{held} events were held");
    }
    until("it is parked", || matches!(slow(&node).status.phase, Phase::Parked { .. })).await;

    let Phase::Parked { until: end } = slow(&node).status.phase else { panic!("it is parked") };
    let left = end.saturating_duration_since(Instant::now());
    assert!(left > Duration::from_secs(400), "ten minutes between two identifies, not {left:?}");
    until("both losses are counted", || slow(&node).progress.outcomes.sessions_lost == 2).await;
    assert_eq!(readiness(&node).await, (503, format!("parked: {SLOW}").into()));
    let before = others.load(Ordering::Relaxed);
    until("the others go on", || others.load(Ordering::Relaxed) > before + 50).await;
    let truth = discord.truth();
    let identified = |id: u32| truth.identifies.iter().filter(|it| it.shard == id).count();
    assert_eq!([0, 1, 2, 3].map(identified), [2, 1, 1, 1]);
    assert_eq!([1, 2, 3].map(|id| truth.attempts(id).len()), [1, 1, 1], "they did not notice");
    assert!(truth.broken.is_empty(), "{:?}", truth.broken);
    assert!(losses.try_recv().is_err(), "no other session was lost");

    gate.send_replace(true);
    node.shutdown().await;
}
