//! The supervisor against a gateway that is told what to do.

mod commands;

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Wake},
    time::Duration,
};

use super::{
    script::{Gateway, Granted, Received, Running, within},
    *,
};
use crate::model::{Sequence, SessionNumber};

#[tokio::test]
async fn a_new_shard_identifies_and_yields_its_session_before_its_events() {
    let gateway = Gateway::start().await;
    let mut shard = Running::start(gateway.options());

    let mut peer = gateway.ready("first").await;
    peer.dispatch(2, "GUILD_CREATE").await;

    let Item::SessionStarted(session) = shard.item().await else { panic!("no session") };
    assert_eq!((session.number, session.id.0.as_str()), (SessionNumber(1), "first"));
    let Item::Dispatch(ready) = shard.item().await else { panic!("no READY") };
    assert_eq!((ready.sequence, ready.name.as_str()), (Sequence(1), "READY"));
    assert!(matches!(shard.item().await, Item::Connected { resumed: false }));
    assert_eq!(shard.sequences(2).await, [2]);
    shard.phase(|phase| phase == Phase::Connected).await;
}

#[tokio::test]
async fn an_expired_permit_is_not_used_and_another_is_asked_for() {
    let gateway = Gateway::start().await;
    let mut shard = Running::start_with(gateway.options(), Granted::expired(2));

    let mut peer = gateway.ready("first").await;

    shard.phase(|phase| phase == Phase::Connected).await;
    assert_eq!(shard.permits.0.load(std::sync::atomic::Ordering::SeqCst), 3);
    peer.payload(serde_json::json!({"op": 7, "d": null})).await;
    assert_eq!(peer.expect_close().await, Some(4000), "and no second IDENTIFY");
}

#[tokio::test]
async fn a_stored_session_is_resumed_at_its_url_without_a_permit() {
    let gateway = Gateway::start().await;
    let mut shard = Running::start(gateway.resuming(40));

    let (mut peer, sequence) = gateway.resume().await;
    peer.dispatch(41, "MESSAGE_CREATE").await;
    peer.dispatch(42, "RESUMED").await;
    peer.dispatch(43, "MESSAGE_CREATE").await;

    assert_eq!((peer.path.as_str(), sequence), ("/resume/", 40));
    let mut sequences = Vec::new();
    for item in shard.until(|it| matches!(it, Item::Dispatch(d) if d.sequence.0 == 43)).await {
        if let Item::Dispatch(dispatch) = item {
            sequences.push(dispatch.sequence.0);
        }
    }
    assert_eq!(sequences, [41, 42, 43]);
    assert_eq!(shard.permits.0.load(std::sync::atomic::Ordering::SeqCst), 0);
}

/// Nothing of it had been handled when its owner changed, so the replay begins with READY.
#[tokio::test]
async fn a_session_that_is_resumed_from_its_beginning_is_the_same_session() {
    let gateway = Gateway::start().await;
    let mut shard = Running::start(gateway.resuming(0));

    let (mut peer, _) = gateway.resume().await;
    peer.send_ready("old", &format!("{}/resume", gateway.url())).await;
    peer.dispatch(2, "GUILD_CREATE").await;
    peer.dispatch(3, "RESUMED").await;

    let items = shard.until(|it| matches!(it, Item::Connected { resumed: true })).await;
    let sequences = items.iter().filter_map(|item| match item {
        Item::Dispatch(dispatch) => Some(dispatch.sequence.0),
        _ => None,
    });
    assert_eq!(sequences.collect::<Vec<_>>(), [1, 2, 3]);
    let begins = |it: &Item| matches!(it, Item::SessionStarted(_) | Item::SessionLost { .. });
    assert!(!items.iter().any(begins), "{items:?}");
}

#[tokio::test]
async fn op_7_is_answered_with_close_4000_and_a_resume_within_a_second() {
    let gateway = Gateway::start().await;
    let mut options = gateway.options();
    options.backoff = Backoff::default();
    let mut shard = Running::start(options);
    let mut peer = gateway.ready("first").await;
    peer.dispatch(2, "GUILD_CREATE").await;

    let asked = tokio::time::Instant::now();
    peer.payload(serde_json::json!({"op": 7, "d": null})).await;

    assert_eq!(peer.expect_close().await, Some(4000));
    let (mut peer, sequence) = gateway.resume().await;
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!((peer.path.as_str(), sequence), ("/resume/", 2));
    peer.dispatch(3, "RESUMED").await;
    assert_eq!(shard.sequences(3).await, [1, 2, 3]);
}

