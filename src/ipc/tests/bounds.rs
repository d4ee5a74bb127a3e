//! What one sender, receiver or message can take.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_slow_receiver_slows_whoever_asks_it_and_nobody_else() {
    let world = World::of(2);
    let (ran, _never) = held(world.ipc(2), false);
    let _ran = world.greeters();
    let slow: Vec<_> = (0..200)
        .map(|_| {
            let ipc = world.ipc(1).clone();
            tokio::spawn(async move { ipc.request::<u64>(shard(2), "wait", &()).await })
        })
        .collect();
    until("as many run as may", || ran.load(Ordering::SeqCst) == 24).await;

    let greeting: String = world.ipc(1).request(shard(3), "greet", &"hello").await.unwrap();

    assert_eq!(greeting, "hello, shard 3 on 2");
    assert_eq!(ran.load(Ordering::SeqCst), 24);
    slow.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn hostile_bytes_end_their_stream_and_nothing_else() {
    let world = World::of(2);
    world.greeters();
    let transport = &world.nodes[&NodeId(1)].1;
    let mut letter = wire::encode(&"none of ours");
    for bytes in [vec![], vec![0xff; 64], vec![1; 100_000], std::mem::take(&mut letter)] {
        let answer = transport.request(NodeId(2), Protocol::Ipc, &bytes, PATIENCE).await;
        assert!(answer.is_err(), "{bytes:?}");
    }

    let greeting: String = world.ipc(1).request(shard(2), "greet", &"hello").await.unwrap();
    assert_eq!(greeting, "hello, shard 2 on 2");
}

#[tokio::test(start_paused = true)]
async fn an_error_that_says_too_much_is_cut_short() {
    let world = World::of(2);
    let long = "é".repeat(2_000_000);
    world.ipc(2).register_handler("fail", move |_, (): ()| {
        let error = long.clone().into();
        async move { Err::<(), _>(error) }
    });

    let failed = world.ipc(1).request::<()>(shard(2), "fail", &()).await;

    let said = match failed {
        Err(IpcError::HandlerFailed { message }) => message,
        other => panic!("{other:?}"),
    };
    assert_eq!(said.chars().count(), 2_048);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_delivered_is_tried_again_now_and_then_and_not_in_a_loop() {
    let world = World::of(2);
    world.greeters();
    world.resting.lock().unwrap().insert(ShardId(2));
    let served = || world.nodes[&NodeId(2)].1.counters().served();
    let before = served();
    let options = RequestOptions { timeout: Duration::from_secs(1) };

    let answer = world.ipc(1).request_with::<String>(options, shard(2), "greet", &"hello").await;

    // The last attempt may be on its way.
    assert!(matches!(answer, Err(IpcError::TimedOut { .. })), "{answer:?}");
    assert!((8..=12).contains(&(served() - before)), "{}", served() - before);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_takes_no_more_messages_and_lets_go_of_its_transport() {
    let world = World::of(2);
    let ran = world.greeters();
    let (hangs, _never) = held(world.ipc(2), false);
    let ipc = world.ipc(1).clone();
    let asked = tokio::spawn(async move { ipc.request::<u64>(shard(2), "wait", &()).await });
    until("a handler hangs", || hangs.load(Ordering::SeqCst) == 1).await;

    let closed = timeout(Duration::from_millis(250), world.ipc(2).close()).await;

    assert!(closed.is_err() && !world.ipc(2).holds_transport());
    asked.abort();
    let options = RequestOptions { timeout: Duration::from_secs(1) };

    let answer = world.ipc(1).request_with::<String>(options, shard(2), "greet", &"hello").await;

    // The last attempt may be on its way.
    assert!(matches!(answer, Err(IpcError::TimedOut { .. })), "{answer:?}");
    assert_eq!(ran.load(Ordering::SeqCst), 0);
    let own = world.ipc(2).request_with::<String>(options, shard(0), "greet", &"hello").await;
    assert!(own.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_shard_whose_handlers_hang_holds_up_no_broadcast_to_the_others() {
    let world = World::of(2);
    let ran = Arc::new(AtomicUsize::new(0));
    for (ipc, _) in world.nodes.values() {
        let ran = Arc::clone(&ran);
        ipc.register_handler("count", move |call: Call, (): ()| {
            let hangs = call.receiver == Receiver::Shard(ShardId(2));
            if !hangs {
                ran.fetch_add(1, Ordering::SeqCst);
            }
            async move { if hangs { std::future::pending().await } else { Ok(()) } }
        });
    }
    let began = tokio::time::Instant::now();

    for _ in 0..500 {
        world.ipc(1).broadcast("count", &()).unwrap();
    }

    until("the other three have all", || ran.load(Ordering::SeqCst) == 1_500).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whoever_broadcasts_faster_than_is_heard_is_told() {
    let world = World::of(2);
    world.greeters();
    let ipc = world.ipc(1).clone();

    let taken = (0..2_000).map_while(|_| ipc.broadcast("greet", &"hello").ok()).count();

    assert_eq!(taken, 1_024);
    assert_eq!(ipc.broadcast("greet", &"hello"), Err(IpcError::Overloaded));
    let _: String = ipc.request(shard(3), "greet", &"hello").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn requests_that_stand_in_line_leave_broadcasts_their_turn() {
    let world = World::of(2);
    let (_ran, _never) = held(world.ipc(2), false);
    let greeted = world.greeters();
    for _ in 0..200 {
        let ipc = world.ipc(1).clone();
        tokio::spawn(async move { ipc.request::<u64>(shard(2), "wait", &()).await });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;

    world.ipc(1).broadcast("greet", &"hello").unwrap();

    until("all four shards hear it", || greeted.load(Ordering::SeqCst) == 4).await;
}
