//! Messages for all.

use super::*;

#[tokio::test(start_paused = true)]
async fn all_shards_answer_a_request_to_all_and_those_that_did_not_are_named() {
    let world = World::of(3);
    for (ipc, _) in world.nodes.values() {
        ipc.register_handler("id", |call: Call, (): ()| async move {
            match call.receiver {
                Receiver::Shard(ShardId(4)) => Err("not today".into()),
                receiver => Ok(receiver),
            }
        });
    }

    let all = world.ipc(2).broadcast_request::<Receiver>("id", &()).await.unwrap();

    assert_eq!(all.answers.len(), 5);
    assert!(all.answers.iter().all(|(asked, answered)| asked == answered));
    let failed: Vec<_> = all.failed.into_iter().collect();
    let error = IpcError::HandlerFailed { message: "not today".into() };
    assert_eq!(failed, [(Receiver::Shard(ShardId(4)), error)]);
    let options = RequestOptions::default();
    let nodes =
        world.ipc(2).broadcast_request_to::<Receiver>(Everyone::Nodes, options, "id", &()).await;
    assert_eq!(nodes.unwrap().answers.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_runs_once_for_each_shard_though_one_is_on_its_way_and_a_link_breaks() {
    let mut world = World::of(3);
    let ran: Arc<Mutex<BTreeMap<Receiver, usize>>> = Arc::default();
    for (ipc, _) in world.nodes.values() {
        let ran = Arc::clone(&ran);
        ipc.register_handler("count", move |call: Call, (): ()| {
            *ran.lock().unwrap().entry(call.receiver).or_default() += 1;
            async { Ok(()) }
        });
    }
    world.take(ShardId(3));
    world.ipc(1).broadcast("count", &()).unwrap();
    world.network.cut(address(NodeId(1)), address(NodeId(3)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!ran.lock().unwrap().contains_key(&Receiver::Shard(ShardId(3))));

    world.give(ShardId(3), NodeId(3));

    until("all have run", || ran.lock().unwrap().len() == 6).await;
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(ran.lock().unwrap().values().all(|times| *times == 1), "{ran:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_to_all_crosses_a_link_once_for_a_node() {
    let world = World::of(2);
    let ran = world.greeters();
    let served = || world.nodes[&NodeId(2)].1.counters().served();
    let _: String = world.ipc(1).request(shard(2), "greet", &"hello").await.unwrap();
    let before = served();

    let all = world.ipc(1).broadcast_request::<String>("greet", &"hello").await.unwrap();

    assert_eq!((all.answers.len(), ran.load(Ordering::SeqCst)), (4, 5));
    assert_eq!(served() - before, 1);
}
