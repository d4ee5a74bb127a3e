//! `apolo status --watch` and `apolo events --follow`: they outlive the node that they look at.

use std::process::Stdio;

use apolo::{http::View, model::UnixMillis};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
    time::timeout,
};

use super::support::{Cluster, DEADLINE};

/// A command that runs until it is killed.
struct Watcher {
    _child: Child,
    out: Lines<BufReader<ChildStdout>>,
    err: Lines<BufReader<ChildStderr>>,
}

impl Watcher {
    fn start(cluster: &Cluster, words: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_apolo"))
            .args(words)
            .env_clear()
            .arg("--data-dir")
            .arg(cluster.data_dir(0))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary was built for this test");
        let out = child.stdout.take().expect("a pipe");
        let err = child.stderr.take().expect("a pipe");
        Self { _child: child, out: BufReader::new(out).lines(), err: BufReader::new(err).lines() }
    }
}

/// The first line that is wanted.
async fn line<R: AsyncRead + Unpin>(
    lines: &mut Lines<BufReader<R>>,
    what: &str,
    wanted: impl Fn(&str) -> bool,
) -> String {
    let reading = async {
        while let Some(line) = lines.next_line().await.expect("it can be read") {
            if wanted(&line) {
                return line;
            }
        }
        panic!("it ended before {what}");
    };
    timeout(DEADLINE, reading).await.unwrap_or_else(|_| panic!("never came: {what}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_sees_the_node_go_and_come_back() {
    let mut cluster = Cluster::of(1, 2).await;
    let mut status = Watcher::start(&cluster, &["status", "--watch", "--json"]);
    let mut events = Watcher::start(&cluster, &["events", "--follow", "--json"]);
    let id = |line: &str| {
        let entry: Value = serde_json::from_str(line).expect("JSON");
        entry["id"].as_u64().expect("an id")
    };
    // The second process is told from the first by a setting.
    let ready = |line: &str, again: bool| {
        let view: View = serde_json::from_str(line).expect("JSON");
        let ready = view.health.is_some_and(|health| health.ready_shards == 2);
        ready && view.target.is_some() == again
    };
    line(&mut status.out, "two ready shards", |line| ready(line, false)).await;
    line(&mut events.out, "what has happened", |_| true).await;

    cluster.stop(0).await;
    for silent in [&mut status, &mut events] {
        line(&mut silent.err, "a word that nobody answers", |said| said.contains("apolo.sock"))
            .await;
    }
    let began_again = UnixMillis::now();
    cluster.places[0].config.shards_per_pod = Some(2);
    cluster.start(vec![0]).await;
    cluster.whole(1).await;

    line(&mut status.out, "two ready shards again", |line| ready(line, true)).await;
    line(&mut events.out, "what happens since", |line| id(line) >= began_again.0).await;
}
