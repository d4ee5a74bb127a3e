//! The CLI and the HTTP server, talking to each other.

use std::{
    net::SocketAddr,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use apolo::http::{
    Change, Changed, Halt, Kept, Node, Options, Phase, Port, Server, ShardRow, Source, Unhalted,
    View, bind,
};
use apolo::{Format, HealthStatus, SessionNumber, ShardId, ShardStatus, SystemHealth, Token};
use futures_util::future::BoxFuture;

#[derive(Debug, Default)]
struct Fake {
    unhalts: AtomicU32,
}

fn halt() -> Halt {
    Halt { code: 4004, shard: ShardId(1), advice: "Put the token right.".to_owned() }
}

impl Source for Fake {
    fn view(&self) -> View {
        let connected = ShardRow {
            status: ShardStatus::Ready,
            phase: Phase::Connected,
            here: true,
            node: Some("apolo-0".to_owned()),
            session: Some(SessionNumber(3)),
            ..ShardRow::new(ShardId(0))
        };
        let halted = ShardRow {
            status: ShardStatus::Dead,
            phase: Phase::Halted,
            here: true,
            note: Some("Put the token right.".to_owned()),
            ..ShardRow::new(ShardId(1))
        };
        let health = SystemHealth {
            status: HealthStatus::Degraded,
            total_shards: 2,
            ready_shards: 1,
            total_guilds: 1_000,
            total_members: 50_000,
        };
        View {
            started: true,
            node: Node { name: "apolo-0".to_owned(), ..Node::default() },
            health: Some(health),
            waiting: None,
            format: Format::MAX,
            never_started: Vec::new(),
            lease: true,
            nodes: Vec::new(),
            leader: Some("apolo-0".to_owned()),
            term: 1,
            store_failure: None,
            write_under_way_ms: None,
            silent_ms: 0,
            draining: false,
            halted: Some(halt()),
            identifies: None,
            target: None,
            kept: Kept::default(),
            consumers: None,
            shards: vec![connected, halted],
        }
    }

    fn metrics(&self) -> String {
        String::new()
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Changed, String>> {
        Box::pin(async move { Ok(Changed { done: format!("{change:?}") }) })
    }

    fn unhalt(&self) -> BoxFuture<'_, Result<Unhalted, String>> {
        let first = self.unhalts.fetch_add(1, Ordering::SeqCst) == 0;
        Box::pin(async move { Ok(Unhalted { lifted: first.then(halt) }) })
    }
}

struct Running {
    _server: Server,
    source: Arc<Fake>,
    dir: tempfile::TempDir,
    endpoint: String,
}

async fn start(token: Option<&str>) -> Running {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let listener =
        bind(Port::Http, SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
    let source = Arc::new(Fake::default());
    let token = token.and_then(Token::parse);
    let options = Options { listener, data_dir: Some(dir.path()), token };
    let server = Server::start(options, source.clone()).expect("a socket in the directory");
    Running { _server: server, source, dir, endpoint }
}

async fn apolo(words: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_apolo"));
    command.args(words).env_clear().envs(variables.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    output.expect("it does not panic").expect("the binary was built for this test")
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    // Errors are wrapped to the terminal's width.
    String::from_utf8(both).expect("it is text").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_over_the_socket_how_things_stand() {
    let running = start(None).await;
    let dir = running.dir.path().to_str().expect("its name is text");

    let output = apolo(&["status", "--data-dir", dir], &[]).await;
    let ready = apolo(&["status", "--ready", "--data-dir", dir], &[]).await;

    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("degraded: 1 of 2 shards ready, 1,000 guilds, 50,000 members"), "{said}");
    assert!(said.contains("NO shards halted: 1"), "{said}");
    assert_eq!(ready.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_lists_every_shard_at_an_endpoint() {
    let running = start(None).await;

    let output = apolo(&["shards"], &[("APOLO_ENDPOINT", &running.endpoint)]).await;

    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("0 ready connected apolo-0"), "{said}");
    assert!(said.contains("1 dead halted"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unhalt_lifts_over_the_socket_and_says_what() {
    let running = start(None).await;
    let dir = running.dir.path().to_str().expect("its name is text");

    let first = apolo(&["unhalt", "--data-dir", dir], &[]).await;
    let second = apolo(&["unhalt", "--data-dir", dir], &[]).await;

    assert!(
        text(&first).starts_with("lifted: shard 1 had been closed with 4004"),
        "{}",
        text(&first)
    );
    assert_eq!(text(&second), "nothing was halted");
}

#[tokio::test(flavor = "multi_thread")]
async fn unhalt_at_an_endpoint_needs_the_nodes_token() {
    let closed = start(None).await;
    let open = start(Some("right")).await;
    let unhalt = async |running: &Running, token| {
        let variables = [("APOLO_ENDPOINT", running.endpoint.as_str()), ("APOLO_API_TOKEN", token)];
        apolo(&["unhalt"], &variables).await
    };

    let (never, wrong, right) = (
        unhalt(&closed, "right").await,
        unhalt(&open, "wrong").await,
        unhalt(&open, "right").await,
    );

    assert_eq!(never.status.code(), Some(1));
    assert!(text(&never).contains("APOLO_API_TOKEN_FILE"), "{}", text(&never));
    assert_eq!(wrong.status.code(), Some(1));
    assert_eq!(right.status.code(), Some(0), "{}", text(&right));
    assert_eq!(closed.source.unhalts.load(Ordering::SeqCst), 0);
    assert_eq!(open.source.unhalts.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_no_nodes_is_said_to_be_none() {
    let running = start(None).await;
    let elsewhere = format!("{}/elsewhere", running.endpoint);

    let output = apolo(&["status", "--endpoint", &elsewhere], &[]).await;

    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}