#[tokio::test]
async fn op_9_false_loses_the_session_and_identifies() {
    let gateway = Gateway::start().await;
    let mut shard = Running::start(gateway.resuming(40));

    let (mut peer, _) = gateway.resume().await;
    peer.payload(serde_json::json!({"op": 9, "d": false})).await;
    gateway.ready("second").await;

    let lost = shard.item().await;
    assert!(
        matches!(
            lost,
            Item::SessionLost {
                session: SessionNumber(3),
                after: Sequence(40),
                reason: LostReason::InvalidSession,
                ..
            }
        ),
        "{lost:?}"
    );
    let Item::SessionStarted(session) = shard.item().await else { panic!("no session") };
    assert_eq!(session.number, SessionNumber(4));
}

#[tokio::test]
async fn each_close_code_leads_to_a_resume_a_new_session_or_a_halt() {
    for code in [4000, 4001, 4002, 4005, 4006, 4008, 1000, 1011] {
        let gateway = Gateway::start().await;
        let _shard = Running::start(gateway.resuming(7));
        gateway.resume().await.0.close(code).await;
        assert_eq!(gateway.resume().await.1, 7, "{code}");
    }
    for code in [4003, 4007, 4009] {
        let gateway = Gateway::start().await;
        let mut shard = Running::start(gateway.resuming(7));
        gateway.resume().await.0.close(code).await;
        gateway.ready("next").await;
        let lost = shard.item().await;
        assert!(
            matches!(lost, Item::SessionLost { reason: LostReason::Closed(c), .. } if c == code),
            "{lost:?}"
        );
    }
    for code in [4004, 4010, 4011, 4012, 4013, 4014] {
        let gateway = Gateway::start().await;
        let shard = Running::start(gateway.resuming(7));
        gateway.resume().await.0.close(code).await;
        assert_eq!(shard.exit().await, Exit::Halted(FatalClose(code)));
        gateway.stays_alone(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_second_normal_close_in_a_row_gives_the_session_up() {
    let gateway = Gateway::start().await;
    let _shard = Running::start(gateway.resuming(7));

    gateway.resume().await.0.close(1000).await;
    gateway.resume().await.0.close(1001).await;

    gateway.ready("next").await;
}

#[tokio::test]
async fn a_resume_url_that_fails_is_left_for_the_main_url_with_the_session() {
    let gateway = Gateway::start().await;
    let mut shard = Running::start(gateway.resuming(7));

    drop(gateway.socket().await);
    let (mut peer, sequence) = gateway.resume().await;
    peer.dispatch(8, "RESUMED").await;

    assert_eq!((peer.path.as_str(), sequence), ("/", 7));
    assert_eq!(shard.sequences(8).await, [8]);
}

#[tokio::test]
async fn connects_that_fail_never_lead_to_an_identify() {
    let gateway = Gateway::start().await;
    let _shard = Running::start(gateway.resuming(7));

    for _ in 0..6 {
        drop(gateway.socket().await);
    }

    assert_eq!(gateway.resume().await.1, 7);
}

#[tokio::test]
async fn a_connection_that_is_dropped_without_a_word_is_not_reopened_behind_the_ladder() {
    let gateway = Gateway::start().await;
    let mut options = gateway.options();
    options.backoff.fast = (Duration::from_millis(300), Duration::from_millis(300));
    let mut shard = Running::start(options);
    let peer = gateway.ready("first").await;
    shard.phase(|phase| phase == Phase::Connected).await;

    drop(peer);

    shard.phase(|phase| matches!(phase, Phase::BackingOff { .. })).await;
    gateway.stays_alone(Duration::from_millis(200)).await;
    assert_eq!(gateway.resume().await.1, 1);
}

#[tokio::test]
async fn a_resume_url_elsewhere_is_never_connected_to() {
    let gateway = Gateway::start().await;
    let elsewhere = Gateway::at("127.0.0.2").await;
    let _shard = Running::start(gateway.options());
    let mut peer = gateway.accept().await;
    peer.hello().await;
    peer.expect(2).await;

    peer.send_ready("first", &elsewhere.url()).await;
    peer.close(4000).await;

    let (peer, _) = gateway.resume().await;
    assert_eq!(peer.path, "/");
    elsewhere.stays_alone(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn duplicates_are_dropped_and_a_gap_resumes_from_the_last_event() {
    let gateway = Gateway::start().await;
    let mut shard = Running::start(gateway.options());
    let mut peer = gateway.ready("first").await;

    for sequence in [2, 2, 1, 3, 5] {
        peer.dispatch(sequence, "TYPING_START").await;
    }

    let (mut peer, sequence) = gateway.resume().await;
    assert_eq!(sequence, 3);
    for sequence in [4, 5] {
        peer.dispatch(sequence, "TYPING_START").await;
    }
    peer.dispatch(6, "RESUMED").await;
    assert_eq!(shard.sequences(6).await, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_gap_that_a_resume_does_not_fill_is_flagged() {
    let gateway = Gateway::start().await;
    let mut shard = Running::start(gateway.resuming(7));

    for _ in 0..2 {
        let (mut peer, sequence) = gateway.resume().await;
        assert_eq!(sequence, 7);
        peer.dispatch(10, "TYPING_START").await;
        peer.dispatch(11, "RESUMED").await;
    }

    let Item::Dispatch(dispatch) = shard.item().await else { panic!("no dispatch") };
    assert_eq!(dispatch.oddity, Some(Oddity::Gap { after: Sequence(7) }));
}

#[tokio::test]
async fn a_replay_out_of_order_is_put_in_order_without_another_resume() {
    let gateway = Gateway::start().await;
    let mut shard = Running::start(gateway.resuming(7));

    let (mut peer, _) = gateway.resume().await;
    for sequence in [9, 8, 11, 10] {
        peer.dispatch(sequence, "TYPING_START").await;
    }
    peer.dispatch(12, "RESUMED").await;

    assert_eq!(shard.sequences(12).await, [8, 9, 10, 11, 12]);
}

#[tokio::test]
async fn an_unreadable_payload_resumes_once_and_is_handed_over_the_second_time() {
    let gateway = Gateway::start().await;
    let mut shard = Running::start(gateway.resuming(7));
    let unreadable = r#"{"op":0,"s":8,"d":{"#;

    gateway.resume().await.0.text(unreadable).await;
    let (mut peer, sequence) = gateway.resume().await;
    assert_eq!(sequence, 7);
    peer.text(unreadable).await;
    peer.text("no JSON at all").await;

    let Item::Dispatch(dispatch) = shard.item().await else { panic!("no dispatch") };
    assert_eq!((dispatch.sequence, dispatch.json.as_str()), (Sequence(8), unreadable));
    assert_eq!(dispatch.oddity, Some(Oddity::Undecodable));
    let (_peer, sequence) = gateway.resume().await;
    assert_eq!(sequence, 8, "garbage at another place is a first time again");
}

#[tokio::test]
async fn a_payload_beyond_the_bounds_resets_once_and_is_passed_over_the_second_time() {
    let gateway = Gateway::start().await;
    let mut options = gateway.resuming(7);
    options.payload.bytes = 1_000;
    let mut shard = Running::start(options);
    let large = format!(r#"{{"t":"X","s":8,"op":0,"d":"{}"}}"#, "x".repeat(1_000));
    let deep = format!(r#"{{"t":"X","s":9,"op":0,"d":{}"#, "[".repeat(200));

    for payload in [&large, &deep] {
        gateway.resume().await.0.text(payload.as_str()).await;
    }
    let (mut peer, sequence) = gateway.resume().await;
    assert_eq!(sequence, 7);
    peer.text(large).await;
    peer.dispatch(9, "TYPING_START").await;

    let Item::Dispatch(dispatch) = shard.item().await else { panic!("no dispatch") };
    assert_eq!(dispatch.sequence, Sequence(9));
    assert_eq!(dispatch.oddity, Some(Oddity::Gap { after: Sequence(7) }));
}

#[tokio::test]
async fn a_broken_stream_is_resumed_and_then_passed_over() {
    let gateway = Gateway::start().await;
    let _shard = Running::start(gateway.resuming(7));

    for expected in [7, 7, 8] {
        let (mut peer, sequence) = gateway.resume().await;
        assert_eq!(sequence, expected);
        peer.binary(vec![0xff; 64]).await;
    }
}

#[tokio::test]
async fn a_frame_that_twilight_panics_on_ends_the_connection_alone() {
    let gateway = Gateway::start().await;
    let _shard = Running::start(gateway.resuming(7));

    gateway.accept().await.hello_every(0).await;
    gateway.accept().await.hello_every(u64::MAX).await;

    assert_eq!(gateway.resume().await.1, 7);
}

#[tokio::test]
async fn hello_resumed_and_silence_have_their_deadlines() {
    let gateway = Gateway::start().await;
    let mut options = gateway.resuming(7);
    options.timers.hello = Duration::from_millis(100);
    options.timers.resumed = Duration::from_millis(100);
    let _shard = Running::start(options);

    let _no_hello = gateway.accept().await;
    let (_no_resumed, _) = gateway.resume().await;
    let mut silent = gateway.accept().await;
    silent.hello_every(100).await;
    silent.expect(6).await;
    silent.dispatch(8, "RESUMED").await;

    assert_eq!(gateway.resume().await.1, 8);
}

#[tokio::test]
async fn a_ready_that_does_not_come_costs_one_identify() {
    let gateway = Gateway::start().await;
    let mut options = gateway.options();
    options.timers.ready = Duration::from_millis(100);
    let shard = Running::start(options);

    for _ in 0..2 {
        let mut peer = gateway.accept().await;
        peer.hello().await;
        peer.expect(2).await;
    }

    assert_eq!(shard.permits.0.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_zombie_is_left_with_its_session() {
    let gateway = Gateway::start().await;
    let mut shard = Running::start(gateway.options());
    let mut peer = gateway.accept().await;
    peer.hello_every(150).await;
    peer.expect(2).await;
    peer.send_ready("first", &format!("{}/resume", gateway.url())).await;
    shard.phase(|phase| phase == Phase::Connected).await;

    let silent_since = tokio::time::Instant::now();
    let (_peer, sequence) = gateway.resume().await;

    assert_eq!(sequence, 1);
    assert!(silent_since.elapsed() < Duration::from_millis(500), "{:?}", silent_since.elapsed());
}

#[tokio::test]
async fn a_slow_reader_stops_neither_heartbeats_nor_the_session() {
    let gateway = Gateway::start().await;
    let mut options = gateway.options();
    options.feed.items = 6;
    let mut shard = Running::start(options);
    let mut peer = gateway.accept().await;
    peer.hello_every(100).await;
    peer.expect(2).await;
    peer.send_ready("first", &format!("{}/resume", gateway.url())).await;
    for sequence in 2..=20 {
        peer.dispatch(sequence, "TYPING_START").await;
    }

    shard.phase(|phase| phase == Phase::Behind).await;
    for _ in 0..3 {
        peer.heartbeat().await;
        peer.payload(serde_json::json!({"op": 11})).await;
    }
    assert_eq!(shard.sequences(4).await, [1, 2, 3, 4]);

    let (mut peer, sequence) = gateway.resume().await;
    assert_eq!(sequence, 4);
    peer.dispatch(5, "TYPING_START").await;
    assert_eq!(shard.sequences(5).await, [5]);
}

#[tokio::test]
async fn a_burst_that_is_taken_in_time_is_held_back_and_costs_no_resume() {
    let gateway = Gateway::start().await;
    let mut options = gateway.options();
    options.feed.items = 6;
    let mut shard = Running::start(options);
    let mut peer = gateway.ready("first").await;
    for sequence in 2..=100 {
        peer.dispatch(sequence, "TYPING_START").await;
    }
    let taken = async {
        while shard.handles.feed.len() < 6 {
            tokio::task::yield_now().await;
        }
    };
    within("a full queue", taken).await;

    let sequences = shard.sequences(100).await;

    assert!(sequences.into_iter().eq(1..=100));
    assert_eq!(shard.handles.status.borrow().connects, 1);
    assert_eq!(shard.handles.status.borrow().phase, Phase::Connected);
}

#[tokio::test]
async fn a_session_lost_behind_costs_one_identify_and_then_parks() {
    let gateway = Gateway::start().await;
    let mut options = gateway.options();
    options.feed.items = 8;
    let mut shard = Running::start(options);
    let mut lost = Vec::new();

    for _ in 1..=2 {
        // Reading rests for 50 ms at most.
        let mut peer = gateway.ready_every("next", 400).await;
        for sequence in 2..=20 {
            peer.dispatch(sequence, "TYPING_START").await;
        }
        shard.phase(|phase| phase == Phase::Behind).await;
        while let Some(item) = shard.handles.feed.try_recv() {
            lost.extend(lost_after(&item));
        }
        let (mut peer, _) = gateway.resume().await;
        peer.payload(serde_json::json!({"op": 9, "d": false})).await;
    }

    shard.phase(|phase| matches!(phase, Phase::Parked { .. })).await;
    let items = shard.until(|item| matches!(item, Item::SessionLost { .. })).await;
    lost.extend(items.iter().filter_map(lost_after));
    assert_eq!(lost.len(), 2, "{lost:?}");
    gateway.stays_alone(Duration::from_millis(200)).await;
    gateway.ready("after the park").await;
    assert_eq!(shard.permits.0.load(std::sync::atomic::Ordering::SeqCst), 3);
}

#[tokio::test]
async fn the_bot_can_go_back_in_its_session() {
    let gateway = Gateway::start().await;
    let mut shard = Running::start(gateway.options());
    let mut peer = gateway.ready("first").await;
    for sequence in 2..=5 {
        peer.dispatch(sequence, "TYPING_START").await;
    }
    assert_eq!(shard.sequences(5).await, [1, 2, 3, 4, 5]);

    shard.handles.control.resume_from(SessionNumber(1), Sequence(3), Some(Sequence(4)));

    let (mut peer, sequence) = gateway.resume().await;
    assert_eq!(sequence, 3);
    peer.dispatch(4, "TYPING_START").await;
    shard.until(|item| matches!(item, Item::Rewound { after: Sequence(3), .. })).await;
    let Item::Dispatch(dispatch) = shard.item().await else { panic!("no dispatch") };
    assert_eq!((dispatch.sequence, dispatch.oddity), (Sequence(4), Some(Oddity::Undecodable)));
}

#[tokio::test]
async fn draining_closes_with_4000_and_a_fence_says_nothing() {
    let gateway = Gateway::start().await;
    let shard = Running::start(gateway.options());
    let mut peer = gateway.ready("first").await;
    shard.stop.drain();
    assert_eq!(peer.expect_close().await, Some(4000));
    assert_eq!(shard.exit().await, Exit::Stopped);

    let shard = Running::start(gateway.options());
    let mut peer = gateway.ready("second").await;
    shard.stop.fence();
    assert_eq!(peer.expect_close().await, None);
    assert_eq!(shard.exit().await, Exit::Stopped);
}

/// Fences when the supervisor wakes it.
struct FenceWhenWoken(Stop);

impl Wake for FenceWhenWoken {
    fn wake(self: Arc<Self>) {
        self.0.fence();
    }
}

#[tokio::test]
async fn a_fence_that_falls_amid_a_burst_leaves_the_rest_of_it_unread() {
    let gateway = Gateway::start().await;
    let mut shard = Running::start(gateway.options());
    let mut peer = gateway.ready("first").await;
    shard.phase(|phase| phase == Phase::Connected).await;
    while shard.handles.feed.try_recv().is_some() {}
    // What is put into the queue wakes its reader at once, within the poll that read it from the socket.
    let waker = Arc::new(FenceWhenWoken(shard.stop.clone())).into();
    let waiting = pin!(shard.handles.feed.recv()).poll(&mut Context::from_waker(&waker));
    assert!(waiting.is_pending());

    for sequence in 2..=4 {
        peer.dispatch(sequence, "TYPING_START").await;
    }
    let fenced = async {
        // Nothing is received before: the queue would wake its new reader instead.
        while !shard.stop.is_fenced() {
            tokio::task::yield_now().await;
        }
    };
    within("the fence", fenced).await;
    let mut sequences = Vec::new();
    while let Some(item) = within("the end", shard.handles.feed.recv()).await {
        if let Item::Dispatch(dispatch) = item {
            sequences.push(dispatch.sequence.0);
        }
    }

    assert_eq!(sequences, [2]);
    assert_eq!(shard.exit().await, Exit::Stopped);
}

#[tokio::test]
async fn a_reader_that_is_gone_ends_the_supervisor() {
    let gateway = Gateway::start().await;
    let Running { handles, stop, .. } = Running::start(gateway.options());
    let mut peer = gateway.ready("first").await;
    drop(handles.feed);
    peer.dispatch(2, "TYPING_START").await;

    let closed = within("the close", peer.receive()).await;

    assert!(matches!(closed, Received::Closed(Some(4000))), "{closed:?}");
    drop(stop);
}

fn lost_after(item: &Item) -> Option<Sequence> {
    if let Item::SessionLost { after, .. } = item { Some(*after) } else { None }
}
