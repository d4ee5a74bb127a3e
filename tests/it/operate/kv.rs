//! What the bot keeps, over whole nodes: written everywhere, over the end of a leader, and from a shell.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use apolo::{
    http::{KvRow, Role},
    kv::{Kv, KvError, PutOptions, UserChange, UserRefusal},
};
use tokio::time::{Instant, timeout};

use super::support::{Cluster, DEADLINE, said, with_role};

const SHARDS: u32 = 3;

/// Of each writer: they go on well beyond an election.
const WRITES: u32 = 200;

fn kvs(cluster: &Cluster) -> Vec<Kv> {
    let of = |nth: usize| cluster.places[nth].kv.clone().expect("it has started");
    cluster.running().into_iter().map(|nth| of(nth).within(DEADLINE)).collect()
}

/// A node of the cluster in a process of its own, to be killed.
struct Process(Child);

impl Process {
    fn start(cluster: &Cluster, nth: usize) -> Self {
        let config = &cluster.places[nth].config;
        let mut command = Command::new(env!("CARGO_BIN_EXE_apolo"));
        command.arg("join").args(&config.peers).env_clear();
        command.arg(format!("--expect={}", config.expect));
        command.arg(format!("--name={}", config.name));
        command.arg(format!("--quic-addr={}", config.quic_addr));
        command.arg(format!("--http-addr={}", config.http_addr));
        command.arg("--bot-addr=none");
        command.arg("--data-dir").arg(&config.data_dir);
        command.arg("--ca-dir").arg(config.ca_dir.as_ref().expect("it has one"));
        command.env("DISCORD_TOKEN", "any").env("DISCORD_API", cluster.discord.api_url());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("the binary was built for this test"))
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it has ended");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A test that has failed may have left it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// On a busy machine a transfer may fail, and is asked for again.
async fn lead(cluster: &Cluster, name: &str) {
    let leads = async {
        while cluster.apolo(0, &["transfer-leader", name]).await.status.code() != Some(0) {}
    };
    timeout(DEADLINE, leads).await.expect("it takes the leadership");
    cluster.sees("it leads", |view| with_role(view, Role::Leader) == [name]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_acknowledged_is_lost_with_a_leader_that_is_killed() {
    let mut cluster = Cluster::of(3, SHARDS).await;
    cluster.stop(2).await;
    let mut third = Process::start(&cluster, 2);
    cluster.whole(3).await;
    lead(&cluster, "node-3").await;
    let kvs = kvs(&cluster);
    let ttl = Duration::from_secs(20);
    let held = kvs[0].namespace("jobs").lock("nightly", ttl).await.unwrap();
    let writing: Vec<_> = kvs
        .iter()
        .cloned()
        .zip(0..)
        .map(|(kv, who)| {
            tokio::spawn(async move {
                let node = kv.namespace("test");
                for nth in 0..WRITES {
                    node.increment("n", 1).await.expect("it counts once, whoever leads");
                    let key = format!("key/{who}/{nth:03}");
                    node.put(&key, nth.to_string()).await.expect("it is written");
                }
            })
        })
        .collect();
    let node = kvs[1].namespace("test");
    while node.counter("n").await.unwrap() < 30 {}

    third.kill();

    for writer in writing {
        timeout(DEADLINE, writer).await.expect("it ends").expect("it does not panic");
    }
    assert_eq!(node.counter("n").await, Ok(2 * i64::from(WRITES)));
    assert_eq!(node.scan("key/", None, 1_000).await.unwrap().len(), 2 * WRITES as usize);
    let taken = kvs[1].namespace("jobs").lock("nightly", ttl).await;
    assert!(matches!(taken, Err(KvError::Refused(UserRefusal::Taken { .. }))), "{taken:?}");
    let token = held.token();
    assert!(held.is_held(), "it was renewed meanwhile");
    held.release().await.unwrap();
    let next = kvs[1].namespace("jobs").lock("nightly", ttl).await.unwrap();
    assert!(next.token() > token);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_goes_on_all_nodes_when_its_time_is_over_and_all_see_it_go() {
    let cluster = Cluster::of(3, SHARDS).await;
    let nodes: Vec<_> = kvs(&cluster).iter().map(|kv| kv.namespace("test")).collect();
    let mut watches: Vec<_> = nodes.iter().map(|node| node.watch_from("", 1)).collect();
    let (ttl, began) = (Duration::from_secs(1), Instant::now());

    let options = PutOptions { ttl: Some(ttl), ..PutOptions::default() };
    nodes[1].put_with("key", "value", options).await.unwrap();

    for (watch, node) in watches.iter_mut().zip(&nodes) {
        let put = timeout(DEADLINE, watch.next()).await.unwrap().unwrap();
        assert_eq!(put.change, UserChange::Put("value".into()));
        let gone = timeout(DEADLINE, watch.next()).await.unwrap().unwrap();
        assert_eq!((gone.revision, gone.change), (2, UserChange::Expired));
        assert!(began.elapsed() >= ttl);
        assert_eq!(node.local().get("key").await, Ok(None));
    }
}

async fn done(cluster: &Cluster, nth: usize, words: &[&str]) -> String {
    let output = cluster.apolo(nth, words).await;
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", said(&output));
    String::from_utf8(output.stdout).expect("it is text").trim_end().to_owned()
}

async fn refused(cluster: &Cluster, nth: usize, words: &[&str]) -> String {
    let output = cluster.apolo(nth, words).await;
    assert_eq!(output.status.code(), Some(1), "{words:?}: {}", said(&output));
    said(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_does_what_the_bot_can() {
    let cluster = Cluster::of(2, SHARDS).await;
    let ask = async |nth, words: &[&str]| done(&cluster, nth, words).await;

    assert_eq!(ask(0, &["kv", "put", "greeting", "hello there"]).await, "revision 1");
    assert_eq!(ask(1, &["kv", "get", "greeting"]).await, "hello there");
    assert_eq!(ask(1, &["kv", "cas", "greeting", "hello there", "-5"]).await, "revision 2");
    let wrong = refused(&cluster, 0, &["kv", "cas", "greeting", "hello there", "x"]).await;
    assert!(wrong.contains("changed at revision 2"), "{wrong}");
    let wrong = refused(&cluster, 0, &["kv", "put", "greeting", "x", "--if-absent"]).await;
    assert!(wrong.contains("does not hold"), "{wrong}");
    let wrong = refused(&cluster, 0, &["kv", "incr", "greeting"]).await;
    assert!(wrong.contains("holds a value, no counter"), "{wrong}");
    let wrong = refused(&cluster, 0, &["kv", "get", "greeting", "-n", "other"]).await;
    assert!(wrong.contains("no key"), "{wrong}");

    assert_eq!(ask(0, &["kv", "incr", "n", "41", "--ttl", "1h"]).await, "41");
    assert_eq!(ask(1, &["kv", "incr", "n"]).await, "42");
    ask(0, &["kv", "score", "xp", "ada", "1500"]).await;
    ask(0, &["kv", "score", "xp", "bob", "-7", "--set"]).await;
    let top = ask(1, &["kv", "top", "xp"]).await;
    let lines: Vec<Vec<_>> = top.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines, [["rank", "score", "member"], ["1", "1,500", "ada"], ["2", "-7", "bob"]]);
    let rows: Vec<KvRow> =
        serde_json::from_str(&ask(0, &["kv", "list", "--json"]).await).expect("JSON");
    let keys: Vec<_> = rows.iter().map(|row| (&*row.key, row.ttl_ms.is_some())).collect();
    assert_eq!(keys, [("greeting", false), ("n", true), ("xp", false)]);

    // Before `--`; what the helper adds behind it is the command's.
    let directory = cluster.data_dir(0).display().to_string();
    let lock = ["kv", "lock", "job", "--data-dir", &directory, "--", "sh", "-c"];
    let job = |script| [&lock[..], &[script]].concat();
    ask(0, &job("test $APOLO_LOCK_TOKEN -gt 0")).await;
    let wrong = refused(&cluster, 0, &job("exit 3")).await;
    assert!(wrong.contains("exit status: 3"), "{wrong}");
    let kv = kvs(&cluster).remove(1);
    let held = kv.namespace("default").lock("job", Duration::from_secs(20)).await.unwrap();
    let wrong = refused(&cluster, 0, &job("true")).await;
    assert!(wrong.contains("holds the lock"), "{wrong}");
    assert!(ask(0, &["kv", "list", "job"]).await.contains("held by"), "it is shown");
    held.release().await.unwrap();

    assert_eq!(ask(1, &["kv", "delete", "greeting"]).await, "revision 13");
    assert_eq!(ask(1, &["kv", "delete", "greeting"]).await, "nothing to do");
}
