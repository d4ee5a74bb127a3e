//! The processes.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use apolo::{http::View, model::UnixMillis, simulator::Simulator, transport::Authority};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use crate::kills::{Life, Records};

/// Below the range that the kernel gives out by itself, so that nobody else takes them meanwhile.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How long a node may take to answer a question.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The nodes of a cluster, of which some may be dead.
pub(super) struct Nodes {
    program: PathBuf,
    directory: PathBuf,
    api: String,
    peers: String,
    pub(super) nodes: Vec<Node>,
}

pub(super) struct Node {
    pub(super) name: String,
    http: SocketAddr,
    quic: SocketAddr,
    pub(super) child: Option<Child>,
    lives: Vec<PathBuf>,
}

impl Nodes {
    pub(super) fn new(
        program: &Path,
        directory: &Path,
        count: usize,
        simulator: &Simulator,
    ) -> io::Result<Self> {
        let now = UnixMillis::now();
        Authority::create(&directory.join("ca"), now).map_err(io::Error::other)?;
        let mut random = StdRng::seed_from_u64(now.0);
        let nodes = (1..=count).map(|nth| {
            let (http, quic) = (free_port(&mut random)?, free_port(&mut random)?);
            let name = format!("node-{nth}");
            Ok(Node { name, http, quic, child: None, lives: Vec::new() })
        });
        let nodes: Vec<Node> = nodes.collect::<io::Result<_>>()?;
        let peers: Vec<_> = nodes.iter().map(|node| node.quic.to_string()).collect();
        Ok(Self {
            program: program.to_owned(),
            directory: directory.to_owned(),
            api: simulator.api_url(),
            peers: peers.join(","),
            nodes,
        })
    }

    pub(super) fn start(&mut self, nth: usize) -> io::Result<()> {
        let node = &mut self.nodes[nth];
        let life = node.lives.len();
        let records = self.directory.join(format!("{}-records-{life}", node.name));
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.join(format!("{}.log", node.name)))?;
        let child = Command::new(&self.program)
            .arg("victim")
            .arg("--records")
            .arg(&records)
            .env_clear()
            .env("DISCORD_TOKEN", "victim")
            .env("DISCORD_API", &self.api)
            .env("POD_NAME", &node.name)
            .env("APOLO_PEERS", &self.peers)
            .env("APOLO_EXPECT", self.peers.split(',').count().to_string())
            .env("APOLO_VOTERS", self.peers.split(',').count().min(5).to_string())
            .env("APOLO_CA_DIR", self.directory.join("ca"))
            .env("APOLO_DATA_DIR", self.directory.join(&node.name))
            .env("APOLO_HTTP_ADDR", node.http.to_string())
            .env("APOLO_QUIC_ADDR", node.quic.to_string())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        node.lives.push(records);
        node.child = Some(child);
        Ok(())
    }

    /// How the cluster looks from the first living node that answers, and which it is.
    pub(super) async fn view(&self) -> Option<View> {
        for node in self.nodes.iter().filter(|node| node.child.is_some()) {
            if let Some(view) = view(node.http).await {
                return Some(view);
            }
        }
        None
    }

    pub(super) fn index_of(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// What all lives wrote.
    pub(super) fn lives(&self) -> Vec<Life> {
        let files = self.nodes.iter().flat_map(|node| &node.lives);
        let read = |file: &PathBuf| Life {
            records: Records::open(file).map(Iterator::collect).unwrap_or_default(),
            began_ms: 0,
        };
        files.map(read).collect()
    }

    /// The last lines of every node's log.
    pub(super) fn logs(&self, lines: usize) -> String {
        let mut all = String::new();
        for node in &self.nodes {
            let path = self.directory.join(format!("{}.log", node.name));
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let text: Vec<&str> = text.lines().collect();
            let end = text[text.len().saturating_sub(lines)..].join("\n");
            all.push_str(&format!("--- {}\n{end}\n", node.name));
        }
        all
    }
}

/// How things look from the node at `address`.
pub(super) async fn view(address: SocketAddr) -> Option<View> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = "GET /api/v1/status HTTP/1.1\r\nHost: apolo\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let body = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let start = body + answer[body..].iter().position(|byte| *byte == b'{')?;
        let end = answer.iter().rposition(|byte| *byte == b'}')?;
        serde_json::from_slice(&answer[start..=end]).ok()
    };
    timeout(ANSWER_WITHIN, asked).await.ok()?
}

/// A port that is free for TCP and UDP.
fn free_port(random: &mut StdRng) -> io::Result<SocketAddr> {
    const TRIES: usize = 1_000;
    for _ in 0..TRIES {
        let address = SocketAddr::from(([127, 0, 0, 1], random.random_range(PORTS)));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}
