//! Examples, as they are typed.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use apolo::{
    ShardTotal,
    simulator::{self, Simulator},
};
use tokio::time::Instant;

use crate::operate::support::free_address;

/// It starts, connects two shards and asks them, on a busy machine.
const WITHIN: Duration = Duration::from_secs(90);

#[expect(clippy::print_stderr, reason = "a test that skips says so")]
#[tokio::test(flavor = "multi_thread")]
async fn each_shard_answers_with_its_guilds() {
    let apolo = Path::new(env!("CARGO_BIN_EXE_apolo"));
    let example = apolo.with_file_name("examples").join("per_shard");
    if !example.exists() {
        return eprintln!("skipped: `cargo test` alone builds the examples");
    }
    let discord = Simulator::start(simulator::Options {
        guilds: 40,
        recommended_shards: ShardTotal::new(2).expect("a valid total"),
        max_concurrency: 16,
        ..simulator::Options::default()
    });
    let discord = discord.await.expect("the simulator starts");
    let directory = tempfile::tempdir().expect("a directory");
    let mut child = Command::new(&example)
        .env_clear()
        .env("DISCORD_API", discord.api_url())
        .env("DISCORD_TOKEN", "any")
        .env("APOLO_DATA_DIR", directory.path())
        .env("APOLO_HTTP_ADDR", free_address().to_string())
        .env("APOLO_QUIC_ADDR", free_address().to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let said = BufReader::new(child.stdout.take().expect("it is piped"));
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut lines = said.lines().map_while(Result::ok);
        while lines.next().is_some_and(|line| tell.send(line).is_ok()) {}
    });

    let (deadline, mut lines) = (Instant::now() + WITHIN, Vec::new());
    while !lines.iter().any(|line| line == "40 guilds on 2 shards") && Instant::now() < deadline {
        lines.extend(told.recv_timeout(Duration::from_millis(100)).ok());
    }

    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert_eq!(lines.last().map(String::as_str), Some("40 guilds on 2 shards"), "{lines:?}");
}
