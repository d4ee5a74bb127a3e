//! Several nodes over the simulated network, and what is kept by them.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::*;
use crate::raft::tests::cluster::{Cluster, until};

const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster, and the way to what it keeps on each of its nodes.
struct Place {
    cluster: Cluster,
    kvs: BTreeMap<NodeId, Kv>,
    stop: CancellationToken,
}

impl Place {
    async fn of(nodes: u64) -> Self {
        let cluster = Cluster::formed(nodes, nodes).await;
        let stop = CancellationToken::new();
        let start = |raft: &Handle| {
            let clock = Clock::Boottime;
            let options = Options { raft: raft.clone(), boot: BootEpoch(1), clock };
            let (kv, running) = Kv::new(options, stop.clone());
            tokio::spawn(running);
            (raft.id(), kv.within(PATIENCE))
        };
        let kvs = cluster.running().map(start).collect();
        Self { cluster, kvs, stop }
    }

    fn all(&self) -> Vec<Namespace> {
        self.kvs.values().map(|kv| kv.namespace("test")).collect()
    }

    async fn leader(&self) -> NodeId {
        self.cluster.leader().await.id()
    }

    async fn follower(&self) -> Namespace {
        let leader = self.leader().await;
        let (_, kv) = self.kvs.iter().find(|(id, _)| **id != leader).unwrap();
        kv.namespace("test")
    }

