//! Examples, as they are typed.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
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

/// Two shards with forty guilds.
async fn discord() -> Simulator {
    let discord = Simulator::start(simulator::Options {
        guilds: 40,
        recommended_shards: ShardTotal::new(2).expect("a valid total"),
        max_concurrency: 16,
        ..simulator::Options::default()
    });
    discord.await.expect("the simulator starts")
}

/// Runs it until it says how many guilds there are.
fn says_how_many_guilds(command: &mut Command) {
    says(command, "40 guilds on 2 shards");
}

/// Runs it until it says this.
fn says(command: &mut Command, wanted: &str) {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let said = BufReader::new(child.stdout.take().expect("it is piped"));
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut lines = said.lines().map_while(Result::ok);
        while lines.next().is_some_and(|line| tell.send(line).is_ok()) {}
    });

    let (deadline, mut lines) = (Instant::now() + WITHIN, Vec::new());
    while !lines.iter().any(|line| line == wanted) && Instant::now() < deadline {
        lines.extend(told.recv_timeout(Duration::from_millis(100)).ok());
    }

    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert!(lines.iter().any(|line| line == wanted), "{lines:?}");
}

/// An example that the tests' build has made, in an environment of its own.
#[expect(clippy::print_stderr, reason = "a test that skips says so")]
fn built(name: &str, discord: &Simulator, directory: &Path) -> Option<Command> {
    let apolo = Path::new(env!("CARGO_BIN_EXE_apolo"));
    let example = apolo.with_file_name("examples").join(name);
    if !example.exists() {
        eprintln!("skipped: `cargo test` alone builds the examples");
        return None;
    }
    let mut command = Command::new(&example);
    command
        .env_clear()
        .env("DISCORD_API", discord.api_url())
        .env("DISCORD_TOKEN", "any")
        .env("APOLO_DATA_DIR", directory)
        .env("APOLO_HTTP_ADDR", free_address().to_string())
        .env("APOLO_QUIC_ADDR", free_address().to_string())
        .stderr(Stdio::null());
    Some(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_shard_answers_with_its_guilds() {
    let (discord, directory) = (discord().await, tempfile::tempdir().expect("a directory"));

    if let Some(mut example) = built("per_shard", &discord, directory.path()) {
        says_how_many_guilds(&mut example);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_update_what_they_share_and_lose_nothing() {
    let (discord, directory) = (discord().await, tempfile::tempdir().expect("a directory"));

    if let Some(mut example) = built("shared_state", &discord, directory.path()) {
        says(&mut example, "team red owns 82");
    }
    if let Some(mut example) = built("shared_state", &discord, directory.path()) {
        says(&mut example, "user 7 has used 2 commands, and 2 shards know");
    }
}

/// Runs an example beside the stock binary.
async fn beside_a_node(example: &mut Command) {
    let discord = discord().await;
    let directory = tempfile::tempdir().expect("a directory");
    let [bots, node] = [free_address(), free_address()];
    let apolo = Command::new(env!("CARGO_BIN_EXE_apolo"))
        .arg("run")
        .env_clear()
        .env("DISCORD_API", discord.api_url())
        .env("DISCORD_TOKEN", "any")
        .env("APOLO_BOT_TOKEN", "s3cret")
        .args([format!("--bot-addr={bots}"), format!("--http-addr={node}")])
        .arg(format!("--quic-addr={node}"))
        .arg("--data-dir")
        .arg(directory.path())
        .stderr(Stdio::null())
        .spawn();
    let _apolo = Killed(apolo.expect("the binary was built for this test"));
    example.env("APOLO_BOT_URL", format!("ws://{bots}/bot/v1")).env("APOLO_BOT_TOKEN", "s3cret");
    // Until then it would say so, and try again.
    let deadline = Instant::now() + WITHIN;
    while TcpStream::connect(bots).is_err() {
        assert!(Instant::now() < deadline, "nobody listens");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    says_how_many_guilds(example);
}

/// Ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

/// Where the examples in other languages are.
fn examples(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(language)
}

#[expect(clippy::print_stderr, reason = "a test that skips says so")]
#[tokio::test(flavor = "multi_thread")]
async fn a_node_js_process_does_the_same_over_the_websocket() {
    let directory = examples("node");
    if !directory.join("node_modules/ws").exists() {
        return eprintln!("skipped: `npm ci --prefix examples/node` was not run");
    }
    beside_a_node(Command::new("node").arg(directory.join("per_shard.mjs"))).await;
}

#[expect(clippy::print_stderr, reason = "a test that skips says so")]
#[tokio::test(flavor = "multi_thread")]
async fn a_python_process_counts_the_guilds_of_all_shards() {
    let directory = examples("python");
    let python = directory.join(".venv/bin/python");
    if !python.exists() {
        return eprintln!("skipped: there is no examples/python/.venv with `websockets`");
    }
    beside_a_node(Command::new(python).arg(directory.join("guild_counts.py"))).await;
}
