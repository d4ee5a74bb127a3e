//! One connection is in use between two nodes, whoever dialled, and it is replaced without losing a request.

use std::time::Duration;

use apolo::{
    model::NodeId,
    transport::{Protocol, Timings},
};

use super::support::{PATIENCE, ask, ca, calm, connected, introduce, start, until};

#[tokio::test]
async fn two_that_dial_at_once_keep_one_connection() {
    let ca = ca();
    for _ in 0..5 {
        let [one, two] = [ca.node(1, 1), ca.node(2, 1)];

        introduce((&one, 1), (&two, 2));
        let (there, back) = tokio::join!(ask(&one, 2), ask(&two, 1));

        assert!(there.is_ok() && back.is_ok(), "{there:?} {back:?}");
        until("one connection is left", || {
            [&one, &two].iter().all(|node| node.counters().connections() == 1)
        })
        .await;
        assert_eq!(ask(&one, 2).await.unwrap(), "hello");
        one.stop().await;
        two.stop().await;
    }
}

#[tokio::test]
async fn an_aged_connection_is_replaced_before_it_is_closed() {
    let ca = ca();
    let aging = Timings {
        age_max: Duration::from_millis(300),
        refresh_spread: Duration::from_millis(50),
        ..calm()
    };
    let [one, two] = [1, 2].map(|node| {
        let mut options = ca.options(node, 1);
        options.timings = aging.clone();
        start(options)
    });
    introduce((&one, 1), (&two, 2));
    connected(&one, 2, |_| true).await;
    let dials = || one.counters().dials() + two.counters().dials();
    let before = dials();

    let mut asked = 0_u32;
    while dials() < before + 4 {
        ask(&one, 2).await.expect("no request is lost");
        ask(&two, 1).await.expect("no request is lost");
        asked += 2;
    }

    assert!(asked > 10, "{asked}");
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_slow_request_survives_the_replacement_of_its_connection() {
    let ca = ca();
    let [one, two] = [ca.node(1, 1), ca.node(2, 1)];
    two.register(Protocol::Ipc, |_, _, mut stream: apolo::transport::Stream| async move {
        let request = stream.receive(PATIENCE).await.expect("it comes").expect("a frame");
        tokio::time::sleep(Duration::from_secs(3)).await;
        stream.send(&request, PATIENCE).await.expect("sent");
        stream.finish();
    });
    introduce((&one, 1), (&two, 2));
    connected(&one, 2, |_| true).await;
    let served = two.counters().served();
    let slow = tokio::spawn({
        let one = one.clone();
        async move { one.request(NodeId(2), Protocol::Ipc, b"slow", PATIENCE).await }
    });
    until("it is under way", || two.counters().served() > served).await;

    one.refresh(NodeId(2));
    until("there is a second one", || one.counters().connections() > 1).await;
    assert_eq!(ask(&one, 2).await.unwrap(), "hello");

    assert_eq!(slow.await.unwrap().unwrap(), "slow");
    until("the first one is closed", || one.counters().connections() == 1).await;
    one.stop().await;
    two.stop().await;
}
