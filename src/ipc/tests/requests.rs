//! One receiver and its answer.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_by_the_shards_owner_wherever_that_is() {
    let world = World::of(3);
    world.greeters();
    let ipc = world.ipc(1);
    let guild = GuildId(5 << 22);

    for (target, owner) in [
        (shard(0), "shard 0 on 1"),
        (shard(3), "shard 3 on 2"),
        (Target::Guild(guild), "shard 5 on 3"),
        (Target::Node(NodeId(2)), "node 0000000000000002 on 2"),
    ] {
        let greeting: String = ipc.request(target, "greet", &"hello").await.unwrap();
        assert_eq!(greeting, format!("hello, {owner}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_learns_who_asks_and_what() {
    let world = World::of(2);
    let seen = Arc::new(Mutex::new(None));
    let told = Arc::clone(&seen);
    world.ipc(2).register_handler("ask", move |call: Call, (): ()| {
        *told.lock().unwrap() = Some(call);
        async { Ok(()) }
    });

    let asking = world.ipc(1).of_shard(ShardId(1));
    let () = asking.request(shard(2), "ask", &()).await.unwrap();

    let call = seen.lock().unwrap().clone().unwrap();
    assert_eq!(call.sender, Sender { node: NodeId(1), shard: Some(ShardId(1)) });
    assert_eq!(call.receiver, Receiver::Shard(ShardId(2)));
    assert_eq!((call.kind, &*call.event), (MessageKind::Request, "ask"));
    assert!(!call.cancelled.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_has_an_error_of_its_own_at_once() {
    let world = World::of(2);
    for node in [1, 2] {
        let ipc = world.ipc(node);
        ipc.register_handler("fail", |_, (): ()| async { Err::<(), _>("no such user".into()) });
        ipc.register_handler("panic", |_, (): ()| async {
            if true {
                panic!("on purpose");
            }
            Ok(())
        });
        ipc.register_handler("long", |_, (): ()| async { Ok("x".repeat(DATA_MAX)) });
        ipc.register_handler("number", |_, n: u64| async move { Ok(n) });
    }
    let began = tokio::time::Instant::now();
    let ask = async |target, event: &str, data: serde_json::Value| {
        world.ipc(1).request::<u64>(target, event, &data).await.unwrap_err()
    };
    let null = serde_json::Value::Null;
    for near_or_far in [0, 2] {
        let target = shard(near_or_far);
        let none = ask(target, "none", null.clone()).await;
        assert_eq!(none, IpcError::NoHandler { event: "none".into() });
        let failed = ask(target, "fail", null.clone()).await;
        assert_eq!(failed, IpcError::HandlerFailed { message: "no such user".into() });
        assert_eq!(ask(target, "panic", null.clone()).await, IpcError::HandlerPanicked);
        let long = ask(target, "long", null.clone()).await;
        assert_eq!(long, IpcError::TooLarge { bytes: DATA_MAX + 2 });
        let text = ask(target, "number", "seven".into()).await;
        assert!(matches!(text, IpcError::Undecodable(_)), "{text}");
    }
    let large = ask(shard(2), "number", "x".repeat(DATA_MAX).into()).await;
    assert_eq!(large, IpcError::TooLarge { bytes: DATA_MAX + 2 });
    assert_eq!(ask(shard(99), "number", null.clone()).await, IpcError::UnknownShard(ShardId(99)));
    let nobody = ask(Target::Node(NodeId(9)), "number", null).await;
    assert_eq!(nobody, IpcError::UnknownNode(NodeId(9)));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_request_follows_its_shard_to_the_next_owner() {
    let mut world = World::of(3);
    let ran = world.greeters();
    world.resting.lock().unwrap().insert(ShardId(2));
    let ipc = world.ipc(1).clone();
    let asked =
        tokio::spawn(async move { ipc.request::<String>(shard(2), "greet", &"hello").await });
    // It is turned away by an owner that does not run the shard yet, and then by nobody.
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.take(ShardId(2));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!asked.is_finished());

    world.give(ShardId(2), NodeId(3));
    world.resting.lock().unwrap().clear();

    assert_eq!(asked.await.unwrap().unwrap(), "hello, shard 2 on 3");
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn no_answer_is_an_error_by_the_deadline_that_says_whether_the_handler_may_have_run() {
    let mut world = World::of(2);
    let (_ran, _never) = held(world.ipc(2), false);
    let options = RequestOptions { timeout: Duration::from_secs(3) };
    let ask = async |world: &World| {
        let began = tokio::time::Instant::now();
        let answer = world.ipc(1).request_with::<u64>(options, shard(2), "wait", &()).await;
        assert_eq!(began.elapsed().as_secs(), 3);
        answer
    };

    assert_eq!(ask(&world).await, Err(IpcError::TimedOut { may_have_run: true }));
    world.take(ShardId(2));
    assert_eq!(ask(&world).await, Err(IpcError::TimedOut { may_have_run: false }));
}

#[tokio::test(start_paused = true)]
async fn without_a_quorum_a_shard_without_an_owner_is_not_waited_for() {
    let mut world = World::of(2);
    world.greeters();
    world.take(ShardId(2));
    world.quorum.store(false, Ordering::SeqCst);
    let began = tokio::time::Instant::now();

    let answer = world.ipc(1).request::<String>(shard(2), "greet", &"hello").await;

    assert_eq!(answer, Err(IpcError::NoQuorum));
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_told_that_nobody_waits_for_it_any_more() {
    let world = World::of(2);
    let (sent, mut seen) = tokio::sync::mpsc::unbounded_channel();
    for node in [1, 2] {
        let sent = sent.clone();
        world.ipc(node).register_handler("wait", move |call: Call, (): ()| {
            sent.send(call).unwrap();
            std::future::pending::<Result<(), _>>()
        });
    }
    for near_or_far in [0, 2] {
        let ipc = world.ipc(1).clone();
        let asked =
            tokio::spawn(async move { ipc.request::<()>(shard(near_or_far), "wait", &()).await });
        let call = seen.recv().await.unwrap();
        assert!(!call.cancelled.is_cancelled());

        asked.abort();

        timeout(PATIENCE, call.cancelled.cancelled()).await.expect("it is told");
    }
}
