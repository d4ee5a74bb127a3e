//! Nodes without the authority's key: each token lets one in.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use apolo::{
    http::{SocketPath, TokenCreated, TokenRequest, TokenRow},
    invite::EnrolError,
    model::{TokenId, UnixMillis},
    transport::{Authority, JoinSecret, JoinToken, Kept, SigningRequest},
};
use futures_util::future::join_all;
use serde::{Serialize, de::DeserializeOwned};

use super::*;

const HOUR_MS: u64 = 3_600_000;

/// What an operator has: a cluster's directories, and files to hand over.
struct Bench {
    discord: Simulator,
    top: TempDir,
}

impl Bench {
    async fn new() -> Self {
        Self { discord: discord(1).await, top: TempDir::new().expect("a directory") }
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    /// The settings of a node of that name, beside those that run.
    fn config(&self, name: &str, peers: &[&Node]) -> Config {
        let mut config = config(&self.discord, &self.dir(name));
        config.name = name.to_owned();
        config.peers = peers.iter().map(|peer| peer.quic_addr().to_string()).collect();
        config
    }

    fn invited(&self, name: &str, peers: &[&Node], token: &str) -> Config {
        let file = self.dir(&format!("{name}.token"));
        fs::write(&file, token).expect("a file");
        let mut config = self.config(name, peers);
        config.join_token_file = Some(file);
        config
    }
}

async fn begin(config: Config) -> Result<Node, NodeError> {
    Node::start(Options::new(config, Arc::new(ClosureBot::default()))).await
}

/// Asks the node whose data directory this is, through its socket.
async fn api<T: DeserializeOwned>(dir: &Path, path: &str, body: Option<&impl Serialize>) -> T {
    let socket = SocketPath::of(dir).expect("a socket");
    let client = reqwest::Client::builder().unix_socket(socket.path().to_owned());
    let client = client.build().expect("a client");
    let url = format!("http://apolo/api/v1/{path}");
    let request = match body {
        Some(body) => client.post(url).json(body),
        None => client.get(url),
    };
    let answer = request.send().await.expect("an answer");
    let (status, text) = (answer.status(), answer.text().await.expect("a body"));
    assert!(status.is_success(), "{status} {text}");
    serde_json::from_str(&text).expect("what was asked for")
}

async fn token(dir: &Path, lifetime_ms: u64, name: Option<&str>) -> JoinToken {
    let (id, secret, salt) = (TokenId(rand::random()), JoinSecret::create(), rand::random());
    let hash = secret.salted(&salt);
    let request = TokenRequest { id, salt, hash, lifetime_ms, name: name.map(str::to_owned) };
    let created: TokenCreated = api(dir, "tokens", Some(&request)).await;
    JoinToken { id, secret, pin: created.pin.parse().expect("a pin") }
}

fn refusal(started: Result<Node, NodeError>) -> String {
    match started {
        Err(NodeError::Enrol(EnrolError::Refused { reason, .. })) => reason,
        other => panic!("{other:?}"),
    }
}

/// Every byte of a directory's files.
fn bytes_of(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry")) {
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => bytes.extend(bytes_of(&entry.path())),
            kind if kind.is_file() => bytes.extend(fs::read(entry.path()).expect("a file")),
            _ => {}
        }
    }
    bytes
}

fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    memchr::memmem::find(bytes, secret).is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_one_node_in_which_needs_it_no_more_afterwards() {
    let bench = Bench::new().await;
    let one = begin(bench.config("one", &[])).await.expect("it starts");
    let token = token(&bench.dir("one"), HOUR_MS, None).await;

    let two = begin(bench.invited("two", &[&one], &token.expose())).await.expect("it joins");
    let names: Vec<_> = one.state().nodes().values().map(|node| node.name.clone()).collect();
    assert!(names.contains(&"two".to_owned()), "{names:?}");

    // The key was made there and has stayed there; of the token nobody keeps more than a hash.
    let leaf = bench.dir("two").join("leaf.pem");
    assert_eq!(leaf.metadata().expect("a leaf").mode() & 0o777, 0o600);
    let pem = fs::read_to_string(&leaf).expect("a leaf");
    let key = pem.lines().nth(1).expect("a key");
    let [ones, twos] = ["one", "two"].map(|name| bytes_of(&bench.dir(name)));
    assert!(holds(&twos, key.as_bytes()) && !holds(&ones, key.as_bytes()));
    assert!(!holds(&ones, token.secret.expose()) && !holds(&twos, token.secret.expose()));
    let rows: Vec<TokenRow> = api(&bench.dir("one"), "tokens", None::<&()>).await;
    assert_eq!(rows[0].used_by.as_deref(), Some("two"));

    let third = begin(bench.invited("three", &[&one], &token.expose())).await;
    assert!(refusal(third).contains("used already"));
    two.shutdown().await;
    let again = begin(bench.config("two", &[&one])).await.expect("its leaf is enough");
    again.shutdown().await;
    one.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_nodes_that_race_for_one_token_exactly_one_is_let_in() {
    let bench = Bench::new().await;
    let one = begin(bench.config("one", &[])).await.expect("it starts");
    let token = token(&bench.dir("one"), HOUR_MS, None).await.expose();

    let racing = ["a", "b", "c"].map(|name| begin(bench.invited(name, &[&one], &token)));
    let ended = join_all(racing).await;

    let (joined, refused): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_ok);
    assert_eq!((joined.len(), refused.len()), (1, 2));
    for refused in refused {
        assert!(refusal(refused).contains("used already"));
    }
    assert_eq!(one.state().nodes().len(), 2);
    for node in joined {
        node.expect("it has joined").shutdown().await;
    }
    one.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_wrong_revoked_ended_or_anothers_lets_nobody_in() {
    let bench = Bench::new().await;
    let one = begin(bench.config("one", &[])).await.expect("it starts");
    let dir = bench.dir("one");
    let good = token(&dir, HOUR_MS, None).await;
    let ended = token(&dir, 1, None).await;
    let revoked = token(&dir, HOUR_MS, None).await;
    let bound = token(&dir, HOUR_MS, Some("four")).await;
    let path = format!("tokens/{}/revoke", revoked.id);
    let _done: serde_json::Value = api(&dir, &path, Some(&())).await;
    let guessed = JoinToken { secret: JoinSecret::create(), ..good.clone() };

    for (token, reason) in [
        (&ended, "ended"),
        (&revoked, "there is no such token"),
        (&guessed, "there is no such token"),
        (&bound, "called \"four\""),
    ] {
        let refused = begin(bench.invited("two", &[&one], &token.expose())).await;
        let said = refusal(refused);
        assert!(said.contains(reason), "{said}");
    }

    assert!(one.state().nodes().len() == 1 && !bench.dir("two").join("leaf.pem").exists());
    let two = begin(bench.invited("two", &[&one], &good.expose())).await.expect("it joins");
    two.shutdown().await;
    one.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_token_is_refused_by_the_next_leader_and_a_member_without_the_key_sends_on() {
    let bench = Bench::new().await;
    let ca = bench.dir("ca");
    Authority::create(&ca, UnixMillis::now()).expect("an authority");
    let sockets: Vec<_> =
        (0..3).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").expect("a port")).collect();
    let addresses: Vec<_> =
        sockets.iter().map(|socket| socket.local_addr().expect("it is bound")).collect();
    drop(sockets);
    let configs = ["a", "b", "c"].iter().zip(&addresses).map(|(name, address)| {
        let mut config = bench.config(name, &[]);
        config.quic_addr = *address;
        config.peers = addresses.iter().map(ToString::to_string).collect();
        (config.expect, config.ca_dir) = (3, Some(ca.clone()));
        config
    });
    let nodes = join_all(configs.map(begin)).await;
    let mut nodes: Vec<_> = nodes.into_iter().map(|node| node.expect("it starts")).collect();
    until("there is a leader", || nodes.iter().all(|node| node.state().lead().is_some())).await;
    let token = token(&bench.dir("a"), HOUR_MS, None).await.expose();
    let guest = begin(bench.invited("guest", &[&nodes[0]], &token)).await.expect("it joins");

    let leader = nodes[0].state().lead().expect("a leader").node;
    let leading = nodes.iter().position(|node| node.id() == leader).expect("one of the three");
    nodes.remove(leading).shutdown().await;
    let led = |node: &Node| node.state().lead().is_some_and(|lead| lead.node != leader);
    until("another one leads", || nodes.iter().all(led)).await;

    // The guest holds no key: it names those that do.
    let late = begin(bench.invited("late", &[&guest], &token)).await;
    assert!(refusal(late).contains("used already"));
    assert!(guest.state().tokens().values().all(|token| token.used.is_some()));
    guest.shutdown().await;
    for node in nodes {
        node.shutdown().await;
    }
}

/// A command of the CLI beside the node whose data directory this is: its status, and what it says.
async fn cli(dir: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_apolo"));
    command.arg("token").args(words).arg("--data-dir").arg(dir).env_clear();
    let output = timeout(DEADLINE, command.output()).await.expect("it ends").expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cli_prints_a_token_alone_and_lists_and_revokes_it() {
    let bench = Bench::new().await;
    let one = begin(bench.config("one", &[])).await.expect("it starts");
    let dir = bench.dir("one");

    let (status, token, hints) = cli(&dir, &["create", "--ttl", "30m", "--name", "two"]).await;
    assert_eq!(status, Some(0), "{hints}");
    let parsed: JoinToken = token.trim_end().parse().expect("a token, and nothing else");
    assert_eq!(token, format!("{}\n", parsed.expose()));
    let id = parsed.id.to_string();
    assert!(hints.contains(&id) && !hints.contains(token.split('.').nth(2).expect("a secret")));

    let (_, listed, _) = cli(&dir, &["list"]).await;
    assert!(listed.contains(&id) && listed.contains("two"), "{listed}");
    let (_, json, _) = cli(&dir, &["list", "--json"]).await;
    let rows: Vec<TokenRow> = serde_json::from_str(&json).expect("JSON");
    assert_eq!((rows.len(), rows[0].used_at), (1, None));
    let (status, said, _) = cli(&dir, &["revoke", &id]).await;
    assert!(status == Some(0) && said.contains(&id), "{said}");
    let (status, _, said) = cli(&dir, &["revoke", &id]).await;
    assert_eq!(status, Some(1), "{said}");
    assert_eq!(cli(&dir, &["create", "--ttl", "25h"]).await.0, Some(64));
    one.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_leaf_has_ended_is_let_in_again_by_a_token_for_its_name() {
    let bench = Bench::new().await;
    let one = begin(bench.config("one", &[])).await.expect("it starts");
    let dir = bench.dir("one");
    let first = token(&dir, HOUR_MS, None).await.expose();
    let two = begin(bench.invited("two", &[&one], &first)).await.expect("it joins");
    let id = two.id();
    two.shutdown().await;
    let authority = Authority::load(&dir.join("ca"), UnixMillis::now()).expect("an authority");
    let kept = Kept::load(&bench.dir("two")).expect("readable").expect("a leaf");
    let request = SigningRequest::new(kept.identity()).expect("a request");
    let long_ago = UnixMillis(UnixMillis::now().0 - 2 * HOUR_MS);
    let lifetime = Duration::from_hours(1);
    let chain = authority.sign(request.der(), kept.identity(), lifetime, long_ago);
    let ended = Kept::new(request.accept(chain.expect("signed")), kept.authorities().to_vec());
    ended.expect("a leaf").save(&bench.dir("two")).expect("it is kept");

    let error = begin(bench.config("two", &[&one])).await.expect_err("its leaf has ended");
    assert!(error.is_usage() && error.to_string().contains("--name two"), "{error}");
    let unnamed = token(&dir, HOUR_MS, None).await.expose();
    let refused = refusal(begin(bench.invited("two", &[&one], &unnamed)).await);
    assert!(refused.contains("--name two"), "{refused}");

    let named = token(&dir, HOUR_MS, Some("two")).await.expose();
    let two = begin(bench.invited("two", &[&one], &named)).await.expect("it is let in again");
    assert_eq!(two.id(), id);
    two.shutdown().await;
    one.shutdown().await;
}
