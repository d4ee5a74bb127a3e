//! The processes.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use apolo::{Format, http::View, model::UnixMillis, simulator::Simulator, transport::Authority};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use super::upgrade::Earlier;
use crate::kills::{Life, Record, Records};

/// Below the range that the kernel gives out by itself, so that nobody else takes them meanwhile.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// What a change through the nodes' HTTP port must show.
pub(super) const API_TOKEN: &str = "chaos";

const LOG_LINES: usize = 12;

/// How long a node may take to answer a question.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The nodes of a cluster, of which some may be dead.
pub(super) struct Nodes {
    program: PathBuf,
    directory: PathBuf,
    api: String,
    /// So many form the cluster: the first ones, whose addresses all are told.
    pub(super) expect: usize,
    /// What nodes run that are not yet upgraded.
    pub(super) earlier: Option<Earlier>,
    /// Settings beside the usual ones.
    settings: Vec<(&'static str, String)>,
    pub(super) nodes: Vec<Node>,
}

pub(super) struct Node {
    pub(super) name: String,
    http: SocketAddr,
    quic: SocketAddr,
    pub(super) child: Option<Child>,
    data: PathBuf,
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
            let data = directory.join(&name);
            Ok(Node { name, http, quic, child: None, data, lives: Vec::new() })
        });
        let nodes: Vec<Node> = nodes.collect::<io::Result<_>>()?;
        Ok(Self {
            program: program.to_owned(),
            directory: directory.to_owned(),
            api: simulator.api_url(),
            expect: count,
            earlier: None,
            settings: Vec::new(),
            nodes,
        })
    }

    /// Another value of a setting, from each node's next start on.
    pub(super) fn set(&mut self, name: &'static str, value: String) {
        self.settings.push((name, value));
    }

    /// The first nodes' addresses, as each node is told.
    fn peers(&self) -> String {
        let first = self.nodes.iter().take(self.expect);
        let peers: Vec<_> = first.map(|node| node.quic.to_string()).collect();
        peers.join(",")
    }

    /// In the order of the nodes.
    pub(super) fn quic_ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.quic.port()).collect()
    }

    /// Where the nodes answer, in their order.
    pub(super) fn http_addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.http).collect()
    }

    /// Other addresses for all, from their next start on.
    pub(super) fn readdress(&mut self) -> io::Result<()> {
        let mut random = StdRng::seed_from_u64(UnixMillis::now().0);
        for node in &mut self.nodes {
            node.quic = free_port(&mut random)?;
        }
        Ok(())
    }

    /// Another data directory, from the next start on.
    pub(super) fn keep_data_in(&mut self, nth: usize, directory: PathBuf) {
        self.nodes[nth].data = directory;
    }

    /// Keeps a copy of what a node that does not run has on its disk.
    pub(super) fn copy(&self, nth: usize) -> io::Result<()> {
        copy_tree(&self.nodes[nth].data, &self.kept(nth))
    }

    /// Puts the copy back.
    pub(super) fn restore(&self, nth: usize) -> io::Result<()> {
        self.wipe(nth)?;
        copy_tree(&self.kept(nth), &self.nodes[nth].data)
    }

    fn kept(&self, nth: usize) -> PathBuf {
        self.directory.join(format!("{}-copy", self.nodes[nth].name))
    }

    /// Removes what a node that does not run has on its disk.
    pub(super) fn wipe(&self, nth: usize) -> io::Result<()> {
        std::fs::remove_dir_all(&self.nodes[nth].data)
    }

    pub(super) fn start(&mut self, nth: usize) -> io::Result<()> {
        self.start_as(nth, None)
    }

    /// Starts a node as it was before an upgrade.
    pub(super) fn start_earlier(&mut self, nth: usize) -> io::Result<()> {
        self.start_as(nth, self.earlier.clone())
    }

    fn start_as(&mut self, nth: usize, earlier: Option<Earlier>) -> io::Result<()> {
        let (program, format_max) = match earlier {
            None => (self.program.clone(), Format::MAX),
            Some(Earlier::Bounded) => (self.program.clone(), Format::MIN),
            Some(Earlier::Program(program)) => (program, Format::MIN),
        };
        let (peers, expect, count) = (self.peers(), self.expect, self.nodes.len());
        let node = &mut self.nodes[nth];
        let life = node.lives.len();
        let records = self.directory.join(format!("{}-records-{life}", node.name));
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.join(format!("{}.log", node.name)))?;
        let child = Command::new(program)
            .arg("victim")
            .arg("--records")
            .arg(&records)
            .arg("--storm")
            .arg(self.directory.join(format!("{}.storm", node.name)))
            .env_clear()
            .env("DISCORD_TOKEN", "victim")
            .env("DISCORD_API", &self.api)
            // Members who come and go are to be counted too.
            .env("DISCORD_INTENTS", "UNPRIVILEGED,GUILD_MEMBERS")
            .env("POD_NAME", &node.name)
            .env("APOLO_PEERS", peers)
            .env("APOLO_EXPECT", expect.to_string())
            .env("APOLO_VOTERS", count.min(5).to_string())
            .env("APOLO_FORMAT_MAX", format_max.to_string())
            .env("APOLO_API_TOKEN", API_TOKEN)
            .env("APOLO_CA_DIR", self.directory.join("ca"))
            .env("APOLO_DATA_DIR", &node.data)
            .env("APOLO_HTTP_ADDR", node.http.to_string())
            .env("APOLO_QUIC_ADDR", node.quic.to_string())
            .envs(self.settings.iter().map(|(name, value)| (*name, value)))
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        node.lives.push(records);
        node.child = Some(child);
        Ok(())
    }

    /// How things look from a node.
    pub(super) async fn view_of(&self, nth: usize) -> Option<View> {
        view(self.nodes[nth].http).await
    }

    /// Asks a node to leave its cluster. Whether it does is its end's to tell.
    pub(super) async fn ask_to_leave(&self, nth: usize) -> Option<()> {
        let asked = ask(self.nodes[nth].http, "POST", "/api/v1/leave");
        timeout(ANSWER_WITHIN, asked).await.ok()?.map(drop)
    }

    /// Those whose process has not been ended.
    pub(super) fn living(&self) -> impl Iterator<Item = usize> {
        let living = self.nodes.iter().enumerate().filter(|(_, node)| node.child.is_some());
        living.map(|(nth, _)| nth)
    }

    pub(super) fn signal(&self, nth: usize, signal: Signal) -> io::Result<()> {
        let id = i32::try_from(self.process(nth)?).map_err(io::Error::other)?;
        Ok(kill(Pid::from_raw(id), signal)?)
    }

    /// A living node's process.
    pub(super) fn process(&self, nth: usize) -> io::Result<u32> {
        let id = self.nodes[nth].child.as_ref().and_then(Child::id);
        id.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// While it is there, the node storms.
    pub(super) fn storm_of(&self, nth: usize) -> PathBuf {
        self.directory.join(format!("{}.storm", self.nodes[nth].name))
    }

    pub(super) fn index_of(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// What all lives wrote.
    pub(super) fn lives(&self) -> Vec<Life> {
        let files = self.nodes.iter().flat_map(|node| &node.lives);
        files.map(|file| Life { records: Records::read(file), began_ms: 0 }).collect()
    }

    /// What a node's last life has written so far.
    pub(super) fn last_life(&self, nth: usize) -> Vec<Record> {
        self.nodes[nth].lives.last().map(|file| Records::read(file)).unwrap_or_default()
    }

    /// The last line of a node's log.
    pub(super) fn last_line(&self, nth: usize) -> String {
        let log = self.directory.join(format!("{}.log", self.nodes[nth].name));
        let text = std::fs::read_to_string(log).unwrap_or_default();
        text.lines().last().unwrap_or_default().to_owned()
    }

    /// The last lines of every node's log.
    pub(super) fn logs(&self) -> String {
        let logs = self.nodes.iter().map(|node| self.directory.join(format!("{}.log", node.name)));
        last_lines(&logs.collect::<Vec<_>>())
    }
}

/// The last lines of each file.
pub(super) fn last_lines(logs: &[PathBuf]) -> String {
    let mut all = String::new();
    for log in logs {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let text: Vec<&str> = text.lines().collect();
        let end = text[text.len().saturating_sub(LOG_LINES)..].join("\n");
        let name = log.file_stem().unwrap_or_default().display();
        all.push_str(&format!("--- {name}\n{end}\n"));
    }
    all
}

/// Copies a directory with all that is in it; what is no file (a socket) is left out.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir(to)?;
    std::fs::set_permissions(to, std::fs::metadata(from)?.permissions())?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// How things look from the node at `address`.
pub(super) async fn view(address: SocketAddr) -> Option<View> {
    let asked = async {
        let answer = ask(address, "GET", "/api/v1/status").await?;
        let body = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let start = body + answer[body..].iter().position(|byte| *byte == b'{')?;
        let end = answer.iter().rposition(|byte| *byte == b'}')?;
        serde_json::from_slice(&answer[start..=end]).ok()
    };
    timeout(ANSWER_WITHIN, asked).await.ok()?
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> Option<Vec<u8>> {
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: apolo\r\nConnection: close\r\nContent-Length: 0\r\n\
         Authorization: Bearer {API_TOKEN}\r\n\r\n"
    );
    request(address, &text).await
}

/// What is answered, until the connection ends.
pub(super) async fn request(address: SocketAddr, text: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(text.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    Some(answer)
}

/// A port that is free for TCP and UDP.
pub(super) fn free_port(random: &mut StdRng) -> io::Result<SocketAddr> {
    const TRIES: usize = 1_000;
    for _ in 0..TRIES {
        let address = SocketAddr::from(([127, 0, 0, 1], random.random_range(PORTS)));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}
