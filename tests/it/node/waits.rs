//! What can't begin yet says what it waits for, at the HTTP port and with 503, and begins by itself.

use std::{sync::Arc, time::Duration};

use apolo::{
    Node, ShardTotal,
    bot::ClosureBot,
    node::Options,
    simulator::{self, Fault, GatewayBot, Simulator},
};
use reqwest::StatusCode;
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

use super::{DEADLINE, config, discord, ready, start, until};

/// A node that may be asked before it has started.
struct Beginning {
    options: Options,
    url: String,
}

impl Beginning {
    async fn new(discord: &Simulator, directory: &TempDir) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let bot = Arc::new(ClosureBot::default());
        let options = Options {
            listener: Some(listener),
            ..Options::new(config(discord, directory.path()), bot)
        };
        Self { options, url }
    }
}

async fn ask(url: &str, path: &str) -> (StatusCode, String) {
    let answer = reqwest::get(format!("{url}{path}")).await.expect("it answers");
    (answer.status(), answer.text().await.expect("text"))
}

/// Waits until `/ready` says so, with 503.
async fn unready(url: &str, words: &str) {
    let told = async {
        loop {
            let (status, answer) = ask(url, "/ready").await;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
            if answer.contains(words) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, told).await.unwrap_or_else(|_| panic!("it never said {words:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_day_can_not_pay_for_its_shards_waits_for_the_next_and_says_so() {
    let options = simulator::Options {
        recommended_shards: ShardTotal::new(2).expect("a valid total"),
        session_start_remaining: 1,
        ..simulator::Options::default()
    };
    let discord = Simulator::start(options).await.expect("the simulator starts");
    let directory = TempDir::new().expect("a directory");
    let Beginning { options, url } = Beginning::new(&discord, &directory).await;

    tokio::select! {
        () = unready(&url, "no shard starts yet: starting 2 shards takes 2 identifies") => {}
        started = Node::start(options) => panic!("{started:?}"),
    }

    assert_eq!(discord.truth().identifies_accepted, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_can_not_reach_discord_waits_alive_and_begins_when_it_can() {
    let discord = discord(2).await;
    discord.inject(Fault::Down).expect("it can be injected");
    let directory = TempDir::new().expect("a directory");
    let Beginning { options, url } = Beginning::new(&discord, &directory).await;
    let starting = tokio::spawn(Node::start(options));

    unready(&url, "asking Discord who the bot is").await;

    // Alive, and not begun: who watches must not start it again, nor send anybody there.
    let (alive, _) = ask(&url, "/health").await;
    let (begun, words) = ask(&url, "/startup").await;
    assert_eq!((alive, begun), (StatusCode::OK, StatusCode::OK), "{words}");
    assert!(!starting.is_finished());

    discord.clear_faults();
    let node = timeout(DEADLINE, starting).await.expect("in time").expect("no panic");
    let node = node.expect("it starts");
    until("two shards ready", || ready(&node) == 2).await;
    assert_eq!(ask(&url, "/ready").await.0, StatusCode::OK);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_day_is_spent_resumes_what_has_a_session_all_the_same() {
    let options = simulator::Options {
        recommended_shards: ShardTotal::new(2).expect("a valid total"),
        guilds: 20,
        max_concurrency: 1,
        ..simulator::Options::default()
    };
    let discord = Simulator::start(options).await.expect("the simulator starts");
    let directory = TempDir::new().expect("a directory");
    let bot = || ClosureBot::default();
    let mut slow = config(&discord, directory.path());
    slow.shard_spawn_delay = DEADLINE;
    let node = Node::start(Options::new(slow, Arc::new(bot()))).await.expect("it starts");
    // The other one's turn comes much later.
    until("the first shard ready", || ready(&node) == 1).await;
    node.shutdown().await;
    let answer = GatewayBot::Remaining(1);
    discord.inject(Fault::GatewayBot { answer }).expect("it can be injected");

    let starting = timeout(DEADLINE, start(&discord, directory.path(), bot())).await;
    let node = starting.expect("it waits for no day").expect("it starts");
    until("the first shard resumed", || ready(&node) == 1).await;
    let truth = discord.truth();
    node.shutdown().await;

    assert_eq!((truth.identifies_accepted, truth.resumes_accepted), (1, 1));
}
