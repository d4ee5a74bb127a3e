//! At least once, as far as the consumer's code.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use apolo::simulator::{Simulator, Truth};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Consumer, DEADLINE, TOKEN, ack, discord, is_event};
use crate::operate::support::free_address;

/// Each round ends with a kill.
const ROUNDS: usize = 4;

/// Events that a round handles before it.
const EVENTS: usize = 150;

/// A node in a process of its own.
struct Process(Child);

impl Process {
    fn start(discord: &Simulator, data: &Path, [bots, quic]: [SocketAddr; 2]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_apolo"));
        command.arg("run").env_clear();
        command.arg(format!("--bot-addr={bots}"));
        command.arg(format!("--http-addr={quic}")).arg(format!("--quic-addr={quic}"));
        command.arg("--data-dir").arg(data);
        command.env("DISCORD_TOKEN", "any").env("DISCORD_API", discord.api_url());
        command.env("APOLO_BOT_TOKEN", TOKEN);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("the binary was built for this test"))
    }
}

impl Drop for Process {
    /// SIGKILL.
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it has ended");
    }
}

/// What a consumer has handled, by shard and session.
#[derive(Default)]
struct Handled {
    sequences: BTreeMap<(u64, u64), BTreeSet<u64>>,
    /// Discord's ids, by shard and session.
    sessions: BTreeMap<String, (u64, u64)>,
    events: usize,
    redelivered: usize,
    /// No more events are made.
    ends: bool,
}

impl Handled {
    /// Handles events until so many have been, or the connection ends, or nothing comes.
    async fn handle(&mut self, consumer: &mut Consumer, events: usize) {
        let wanted = self.events + events;
        while self.events < wanted {
            // There are always more, but at the end.
            let heard = if self.ends { consumer.hear_soon().await } else { consumer.hear().await };
            let Some(event) = heard else { return };
            if !is_event(&event) {
                continue;
            }
            let number = |key: &str| event[key].as_u64().expect("a number");
            let session = (number("shard"), number("session"));
            if event["name"] == "READY" {
                let id = event["data"]["session_id"].as_str().expect("an id");
                self.sessions.insert(id.to_owned(), session);
            }
            self.sequences.entry(session).or_default().insert(number("sequence"));
            self.events += 1;
            self.redelivered += usize::from(event["redelivered"] == true);
            consumer.say(&ack(&event)).await;
        }
    }

    fn missing(&self, truth: &Truth) -> u64 {
        let missing = |session: &apolo::simulator::SessionTruth| {
            let got = self.sessions.get(&session.id).and_then(|key| self.sequences.get(key));
            let got = got.map_or(0, BTreeSet::len);
            session.last - u64::try_from(got).expect("few")
        };
        truth.sessions.iter().map(missing).sum()
    }
}

async fn connected(address: SocketAddr) -> Consumer {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if tokio::net::TcpStream::connect(address).await.is_ok()
            && let Some(mut consumer) = Consumer::try_connect(address, TOKEN).await
        {
            consumer.say(&json!({ "type": "subscribe", "window": 50 })).await;
            return consumer;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("nobody listens on {address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_lost_when_node_and_consumer_are_killed() {
    let discord = discord(4, 200.0).await;
    let directory = tempfile::tempdir().expect("a directory");
    let (data, places) = (directory.path().join("data"), [free_address(), free_address()]);
    let mut handled = Handled::default();

    for _ in 0..ROUNDS {
        let node = Process::start(&discord, &data, places);
        let mut first = connected(places[0]).await;
        handled.handle(&mut first, EVENTS).await;
        // The consumer dies with some in its hands, and another takes over.
        drop(first);
        let mut second = connected(places[0]).await;
        handled.handle(&mut second, EVENTS).await;
        drop(node);
    }
    discord.set_event_rate(0.0);
    handled.ends = true;
    let _node = Process::start(&discord, &data, places);
    let mut last = connected(places[0]).await;
    let deadline = Instant::now() + DEADLINE;
    while handled.missing(&discord.truth()) > 0 && Instant::now() < deadline {
        handled.handle(&mut last, EVENTS).await;
    }

    let truth = discord.truth();
    assert_eq!(handled.missing(&truth), 0, "{} were handled", handled.events);
    assert!(handled.redelivered > 0, "something was in somebody's hands");
    assert_eq!((truth.identifies_accepted, truth.identifies_refused), (4, 0));
    assert!(truth.broken.is_empty(), "{:?}", truth.broken);
}
