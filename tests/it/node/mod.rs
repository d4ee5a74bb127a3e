//! A whole node against the simulator: start, stop, start again, and what must be refused.

mod behind;
mod halt;
mod tokens;
mod waits;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use apolo::{
    Node, NodeError, ShardId, ShardTotal, Token,
    bot::ClosureBot,
    config::Config,
    node::Options,
    simulator::{self, Fault, Simulator},
};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// For whatever must come about on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

async fn discord(shards: u32) -> Simulator {
    let options = simulator::Options {
        guilds: u64::from(shards) * 10,
        recommended_shards: ShardTotal::new(shards).expect("a valid total"),
        event_rate: f64::from(shards) * 50.0,
        heartbeat_interval: Duration::from_secs(1),
        ..simulator::Options::default()
    };
    Simulator::start(options).await.expect("the simulator starts")
}

fn config(discord: &Simulator, data_dir: &Path) -> Config {
    let mut config = Config::default();
    config.data_dir = data_dir.to_owned();
    config.http_addr = ([127, 0, 0, 1], 0).into();
    config.quic_addr = ([127, 0, 0, 1], 0).into();
    config.discord_api = discord.api_url().parse().expect("a URL");
    config.token = Token::parse("any");
    config
}

async fn start(discord: &Simulator, data_dir: &Path, bot: ClosureBot) -> Result<Node, NodeError> {
    Node::start(Options::new(config(discord, data_dir), Arc::new(bot))).await
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waited = async {
        while !done() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, waited).await.unwrap_or_else(|_| panic!("never came: {what}"));
}

fn ready(node: &Node) -> u32 {
    node.system_health().map_or(0, |health| health.ready_shards)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_restart_resumes_every_shard_and_repeats_nothing() {
    let discord = discord(4).await;
    let directory = TempDir::new().expect("a directory");
    let handled = Arc::new(AtomicU64::new(0));
    let counting = || {
        let handled = Arc::clone(&handled);
        ClosureBot::default().on_event(move |_, _| {
            handled.fetch_add(1, Ordering::Relaxed);
            async {}
        })
    };

    for _ in 0..3 {
        let node = start(&discord, directory.path(), counting()).await.expect("it starts");
        until("four shards ready", || ready(&node) == 4).await;
        node.shutdown().await;
    }
    discord.set_event_rate(0.0);
    let node = start(&discord, directory.path(), counting()).await.expect("it starts");
    until("four shards ready", || ready(&node) == 4).await;
    let sent = || discord.truth().sessions.iter().map(|session| session.last).sum::<u64>();
    until("everything handled", || handled.load(Ordering::Relaxed) >= sent()).await;
    node.shutdown().await;

    let truth = discord.truth();
    assert_eq!(handled.load(Ordering::Relaxed), sent(), "nothing was delivered twice");
    assert_eq!((truth.identifies_accepted, truth.identifies_refused), (4, 0));
    assert_eq!((truth.resumes_accepted, truth.resumes_refused), (12, 0));
    assert!(truth.broken.is_empty(), "{:?}", truth.broken);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_sleeps_stops_no_heartbeat_and_no_other_shard() {
    let discord = discord(2).await;
    let directory = TempDir::new().expect("a directory");
    let others = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&others);
    let bot = ClosureBot::default().on_event(move |context, _| {
        let others = Arc::clone(&counted);
        async move {
            if context.shard() == ShardId(0) {
                // The slowness is the point.
                sleep(Duration::from_secs(10)).await;
            } else {
                others.fetch_add(1, Ordering::Relaxed);
            }
        }
    });

    let node = start(&discord, directory.path(), bot).await.expect("it starts");
    until("the other shard goes on", || others.load(Ordering::Relaxed) > 200).await;
    let slow = |truth: &simulator::Truth| {
        truth.sessions.iter().find(|session| session.shard == 0).map_or(0, |one| one.heartbeat)
    };
    let before = slow(&discord.truth());
    until("heartbeats of the slow shard go on", || slow(&discord.truth()) > before + 50).await;

    let truth = discord.truth();
    assert!(truth.connections.iter().all(|connection| connection.end.is_none()));
    assert!(truth.broken.is_empty(), "{:?}", truth.broken);
    drop(node);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_directory_is_refused() {
    let discord = discord(1).await;
    let directory = TempDir::new().expect("a directory");
    let first = start(&discord, directory.path(), ClosureBot::default()).await.expect("it starts");

    let second = start(&discord, directory.path(), ClosureBot::default()).await;

    assert!(matches!(second, Err(NodeError::Store(_))), "{second:?}");
    first.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_total_is_refused_with_its_price_unless_it_is_meant() {
    let discord = discord(2).await;
    let directory = TempDir::new().expect("a directory");
    let node = start(&discord, directory.path(), ClosureBot::default()).await.expect("it starts");
    until("two shards ready", || ready(&node) == 2).await;
    node.shutdown().await;
    let mut changed = config(&discord, directory.path());
    changed.total_shards = ShardTotal::new(4).ok();

    // Discord is not needed to say no, and a node that asked it would keep its shards from others meanwhile.
    discord.inject(Fault::Down).expect("it can be injected");
    let refused = Node::start(Options::new(changed.clone(), Arc::new(ClosureBot::default())));
    let refused = timeout(DEADLINE, refused).await.expect("at once");
    discord.clear_faults();
    let price = refused.expect_err("refused").to_string();
    assert!(price.contains("spends 4 of the") && price.contains("--reshard"), "{price}");

    let meant = Options { reshard: true, ..Options::new(changed, Arc::new(ClosureBot::default())) };
    let node = Node::start(meant).await.expect("it starts");
    until("four shards ready", || ready(&node) == 4).await;
    node.shutdown().await;
}
