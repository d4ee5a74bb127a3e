//! Three real nodes, `apolo join` each, with a simulated Discord in this process.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use apolo::{
    UnixMillis,
    http::{Role, View},
    simulator::Simulator,
    transport::Authority,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    process::Child,
    time::{Instant, sleep},
};

use crate::{
    Failure,
    child::{established, until},
    mortal, ports,
};

const NODES: usize = 3;

/// Shows the nodes' API who may change something.
const API_TOKEN: &str = "a.benchmark.api.token";

/// Handing shards over, and coming back, take seconds.
const WELL_WITHIN: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A running cluster, of which one node may be dead.
pub(crate) struct Cluster {
    pub(crate) simulator: Simulator,
    nodes: Vec<Node>,
    shards: usize,
    client: reqwest::Client,
    directory: TempDir,
}

struct Node {
    name: String,
    http: SocketAddr,
    quic: SocketAddr,
    process: Option<Child>,
}

/// A line of a node's log.
pub(crate) struct Line {
    /// Milliseconds since 1970.
    pub(crate) at: f64,
    pub(crate) fields: Value,
}

impl Cluster {
    /// Starts all nodes, and waits until every shard is ready.
    pub(crate) async fn start(simulator: Simulator, shards: usize) -> Result<Self, Failure> {
        let directory = TempDir::new()?;
        Authority::create(&directory.path().join("ca"), UnixMillis::now())?;
        let addresses = ports::free(2 * NODES)?;
        let nodes = (1..).zip(addresses.chunks(2)).map(|(nth, pair)| Node {
            name: format!("node-{nth}"),
            http: pair[0],
            quic: pair[1],
            process: None,
        });
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        let nodes = nodes.collect();
        let mut cluster = Self { simulator, nodes, shards, client, directory };
        for node in 0..NODES {
            cluster.launch(node)?;
        }
        let all = |truth: &_| established(truth) == shards;
        until(&cluster.simulator, "all shards ready", all).await?;
        Ok(cluster)
    }

    pub(crate) fn launch(&mut self, node: usize) -> Result<(), Failure> {
        let peers: Vec<_> = self.nodes.iter().map(|node| node.quic.to_string()).collect();
        let (directory, log) = (self.directory.path(), self.log(node));
        let node = &mut self.nodes[node];
        let child = mortal::command(env!("CARGO_BIN_EXE_apolo"), &log)?
            .arg("join")
            .args(peers)
            .args(["--expect", &NODES.to_string(), "--name", &node.name])
            .args(["--http-addr", &node.http.to_string(), "--quic-addr", &node.quic.to_string()])
            .args(["--total-shards", &self.shards.to_string(), "--log-format", "json"])
            .args(["--bot-addr", "none"])
            .arg("--ca-dir")
            .arg(directory.join("ca"))
            .arg("--data-dir")
            .arg(directory.join(&node.name))
            .env("DISCORD_TOKEN", "a.benchmark.token")
            .env("DISCORD_API", self.simulator.api_url())
            .env("APOLO_API_TOKEN", API_TOKEN)
            .spawn()?;
        node.process = Some(child);
        Ok(())
    }

    /// `kill -9`. When that was, in milliseconds since 1970.
    pub(crate) async fn kill(&mut self, node: usize) -> Result<f64, Failure> {
        let mut process = self.nodes[node].process.take().ok_or("the node is dead")?;
        let at = UnixMillis::now().0 as f64;
        process.start_kill()?;
        process.wait().await?;
        Ok(at)
    }

    pub(crate) fn name(&self, node: usize) -> &str {
        &self.nodes[node].name
    }

    /// Moves all shards to one node that does not lead, and returns it.
    pub(crate) async fn gather(&self) -> Result<usize, Failure> {
        let deadline = Instant::now() + WELL_WITHIN;
        let mut asked = None;
        loop {
            let view = self.view().await;
            if let Some(view) = view.filter(is_whole) {
                let leads = |node: usize| {
                    let row = view.nodes.iter().find(|row| row.name == self.nodes[node].name);
                    row.is_some_and(|row| row.role == Role::Leader)
                };
                let home = asked.filter(|node| !leads(*node));
                let home = home.or_else(|| (0..NODES).find(|node| !leads(*node)));
                let home = home.ok_or("everybody leads")?;
                // A node that has just come answers before it knows of the others.
                if asked != Some(home) && self.empty_all_but(home).await.is_ok() {
                    asked = Some(home);
                }
                let name = &self.nodes[home].name;
                let ready = established(&self.simulator.truth()) == self.shards;
                let row = view.nodes.iter().find(|row| row.name == *name);
                if ready && asked == Some(home) && row.is_some_and(|row| row.shards == self.shards)
                {
                    return Ok(home);
                }
            }
            if Instant::now() >= deadline {
                return Err("the shards did not gather on one node".into());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn view(&self) -> Option<View> {
        let node = self.nodes.iter().find(|node| node.process.is_some())?;
        let answer = self.client.get(format!("http://{}/api/v1/status", node.http)).send();
        answer.await.ok()?.json().await.ok()
    }

    /// An operator wants the others empty; they stay the last resort of shards that nobody runs.
    async fn empty_all_but(&self, home: usize) -> Result<(), Failure> {
        for (nth, node) in self.nodes.iter().enumerate() {
            let change = if nth == home { "undrain" } else { "drain" };
            let url = format!("http://{}/api/v1/{change}/{}", self.nodes[home].http, node.name);
            self.client.post(url).bearer_auth(API_TOKEN).send().await?.error_for_status()?;
        }
        Ok(())
    }

    fn log(&self, node: usize) -> PathBuf {
        self.directory.path().join(format!("{}.log", self.nodes[node].name))
    }

    /// What all nodes have logged since then.
    pub(crate) fn lines(&self, since: f64) -> Result<Vec<Line>, Failure> {
        let mut lines = Vec::new();
        for node in 0..NODES {
            let text = fs::read_to_string(self.log(node))?;
            let fields = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let timed = fields.filter_map(|fields| {
                let at: jiff::Timestamp = fields["timestamp"].as_str()?.parse().ok()?;
                Some(Line { at: at.as_microsecond() as f64 / 1e3, fields })
            });
            lines.extend(timed.filter(|line| line.at >= since));
        }
        Ok(lines)
    }
}

impl Line {
    pub(crate) fn says(&self, message: &str) -> bool {
        self.fields["message"].as_str().is_some_and(|said| said.starts_with(message))
    }
}

/// Everybody is there, and somebody leads.
fn is_whole(view: &View) -> bool {
    view.leader.is_some()
        && view.nodes.iter().filter(|row| !row.lost).count() == NODES
        && view.nodes.iter().any(|row| row.role == Role::Leader)
}
