use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use super::*;
use crate::model::Token;

#[derive(Debug)]
struct Fake {
    view: Mutex<View>,
    unhalts: AtomicU32,
}

impl Source for Fake {
    fn view(&self) -> View {
        self.view.lock().unwrap().clone()
    }

    fn metrics(&self) -> String {
        "apolo_up 1\n".to_owned()
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Changed, String>> {
        Box::pin(async move { Ok(Changed { done: format!("{change:?}") }) })
    }

    fn tokens(&self, ask: TokenAsk) -> BoxFuture<'_, Result<TokenAnswer, String>> {
        Box::pin(async move {
            Ok(match ask {
                TokenAsk::List => TokenAnswer::List(Vec::new()),
                asked => TokenAnswer::Revoked(Changed { done: format!("{asked:?}") }),
            })
        })
    }

    fn unhalt(&self) -> BoxFuture<'_, Result<Unhalted, String>> {
        self.unhalts.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(Unhalted { lifted: None }) })
    }
}

struct Running {
    server: Server,
    source: Arc<Fake>,
    dir: tempfile::TempDir,
    addr: SocketAddr,
}

impl Running {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    async fn json(&self, path: &str) -> (StatusCode, Value) {
        let response = reqwest::get(self.url(path)).await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    fn beside(&self) -> Client {
        let path = SocketPath::of(self.dir.path()).unwrap();
        Client::builder().unix_socket(path.path().to_owned()).build().unwrap()
    }
}

async fn start(token: Option<&str>) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let listener = bind(Port::Http, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let view = Mutex::new(view::tests::view(2));
    let source = Arc::new(Fake { view, unhalts: AtomicU32::new(0) });
    let token = token.map(|token| Token::parse(token).unwrap());
    let options = Options { listener, data_dir: Some(dir.path()), token };
    let server = Server::start(options, source.clone()).unwrap();
    Running { server, source, dir, addr }
}

#[tokio::test]
async fn health_answers_while_the_process_lives_even_if_it_is_not_ready() {
    let running = start(None).await;
    running.source.view.lock().unwrap().leader = None;

    let (health, body) = running.json("/health").await;
    let (ready, why) = running.json("/ready").await;

    assert_eq!((health, &body["status"]), (StatusCode::OK, &"healthy".into()));
    assert_eq!((ready, &why["ready"]), (StatusCode::SERVICE_UNAVAILABLE, &false.into()));
    let failing = why["conditions"].as_array().unwrap().iter().find(|it| it["holds"] == false);
    assert_eq!(failing.map(|it| &it["name"]), Some(&"leader".into()));
}

#[tokio::test]
async fn health_turns_red_where_the_disk_does_not_answer() {
    let running = start(None).await;
    let health_after = async |span_ms| {
        running.source.view.lock().unwrap().write_under_way_ms = span_ms;
        running.json("/health").await
    };

    let (busy, body) = health_after(Some(14_999)).await;
    let (hung, why) = health_after(Some(15_000)).await;
    let (back, _) = health_after(None).await;

    assert_eq!((busy, &body["stall"]), (StatusCode::OK, &Value::Null));
    assert_eq!(hung, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(why["stall"], "the disk has not answered a write for 15 s");
    assert_eq!(back, StatusCode::OK);
}

#[tokio::test]
async fn startup_is_true_once_the_data_directory_is_open_whatever_the_node_waits_for() {
    let running = start(None).await;
    let startup_of = async |started, waiting: Option<&str>| {
        let mut view = running.source.view.lock().unwrap().clone();
        (view.started, view.waiting) = (started, waiting.map(str::to_owned));
        *running.source.view.lock().unwrap() = view;
        running.json("/startup").await
    };

    let (opening, body) = startup_of(false, Some("opening its data directory")).await;
    let (waits, _) = startup_of(true, Some("1 of 3 nodes are seen")).await;
    let (member, _) = startup_of(true, None).await;

    assert_eq!(opening, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["waiting"], "opening its data directory");
    assert_eq!((waits, member), (StatusCode::OK, StatusCode::OK));
}

#[tokio::test]
async fn ready_metrics_and_the_table_are_served() {
    let running = start(None).await;

    let metrics = reqwest::get(running.url("/metrics")).await.unwrap();
    let kind = metrics.headers()["content-type"].to_str().unwrap().to_owned();
    let (ready, _) = running.json("/ready").await;
    let (_, shards) = running.json("/api/v1/shards").await;
    let (_, status) = running.json("/api/v1/status").await;

    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    assert_eq!(metrics.text().await.unwrap(), "apolo_up 1\n");
    assert_eq!(ready, StatusCode::OK);
    assert_eq!(shards[1]["shard"], 1);
    assert_eq!(shards[1]["checkpoint"], 18);
    assert_eq!(shards[1]["epoch"], "1.7");
    assert_eq!(serde_json::from_value::<View>(status).unwrap(), running.source.view());
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_json() {
    let running = start(None).await;

    let (missing, body) = running.json("/helth").await;
    let wrong = Client::new().delete(running.url("/ready")).send().await.unwrap();

    assert_eq!(missing, StatusCode::NOT_FOUND);
    assert!(body["error"].as_str().unwrap().contains("no such path"));
    assert_eq!(wrong.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn without_a_token_the_port_changes_nothing_and_says_how() {
    let running = start(None).await;

    let refused = Client::new().post(running.url("/api/v1/unhalt")).bearer_auth("any");
    let refused = refused.send().await.unwrap();

    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let body: Value = refused.json().await.unwrap();
    assert!(body["error"].as_str().unwrap().contains("APOLO_API_TOKEN_FILE"), "{body}");
    assert_eq!(running.source.unhalts.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_tokens_bearer_and_the_directorys_owner_may_change_things() {
    let running = start(Some("right")).await;
    let url = running.url("/api/v1/unhalt");

    let without = Client::new().post(&url).send().await.unwrap();
    let wrong = Client::new().post(&url).bearer_auth("wrong").send().await.unwrap();
    assert_eq!(running.source.unhalts.load(Ordering::SeqCst), 0);
    let right = Client::new().post(&url).bearer_auth("right").send().await.unwrap();
    let beside = running.beside().post("http://apolo/api/v1/unhalt").send().await.unwrap();

    assert_eq!(without.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(right.status(), StatusCode::OK);
    assert_eq!(beside.status(), StatusCode::OK);
    assert_eq!(running.source.unhalts.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn tokens_are_made_and_shown_by_the_same_right_as_changes() {
    let running = start(Some("right")).await;
    let url = running.url("/api/v1/tokens");
    let beside = |path: &str| running.beside().post(format!("http://apolo/api/v1/tokens{path}"));

    for asked in [Client::new().get(&url), Client::new().post(&url).body("{}")] {
        let refused = asked.bearer_auth("wrong").send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    }
    let listed = Client::new().get(&url).bearer_auth("right").send().await.unwrap();
    assert_eq!(listed.json::<Value>().await.unwrap(), serde_json::json!([]));
    for asked in [beside("").json(&serde_json::json!({"id": 1})), beside("/BEEF/revoke")] {
        assert_eq!(asked.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    }
    let revoked = beside("/0000beef/revoke").send().await.unwrap();
    assert_eq!(revoked.json::<Value>().await.unwrap()["done"], "Revoke(TokenId(48879))");
}

#[tokio::test]
async fn a_body_above_64_kib_is_refused() {
    let running = start(Some("right")).await;

    let request = Client::new().post(running.url("/api/v1/unhalt")).bearer_auth("right");
    let response = request.body(vec![b'x'; 65 * 1024]).send().await.unwrap();

    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(running.source.unhalts.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn headers_that_never_end_cost_their_caller_the_connection_after_5_s() {
    let running = start(None).await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    let began = Instant::now();

    stream.write_all(b"GET /health HTTP/1.1\r\nHost: apo").await.unwrap();
    let mut answer = Vec::new();
    let ended = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;

    assert!(ended.is_ok(), "the connection is still open");
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn headers_without_bounds_are_refused() {
    let running = start(None).await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();

    let _ = stream.write_all(b"GET /health HTTP/1.1\r\nHost: ").await;
    let _ = stream.write_all(&vec![b'a'; 1024 * 1024]).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap();

    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(running.json("/health").await.0, StatusCode::OK);
}

#[tokio::test]
async fn callers_on_the_port_cannot_keep_the_owner_from_the_socket() {
    let running = start(None).await;
    let mut idle = Vec::new();
    for _ in 0..520 {
        idle.push(TcpStream::connect(running.addr).await.unwrap());
    }

    let beside = running.beside().get("http://apolo/ready").send();

    let response = timeout(Duration::from_secs(2), beside).await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn stopping_closes_idle_connections_and_removes_the_socket() {
    let Running { server, dir, addr, .. } = start(None).await;
    let _idle = TcpStream::connect(addr).await.unwrap();
    let kept = Client::new();
    kept.get(format!("http://{addr}/health")).send().await.unwrap().bytes().await.unwrap();

    timeout(Duration::from_secs(5), server.stop()).await.unwrap();

    assert!(!dir.path().join(SOCKET_FILE).exists());
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn what_the_bot_keeps_is_shown_and_changed_beside_the_node_or_with_its_token_alone() {
    let running = start(Some("right")).await;
    let ask = KvAsk::Get { key: "key".to_owned(), local: true };
    let body = KvRequest { namespace: "default".to_owned(), ask };
    let post = |client: Client, token: Option<&str>| {
        let request = client.post(running.url("/api/v1/kv")).json(&body);
        token.into_iter().fold(request, |request, token| request.bearer_auth(token)).send()
    };

    let anybody = post(Client::new(), None).await.unwrap();
    let wrong = post(Client::new(), Some("wrong")).await.unwrap();
    let right = post(Client::new(), Some("right")).await.unwrap();
    let beside = post(running.beside(), None).await.unwrap();
    let nonsense = running.beside().post(running.url("/api/v1/kv")).body("{").send().await.unwrap();

    assert_eq!([anybody.status(), wrong.status()], [StatusCode::UNAUTHORIZED; 2]);
    // This source keeps nothing, and says so.
    assert_eq!([right.status(), beside.status()], [StatusCode::SERVICE_UNAVAILABLE; 2]);
    assert_eq!(nonsense.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn who_may_not_change_what_is_kept_gets_no_backup_and_restores_nothing() {
    let with = start(Some("right")).await;
    let without = start(None).await;
    for path in ["/api/v1/restore", "/api/v1/restore/7/0", "/api/v1/restore/7/finish"] {
        let post = |running: &Running| Client::new().post(running.url(path)).body("{}").send();
        assert_eq!(post(&without).await.unwrap().status(), StatusCode::FORBIDDEN, "{path}");
        assert_eq!(post(&with).await.unwrap().status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(without.json("/api/v1/backup").await.0, StatusCode::FORBIDDEN);
    assert_eq!(with.json("/api/v1/backup").await.0, StatusCode::UNAUTHORIZED);

    let shown = Client::new().get(with.url("/api/v1/backup")).bearer_auth("right").send();
    assert_eq!(shown.await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE, "it keeps nothing");
    let long = vec![0; 200 * 1024];
    let chunk = with.beside().post("http://apolo/api/v1/restore/7/0").body(long).send();
    assert_eq!(chunk.await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
}

/// Log lines, kept.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn who_asked_for_what_is_recorded_and_what_only_reads_is_not() {
    let lines = Lines::default();
    let writer = lines.clone();
    let logs = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    let _logs = tracing::subscriber::set_default(logs.finish());
    let running = start(Some("right")).await;

    let drain = running.url("/api/v1/drain/a%0Ab");
    running.beside().post("http://apolo/api/v1/unhalt").send().await.unwrap();
    Client::new().post(&drain).bearer_auth("wrong").send().await.unwrap();
    Client::new().post(&drain).bearer_auth("right").body("s3cret").send().await.unwrap();
    Client::new().get(running.url("/api/v1/status")).send().await.unwrap();

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let records: Vec<_> = text.lines().filter(|line| line.contains("apolo::audit")).collect();
    assert_eq!(records.len(), 3, "{text}");
    assert!(records[0].contains("who=\"uid ") && records[0].contains("/api/v1/unhalt"), "{text}");
    assert!(records[1].contains("who=\"127.0.0.1:") && records[1].contains("status=401"), "{text}");
    assert!(records[2].contains("status=200"), "{text}");
    assert!(!text.contains("s3cret") && !text.contains("right"), "{text}");
}

/// Callers that hold what they can get hold of.
const STUCK: usize = 1_000;

/// Probes that are timed beside them.
const PROBES: usize = 200;

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "a measurement beside the proof")]
async fn a_thousand_callers_that_are_stuck_keep_no_probe_from_its_answer() {
    let running = start(None).await;
    running.source.view.lock().unwrap().clone_from(&view::tests::view(2_048));
    let mut stuck = Vec::new();
    for nth in 0..STUCK {
        let mut stream = TcpStream::connect(running.addr).await.unwrap();
        // Some never end their headers, and some do not read what they asked for.
        let sent: &[u8] = match nth % 3 {
            0 => b"",
            1 => b"GET /health HTTP/1.1\r\nHost: a\r\nX-Slow: ",
            _ => b"GET /api/v1/shards HTTP/1.1\r\nHost: a\r\n\r\n",
        };
        stream.write_all(sent).await.unwrap();
        stuck.push(stream);
    }

    let mut took = Vec::new();
    for _ in 0..PROBES {
        let began = Instant::now();
        let probe = timeout(Duration::from_secs(10), reqwest::get(running.url("/health")));
        assert_eq!(probe.await.expect("it is answered").unwrap().status(), StatusCode::OK);
        took.push(began.elapsed());
    }

    took.sort_unstable();
    let at = |share: usize| took[(PROBES * share / 100).min(PROBES - 1)];
    eprintln!(
        "probes beside {STUCK} stuck callers: n {PROBES}, p50 {:.1?}, p99 {:.1?}, max {:.1?}",
        at(50),
        at(99),
        took[PROBES - 1]
    );
}
