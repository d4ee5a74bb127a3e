//! Secrets stay where they are put.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use apolo::{
    ShardTotal,
    http::View,
    simulator::{self, Simulator},
};
use tokio::time::{Instant, sleep};

use crate::operate::support::free_address;

const WITHIN: Duration = Duration::from_secs(90);

/// No other text is like these.
const TOKEN: &str = "canary-discord-7d0f3b9e";
const API_TOKEN: &str = "canary-api-1c55a2f4";
const BOT_TOKEN: &str = "canary-bot-e83b6d17";

/// Ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn node(discord: &Simulator, directory: &Path, http: SocketAddr, bot: SocketAddr) -> Running {
    let log = fs::File::create(directory.join("log")).expect("a file");
    let child = Command::new(env!("CARGO_BIN_EXE_apolo"))
        .arg("run")
        .env_clear()
        .env("DISCORD_TOKEN", TOKEN)
        .env("APOLO_API_TOKEN", API_TOKEN)
        .env("APOLO_BOT_TOKEN", BOT_TOKEN)
        .env("DISCORD_API", discord.api_url())
        .env("APOLO_DATA_DIR", directory.join("data"))
        .env("APOLO_HTTP_ADDR", http.to_string())
        .env("APOLO_BOT_ADDR", bot.to_string())
        .env("APOLO_QUIC_ADDR", free_address().to_string())
        .env("APOLO_WAIT_FOR", "none")
        .env("APOLO_LOG", "trace")
        .stdout(log.try_clone().expect("a file"))
        .stderr(log)
        .spawn();
    Running(child.expect("the binary was built for this test"))
}

async fn ready(base: &str) {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Ok(answer) = reqwest::get(format!("{base}/api/v1/status")).await
            && let Ok(view) = answer.json::<View>().await
            && view.health.is_some_and(|health| health.ready_shards == 2)
        {
            return;
        }
        assert!(Instant::now() < deadline, "it never runs");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Every file below a directory, as it is on the disk.
fn files(directory: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if let Ok(bytes) = fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_in_a_log_on_the_disk_in_metrics_or_in_the_api_and_no_session_id_is_shown() {
    let discord = Simulator::start(simulator::Options {
        guilds: 20,
        recommended_shards: ShardTotal::new(2).expect("a valid total"),
        max_concurrency: 16,
        event_rate: 20.0,
        ..simulator::Options::default()
    });
    let discord = discord.await.expect("the simulator starts");
    let directory = tempfile::tempdir().expect("a directory");
    let (http, bot) = (free_address(), free_address());
    let running = node(&discord, directory.path(), http, bot);
    let base = format!("http://{http}");
    ready(&base).await;

    // What goes wrong is logged, too.
    let client = reqwest::Client::new();
    for token in [TOKEN, API_TOKEN, "wrong"] {
        let asked = client.post(format!("{base}/api/v1/respawn")).bearer_auth(token).send();
        asked.await.expect("an answer");
        let asked = client.get(format!("http://{bot}/bot/v1")).bearer_auth(token).send();
        asked.await.expect("an answer");
    }
    ready(&base).await;
    let mut shown = Vec::new();
    for path in
        ["/", "/health", "/ready", "/metrics", "/api/v1/status", "/api/v1/shards", "/api/v1/events"]
    {
        let answer = reqwest::get(format!("{base}{path}")).await.expect("an answer");
        shown.push((path.to_owned(), answer.bytes().await.expect("a body").to_vec()));
    }
    drop(running);

    let log = ("the log".to_owned(), fs::read(directory.path().join("log")).expect("a log"));
    assert!(holds(&log.1, "TRACE"), "everything is logged");
    shown.push(log);
    let mut all = shown.clone();
    files(&directory.path().join("data"), &mut all);
    for token in [TOKEN, API_TOKEN, BOT_TOKEN] {
        let found: Vec<_> =
            all.iter().filter(|(_, bytes)| holds(bytes, token)).map(|(place, _)| place).collect();
        assert!(found.is_empty(), "{token} is in {found:?}");
    }
    let sessions = discord.truth().sessions;
    assert!(!sessions.is_empty());
    for session in sessions {
        let found: Vec<_> = shown
            .iter()
            .filter(|(_, bytes)| holds(bytes, &session.id))
            .map(|(place, _)| place)
            .collect();
        assert!(found.is_empty(), "session {} is in {found:?}", session.id);
    }
}
