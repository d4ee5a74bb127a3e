//! How often a handler runs.

use std::future::ready;

use bytes::Bytes;
use futures_util::future::FutureExt as _;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_message_that_is_sent_again_does_not_run_again_and_finds_its_answer() {
    let world = World::of(2);
    let (ran, go) = held(world.ipc(2), false);
    let ipc = world.ipc(1).clone();
    let asked = tokio::spawn(async move { ipc.request::<u64>(shard(2), "wait", &()).await });
    until("it runs", || ran.load(Ordering::SeqCst) == 1).await;

    // While it runs, and once more between its end and its answer.
    world.network.cut(address(NodeId(1)), address(NodeId(2)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.network.partition(address(NodeId(1)), address(NodeId(2)));
    go.notify_one();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!asked.is_finished());
    world.network.heal_all();

    assert_eq!(asked.await.unwrap(), Ok(7));
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_owner_is_told_unless_the_message_may_run_twice() {
    for idempotent in [false, true] {
        let mut world = World::of(3);
        let (ran, _never) = held(world.ipc(2), idempotent);
        let (again, go) = held(world.ipc(3), idempotent);
        // Whether it may run twice is what its sender's handler says.
        let _ = held(world.ipc(1), idempotent);
        go.notify_one();
        let ipc = world.ipc(1).clone();
        let asked = tokio::spawn(async move { ipc.request::<u64>(shard(2), "wait", &()).await });
        until("it runs", || ran.load(Ordering::SeqCst) == 1).await;

        world.network.kill(address(NodeId(2)));
        // What is left of it in this process must not dial anybody.
        world.nodes[&NodeId(2)].1.stop().await;
        world.lose(NodeId(2));
        world.give(ShardId(2), NodeId(3));

        let answer = asked.await.unwrap();
        if idempotent {
            assert_eq!((answer, again.load(Ordering::SeqCst)), (Ok(7), 1));
        } else {
            assert_eq!(answer, Err(IpcError::OwnerLost { may_have_run: true }));
            assert_eq!(again.load(Ordering::SeqCst), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_is_not_remembered() {
    let world = World::of(2);
    world.greeters();
    for _ in 0..100 {
        let _: String = world.ipc(1).request(shard(2), "greet", &"hello").await.unwrap();
        let _: String = world.ipc(2).request(shard(2), "greet", &"hello").await.unwrap();
    }
    let all = world.ipc(1).broadcast_request::<String>("greet", &"hello").await.unwrap();
    assert_eq!(all.answers.len(), 4);

    until("nothing is remembered", || world.remembered() == 0).await;
}

/// Its window is empty, and only its sender can know that it may have run.
#[tokio::test(start_paused = true)]
async fn an_owner_that_has_started_again_does_not_run_what_was_sent_to_it_before() {
    let world = World::of(2);
    let ran = world.greeters();
    let late = route::Tenure::Shard(Epoch::default());
    let mut letter = wire::Letter {
        id: MessageId(Uuid::from_u128(7)),
        kind: MessageKind::Request,
        event: "greet".to_owned(),
        sender: None,
        sent_at: crate::model::UnixMillis(0),
        left_ms: 1_000,
        receivers: vec![],
        data: wire::Data(b"null".to_vec()),
    };
    let transport = world.nodes[&NodeId(1)].1.clone();
    let receiver = Receiver::Shard(ShardId(2));

    for (met, failure) in [
        (None, Failure::Moved),
        (Some(BootEpoch(1)), Failure::Moved),
        (Some(BootEpoch(0)), Failure::Forgotten),
    ] {
        letter.receivers = vec![wire::Address { receiver, tenure: late, met }];
        let mut stream = transport.open(NodeId(2), Protocol::Ipc, PATIENCE).await.unwrap();
        stream.send(&wire::encode(&letter), PATIENCE).await.unwrap();
        let frame = stream.receive(PATIENCE).await.unwrap().unwrap();
        let reply: wire::Reply = wire::decode(&frame).unwrap();
        assert_eq!(reply.answer, Err(failure), "{met:?}");
    }
    assert_eq!(ran.load(Ordering::SeqCst), 0);
}

/// The connection between the nodes 1 and 2 ends without either hearing of it, as when a switch fails.
async fn break_link(world: &World) {
    world.network.partition(address(NodeId(1)), address(NodeId(2)));
    tokio::time::sleep(Duration::from_secs(4)).await;
}

fn move_to_3(world: &mut World) {
    world.take(ShardId(2));
    world.give(ShardId(2), NodeId(3));
}

#[tokio::test(start_paused = true)]
async fn a_former_owner_that_ran_a_message_answers_it_after_its_shard_has_moved() {
    let mut world = World::of(3);
    let (ran, go) = held(world.ipc(2), false);
    let (again, _never) = held(world.ipc(3), false);
    let ipc = world.ipc(1).clone();
    let asked = tokio::spawn(async move { ipc.request::<u64>(shard(2), "wait", &()).await });
    until("it runs", || ran.load(Ordering::SeqCst) == 1).await;
    break_link(&world).await;
    go.notify_one();
    move_to_3(&mut world);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!asked.is_finished());

    world.network.heal_all();

    assert_eq!(asked.await.unwrap(), Ok(7));
    assert_eq!((ran.load(Ordering::SeqCst), again.load(Ordering::SeqCst)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_a_former_owner_has_not_met_runs_at_the_next_one() {
    let mut world = World::of(3);
    let ran = world.greeters();
    let ipc = world.ipc(1).clone();
    let _: String = ipc.request(shard(2), "greet", &"first").await.unwrap();
    // Into a connection that still seems to be there.
    world.network.partition(address(NodeId(1)), address(NodeId(2)));
    let asked =
        tokio::spawn(async move { ipc.request::<String>(shard(2), "greet", &"hello").await });
    break_link(&world).await;
    move_to_3(&mut world);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!asked.is_finished());

    world.network.heal_all();

    assert_eq!(asked.await.unwrap().unwrap(), "hello, shard 2 on 3");
    assert_eq!(ran.load(Ordering::SeqCst), 2);
}

/// Nobody has to know what became of it.
#[tokio::test(start_paused = true)]
async fn what_may_run_twice_goes_to_the_next_owner_though_the_former_is_out_of_reach() {
    let mut world = World::of(3);
    let (ran, _never) = held(world.ipc(2), true);
    let (again, go) = held(world.ipc(3), true);
    let _ = held(world.ipc(1), true);
    go.notify_one();
    let ipc = world.ipc(1).clone();
    let asked = tokio::spawn(async move { ipc.request::<u64>(shard(2), "wait", &()).await });
    until("it runs", || ran.load(Ordering::SeqCst) == 1).await;

    break_link(&world).await;
    move_to_3(&mut world);

    assert_eq!(asked.await.unwrap(), Ok(7));
    assert_eq!(again.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_former_owner_that_has_started_again_is_not_asked() {
    let mut world = World::of(3);
    let (ran, _never) = held(world.ipc(2), false);
    let (again, _never_either) = held(world.ipc(3), false);
    let ipc = world.ipc(1).clone();
    let asked = tokio::spawn(async move { ipc.request::<u64>(shard(2), "wait", &()).await });
    until("it runs", || ran.load(Ordering::SeqCst) == 1).await;
    break_link(&world).await;

    let (node, boot) = (NodeId(2), BootEpoch(2));
    world.apply(Command::StartNode { node, name: node.to_string(), boot });

    assert_eq!(asked.await.unwrap(), Err(IpcError::OwnerLost { may_have_run: true }));
    assert_eq!(again.load(Ordering::SeqCst), 0);
}

/// As one does that reads too slowly: it asks again.
#[tokio::test(start_paused = true)]
async fn only_a_sender_that_says_that_it_has_its_answer_is_not_remembered() {
    let world = World::of(2);
    let ran = world.greeters();
    let transport = world.nodes[&NodeId(1)].1.clone();
    let receiver = Receiver::Shard(ShardId(2));
    let epoch = world.states.borrow().shards()[&ShardId(2)].epoch().unwrap();
    let letter = wire::Letter {
        id: MessageId(Uuid::from_u128(7)),
        kind: MessageKind::Request,
        event: "greet".to_owned(),
        sender: None,
        sent_at: crate::model::UnixMillis(0),
        left_ms: 60_000,
        receivers: vec![wire::Address {
            receiver,
            tenure: route::Tenure::Shard(epoch),
            met: Some(BootEpoch(1)),
        }],
        data: wire::Data(b"\"hello\"".to_vec()),
    };
    for _ in 0..3 {
        let mut stream = transport.open(NodeId(2), Protocol::Ipc, PATIENCE).await.unwrap();
        stream.send(&wire::encode(&letter), PATIENCE).await.unwrap();
        let frame = stream.receive(PATIENCE).await.unwrap().unwrap();
        let reply: wire::Reply = wire::decode(&frame).unwrap();
        assert!(reply.answer.is_ok());
        stream.refuse(crate::transport::Refused::Late);
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!((ran.load(Ordering::SeqCst), world.remembered()), (1, 1));
    }

    let mut stream = transport.open(NodeId(2), Protocol::Ipc, PATIENCE).await.unwrap();
    stream.send(&wire::encode(&letter), PATIENCE).await.unwrap();
    stream.receive(PATIENCE).await.unwrap().unwrap();
    stream.finish();

    until("it is forgotten", || world.remembered() == 0).await;
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_was_found_again_learns_that_nobody_waits_any_more() {
    let world = World::of(2);
    let (sent, mut seen) = tokio::sync::mpsc::unbounded_channel();
    world.ipc(2).register_handler("wait", move |call: Call, (): ()| {
        sent.send(call).unwrap();
        std::future::pending::<Result<(), _>>()
    });
    let ipc = world.ipc(1).clone();
    let asked = tokio::spawn(async move { ipc.request::<()>(shard(2), "wait", &()).await });
    let call = seen.recv().await.unwrap();
    break_link(&world).await;
    world.network.heal_all();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!call.cancelled.is_cancelled(), "its sender still waits");

    asked.abort();

    timeout(PATIENCE, call.cancelled.cancelled()).await.expect("it is told");
}

/// Its process had no room, and may have some later: the message has not run.
#[tokio::test(start_paused = true)]
async fn what_could_not_run_is_not_remembered_and_runs_when_it_comes_again() {
    let world = World::of(2);
    let tried = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tried);
    world.ipc(2).handlers().route("full".to_owned(), false, move |_, _| {
        let has_room = counted.fetch_add(1, Ordering::SeqCst) >= 2;
        let answer = if has_room { Ok(Bytes::from("7")) } else { Err(Failure::Overloaded) };
        ready(answer).boxed()
    });

    let answer: u64 = world.ipc(1).request(shard(2), "full", &()).await.unwrap();

    assert_eq!((answer, tried.load(Ordering::SeqCst)), (7, 3));
}
