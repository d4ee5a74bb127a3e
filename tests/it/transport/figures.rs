//! What a request costs over loopback. Run it by name: it says, and does not judge.

use std::{fmt::Write as _, time::Duration};

use apolo::{model::NodeId, transport::Protocol};
use tokio::{task::JoinSet, time::Instant};

use super::support::{PATIENCE, ask, ca, introduce};

const REQUESTS: usize = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn a_request_over_loopback() {
    let ca = ca();
    let [one, two] = [ca.node(1, 1), ca.node(2, 1)];
    introduce((&one, 1), (&two, 2));
    ask(&one, 2).await.unwrap();
    let mut told = String::new();
    for bytes in [64, 1024, 16 * 1024] {
        let request = vec![7; bytes];
        let mut took = Vec::with_capacity(REQUESTS);
        for _ in 0..REQUESTS {
            let began = Instant::now();
            one.request(NodeId(2), Protocol::Raft, &request, PATIENCE).await.unwrap();
            took.push(began.elapsed());
        }
        took.sort_unstable();
        let (half, most) = (took[REQUESTS / 2], took[REQUESTS * 99 / 100]);
        let _ = writeln!(told, "{bytes} B: p50 {half:?}, p99 {most:?}");
    }
    let began = Instant::now();
    let mut askers = JoinSet::new();
    for _ in 0..64 {
        let one = one.clone();
        askers.spawn(async move {
            for _ in 0..REQUESTS / 64 {
                one.request(NodeId(2), Protocol::Ipc, &[7; 64], PATIENCE).await.unwrap();
            }
        });
    }
    while askers.join_next().await.is_some() {}
    let each = began.elapsed() / u32::try_from(REQUESTS).unwrap();
    let rate = Duration::from_secs(1).as_nanos() / each.as_nanos();
    let _ = writeln!(told, "64 B, 64 at once: {rate}/s");
    panic!("{told}");
}