    async fn kill(&mut self, id: NodeId) {
        self.kvs.remove(&id);
        self.cluster.kill(id).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn a_read_sees_each_write_that_was_answered_on_whichever_node() {
    let place = Place::of(3).await;
    let nodes = place.all();

    for round in 0..10 {
        for writer in &nodes {
            let value = format!("{round}").into_bytes();
            let revision = writer.put("key", value.clone()).await.unwrap();
            for reader in &nodes {
                let found = reader.get("key").await.unwrap().unwrap();
                assert_eq!((found.value, found.modified), (value.clone().into(), revision));
            }
        }
    }
}

#[tokio::test]
async fn what_waits_shares_a_batch() {
    let place = Place::of(3).await;
    let node = place.follower().await;
    node.put("first", "").await.unwrap();
    let before = place.cluster.leader().await.states().borrow().applied().0;

    let adds = (0..500).map(|_| node.increment("n", 1));
    let sums = join_all(adds).await;

    let mut sums: Vec<_> = sums.into_iter().map(Result::unwrap).collect();
    sums.sort_unstable();
    assert_eq!(sums, (1..=500).collect::<Vec<_>>());
    let entries = place.cluster.leader().await.states().borrow().applied().0 - before;
    assert!(entries < 100, "{entries} entries");
}

#[tokio::test]
async fn the_longest_values_find_their_way_side_by_side() {
    let place = Place::of(3).await;
    let node = place.follower().await;
    let value = |nth: u8| vec![nth; VALUE_BYTES_MAX];
    let keys: Vec<_> = (0..8_u8).map(|nth| format!("{nth:0>512}")).collect();

    let puts = keys.iter().zip(0..).map(|(key, nth)| node.put(key, value(nth)));
    for put in join_all(puts).await {
        put.unwrap();
    }

    for (key, nth) in keys.iter().zip(0..) {
        assert_eq!(node.get(key).await.unwrap().unwrap().value, value(nth));
    }
    let too_long = node.put("key", vec![0; VALUE_BYTES_MAX + 1]).await;
    assert!(matches!(too_long, Err(KvError::Refused(UserRefusal::Length { .. }))), "{too_long:?}");
}

/// Far beyond what an entry of the log holds.
#[tokio::test]
async fn what_is_much_too_long_is_refused_at_once_and_holds_up_no_other_write() {
    let place = Place::of(3).await;
    let node = place.follower().await;
    node.put("key", "").await.unwrap();

    let (long, short) =
        tokio::join!(node.put("long", vec![0; 4 * VALUE_BYTES_MAX]), node.put("short", ""));

    assert!(matches!(long, Err(KvError::Refused(UserRefusal::Length { .. }))), "{long:?}");
    assert!(short.is_ok(), "{short:?}");
    let half = vec![0; VALUE_BYTES_MAX / 2 + 1];
    let both = node.compare_and_set("key", Condition::Value(half.clone().into()), half).await;
    assert!(matches!(both, Err(KvError::Refused(UserRefusal::Length { .. }))), "{both:?}");
}

#[tokio::test]
async fn a_lock_whose_taker_stopped_waiting_is_given_back() {
    let place = Place::of(3).await;
    let node = place.follower().await;
    node.put("key", "").await.unwrap();
    for _ in 0..20 {
        let asked = tokio::spawn({
            let node = node.clone();
            async move { node.lock("job", Duration::from_secs(600)).await.map(drop) }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        asked.abort();
    }

    let taken = tokio::time::timeout(PATIENCE, node.lock_when_free("job", LOCK_TTL_MIN)).await;

    assert!(taken.is_ok_and(|lock| lock.is_ok()));
}

#[tokio::test]
async fn over_the_death_of_a_leader_each_increment_counts_once() {
    let mut place = Place::of(3).await;
    let leader = place.leader().await;
    let survivors: Vec<_> =
        place.kvs.iter().filter(|(id, _)| **id != leader).map(|(_, kv)| kv.clone()).collect();
    let adding = survivors.iter().cloned().map(|kv| {
        tokio::spawn(async move {
            let mut sums = Vec::new();
            for _ in 0..60 {
                sums.push(kv.namespace("test").increment("n", 1).await);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            sums
        })
    });
    let adding: Vec<_> = adding.collect();
    let reader = survivors[0].namespace("test");
    while reader.counter("n").await.unwrap() < 20 {}

    place.kill(leader).await;

    let mut seen = Vec::new();
    for sums in join_all(adding).await {
        seen.extend(sums.unwrap().into_iter().map(Result::unwrap));
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=120).collect::<Vec<_>>());
    assert_eq!(reader.counter("n").await, Ok(120));
}

/// What the leader answers is lost with the connection, whether it had proposed the batch or not.
#[tokio::test]
async fn an_increment_whose_answer_is_lost_counts_once() {
    const INCREMENTS: i64 = 60;
    let place = Place::of(3).await;
    let (leader, node) = (place.leader().await, place.follower().await);
    let follower = node.kv.node;
    let mut states = place.kvs[&leader].states.clone();
    let adding = tokio::spawn(async move {
        let mut sums = Vec::new();
        for _ in 0..INCREMENTS {
            sums.push(node.increment("n", 1).await);
        }
        sums
    });

    // The leader has just applied one of them, and its answer is on its way.
    for reached in (5..INCREMENTS).step_by(5) {
        let seen = states.wait_for(|state| state.user().revision() >= reached.unsigned_abs());
        tokio::time::timeout(PATIENCE, seen).await.unwrap().unwrap();
        place.cluster.cut(leader, follower);
    }

    let sums: Vec<_> = adding.await.unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!(sums, (1..=INCREMENTS).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_due_goes_on_all_nodes_and_not_before() {
    let place = Place::of(3).await;
    let node = place.follower().await;
    let (ttl, began) = (Duration::from_millis(400), Instant::now());
    node.put_with("key", "value", PutOptions { ttl: Some(ttl), ..PutOptions::default() })
        .await
        .unwrap();

    for (id, kv) in &place.kvs {
        let mut states = kv.states.clone();
        let path = node.path("key");
        let gone = states
            .wait_for(|state| state.user().revision() >= 2 && state.user().get(&path).is_none());
        assert!(tokio::time::timeout(PATIENCE, gone).await.is_ok(), "on {id}");
        assert!(began.elapsed() >= ttl, "on {id}");
    }
    assert_eq!(node.get("key").await, Ok(None));
}

#[tokio::test]
async fn a_change_of_leader_does_not_cut_a_time_to_live_short() {
    let mut place = Place::of(3).await;
    let leader = place.leader().await;
    let node = place.follower().await;
    let (ttl, began) = (Duration::from_millis(2_500), Instant::now());
    node.put_with("key", "value", PutOptions { ttl: Some(ttl), ..PutOptions::default() })
        .await
        .unwrap();

    place.kill(leader).await;
    while node.get("key").await.unwrap().is_some() {}

    assert!(began.elapsed() >= ttl, "{:?}", began.elapsed());
}

/// A new leader goes on from what is committed, so time that is not would stand still where leaders change often.
#[tokio::test(start_paused = true)]
async fn while_anything_has_an_end_the_time_is_committed_now_and_then() {
    let place = Place::of(3).await;
    let node = place.follower().await;
    let ttl = Some(Duration::from_hours(1));
    node.put_with("key", "value", PutOptions { ttl, ..PutOptions::default() }).await.unwrap();

    tokio::time::sleep(Duration::from_secs(30)).await;

    let now_ms = place.cluster.leader().await.states().borrow().user().now_ms();
    assert!(now_ms >= 15_000, "{now_ms} ms");
}

#[tokio::test]
async fn without_a_quorum_nothing_is_said_that_may_be_wrong() {
    let mut place = Place::of(3).await;
    let leader = place.leader().await;
    let kv = place.kvs[&leader].within(Duration::from_secs(2));
    let node = kv.namespace("test");
    node.put("key", "value").await.unwrap();
    for other in place.kvs.keys().copied().filter(|id| *id != leader).collect::<Vec<_>>() {
        place.kill(other).await;
    }

    let (read, written) = tokio::join!(node.get("key"), node.put("key", "other"));

    assert_eq!(read, Err(KvError::Unavailable));
    assert!(matches!(written, Err(KvError::InDoubt | KvError::Unavailable)), "{written:?}");
    let old = node.local().get("key").await.unwrap().unwrap();
    assert_eq!(old.value, &b"value"[..]);
}

#[tokio::test]
async fn a_lock_is_held_by_one_over_the_death_of_a_leader_and_its_token_grows() {
    let mut place = Place::of(3).await;
    let leader = place.leader().await;
    let nodes: Vec<_> =
        place.kvs.iter().filter(|(id, _)| **id != leader).map(|(_, kv)| kv.clone()).collect();
    let [one, two] = [0, 1].map(|nth: usize| nodes[nth].namespace("test"));
    let ttl = Duration::from_secs(8);
    let held = one.lock("job", ttl).await.unwrap();

    let taken = two.lock("job", ttl).await;
    assert!(matches!(taken, Err(KvError::Refused(UserRefusal::Taken { .. }))), "{taken:?}");
    place.kill(leader).await;
    let first = held.token();
    let waiting = tokio::spawn(async move { two.lock_when_free("job", ttl).await });
    one.put("over", "the change of leader").await.unwrap();
    assert!(held.is_held() && !waiting.is_finished());
    drop(held);

    let next = waiting.await.unwrap().unwrap();
    assert!(next.token() > first && next.is_held());
    next.release().await.unwrap();
    assert!(one.lock("job", ttl).await.is_ok());
}

#[tokio::test]
async fn a_lock_renews_itself_and_says_when_it_is_lost() {
    let place = Place::of(1).await;
    let node = &place.all()[0];
    let held = node.lock("job", LOCK_TTL_MIN).await.unwrap();
    let began = Instant::now();
    let path = node.path("job");
    let mut states = node.kv.states.clone();
    let renewed = states.wait_for(|state| {
        let until = state.user().get(&path).and_then(|entry| entry.expires_at);
        until.is_some_and(|until| until > 2_500)
    });
    tokio::time::timeout(PATIENCE, renewed).await.unwrap().unwrap();
    assert!(held.is_held() && began.elapsed() > LOCK_TTL_MIN);

    node.delete("job").await.unwrap();

    tokio::time::timeout(PATIENCE, held.lost().cancelled()).await.unwrap();
    assert!(!held.is_held());
    assert!(matches!(
        node.lock("job", Duration::from_millis(999)).await,
        Err(KvError::Refused(UserRefusal::Ttl(999)))
    ));
}

#[tokio::test]
async fn a_watch_sees_every_change_of_its_keys_in_order_on_whichever_node() {
    let place = Place::of(3).await;
    let nodes = place.all();
    let mut watches: Vec<_> = nodes.iter().map(|node| node.watch_from("a/", 1)).collect();

    nodes[0].put("a/1", "x").await.unwrap();
    nodes[1].put("b/1", "y").await.unwrap();
    nodes[2].increment("a/n", 7).await.unwrap();
    nodes[0].delete("a/1").await.unwrap();

    let change = |revision, key: &str, change| Change { revision, key: key.into(), change };
    let expected = [
        change(1, "a/1", UserChange::Put("x".into())),
        change(3, "a/n", UserChange::Count(7)),
        change(4, "a/1", UserChange::Deleted),
    ];
    for watch in &mut watches {
        for wanted in &expected {
            let seen = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap();
            assert_eq!(seen.as_ref(), Ok(wanted));
        }
    }
}

#[tokio::test]
async fn a_leaderboard_adds_up_what_all_nodes_add() {
    let place = Place::of(3).await;
    let boards: Vec<_> = place.all().iter().map(|node| node.leaderboard("xp")).collect();

    let adds = (0..60).map(|nth| {
        let (board, name) = (&boards[nth % 3], ["ada", "bob"][nth % 2]);
        board.add(name, 1 + i64::from(nth % 2 == 0))
    });
    for added in join_all(adds).await {
        added.unwrap();
    }

    let top = boards[1].top(10).await.unwrap();
    assert_eq!(top, [("ada".into(), 60), ("bob".into(), 30)]);
    assert_eq!(boards[2].rank("bob").await, Ok(Some(Rank { rank: 1, score: 30 })));
    assert_eq!(boards[0].remove("ada").await, Ok(true));
    assert_eq!(boards[0].rank("ada").await, Ok(None));
}

#[tokio::test]
async fn a_handle_that_outlives_the_node_says_so() {
    let place = Place::of(1).await;
    let node = place.all().remove(0);
    node.put("key", "value").await.unwrap();

    let mut watch = node.watch("");

    place.stop.cancel();
    until("it has stopped", || node.kv.writes.is_closed()).await;

    assert_eq!(node.put("key", "other").await, Err(KvError::Stopped));
    assert_eq!(node.get("key").await, Err(KvError::Stopped));
    let ended = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap();
    assert_eq!(ended, Err(KvError::Stopped));
    assert!(node.local().get("key").await.is_ok());
}
