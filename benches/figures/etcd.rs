//! Three etcd processes on this machine, with the durability that they have by default, asked through the JSON gateway
//! of the v3 API over HTTP/1.1 connections that stay open.

use std::{net::SocketAddr, path::Path, process, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    process::Child,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{Failure, member::ATTEMPT_EVERY, mortal, ports};

/// The program, as Debian's etcd-server has it.
const PROGRAM: &str = "etcd";

/// A leader is there, and everybody has what it has.
const WELL_WITHIN: Duration = Duration::from_secs(30);

/// A put that takes longer has failed.
const PUT_WITHIN: Duration = Duration::from_secs(10);

/// One that is sent to see whether there is a leader yet: many are under way at once.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(2);

const FIRST_WITHIN: Duration = Duration::from_secs(30);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The version, or why there is none.
pub(crate) fn version() -> Result<String, String> {
    let output = process::Command::new(PROGRAM).arg("--version").output();
    let output = output.map_err(|error| format!("{PROGRAM} (Debian: etcd-server): {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_owned).ok_or_else(|| format!("{PROGRAM} has no version"))
}

/// The members, of which one may be dead.
pub(crate) struct Etcd {
    members: Vec<Member>,
    client: reqwest::Client,
    words: Vec<&'static str>,
    cluster: String,
    directory: TempDir,
}

struct Member {
    name: String,
    client: SocketAddr,
    peer: SocketAddr,
    process: Option<Child>,
}

impl Etcd {
    /// Starts the members with `words` besides, and waits until one of them leads.
    pub(crate) async fn start(words: &[&'static str]) -> Result<Self, Failure> {
        let addresses = ports::free(6)?;
        let members: Vec<Member> = (1..)
            .zip(addresses.chunks(2))
            .map(|(nth, pair)| Member {
                name: format!("etcd-{nth}"),
                client: pair[0],
                peer: pair[1],
                process: None,
            })
            .collect();
        let named = members.iter().map(|it| format!("{}=http://{}", it.name, it.peer));
        let cluster = named.collect::<Vec<_>>().join(",");
        let client = reqwest::Client::builder().timeout(PUT_WITHIN).build()?;
        let (directory, words) = (TempDir::new()?, words.to_vec());
        let mut etcd = Self { members, client, words, cluster, directory };
        for member in 0..etcd.members.len() {
            etcd.restart(member)?;
        }
        etcd.settled().await?;
        Ok(etcd)
    }

    /// Starts a member that does not run.
    pub(crate) fn restart(&mut self, member: usize) -> Result<(), Failure> {
        let process =
            launch(&self.members[member], &self.cluster, &self.words, self.directory.path())?;
        self.members[member].process = Some(process);
        Ok(())
    }

    /// Waits until everybody is there, one leads, and the others have all that it has. Returns the leader.
    pub(crate) async fn settled(&self) -> Result<usize, Failure> {
        let deadline = Instant::now() + WELL_WITHIN;
        loop {
            let mut leader = None;
            let mut applied = Vec::new();
            for (nth, member) in self.members.iter().enumerate() {
                let asked = self.client.post(url(member, "maintenance/status")).body("{}");
                let Ok(answer) = asked.send().await else { continue };
                let status: Value = serde_json::from_slice(&answer.bytes().await?)?;
                if status["leader"].is_string() && status["leader"] == status["header"]["member_id"]
                {
                    leader = Some(nth);
                }
                applied.push(status["raftAppliedIndex"].clone());
            }
            if let Some(leader) = leader
                && applied.len() == self.members.len()
                && applied.iter().all(|index| *index == applied[0])
            {
                return Ok(leader);
            }
            if Instant::now() >= deadline {
                return Err(format!("{leader:?} leads etcd, {applied:?} are applied").into());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Writers that each put one value of so many bytes after the other: the time that each put took.
    pub(crate) async fn write(
        &self,
        member: usize,
        writers: usize,
        bytes: usize,
        span: Duration,
    ) -> Result<Vec<u32>, Failure> {
        let until = Instant::now() + span;
        let mut tasks = JoinSet::new();
        for writer in 0..writers {
            let url = url(&self.members[member], "kv/put");
            let client = self.client.clone();
            tasks.spawn(async move {
                let mut micros = Vec::new();
                while Instant::now() < until {
                    let began = Instant::now();
                    put(&client, &url, writer, bytes).await?;
                    micros.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
                }
                Ok::<_, reqwest::Error>(micros)
            });
        }
        let mut all = Vec::new();
        while let Some(micros) = tasks.join_next().await {
            all.extend(micros??);
        }
        Ok(all)
    }

    /// Kills a member, has both others write, and returns the time from the kill to the first write that was committed.
    pub(crate) async fn kill(&mut self, member: usize, bytes: usize) -> Result<Duration, Failure> {
        let mut dead = self.members[member].process.take().ok_or("the member is dead")?;
        let killed = Instant::now();
        dead.start_kill()?;
        dead.wait().await?;
        let alive: Vec<_> = self.members.iter().filter(|it| it.process.is_some()).collect();
        let mut attempts = JoinSet::new();
        while killed.elapsed() < FIRST_WITHIN {
            for member in &alive {
                let (client, url) = (self.client.clone(), url(member, "kv/put"));
                attempts.spawn(async move {
                    let put = put(&client, &url, 0, bytes);
                    matches!(tokio::time::timeout(ATTEMPT_WITHIN, put).await, Ok(Ok(())))
                });
            }
            let next = sleep(ATTEMPT_EVERY);
            tokio::pin!(next);
            loop {
                tokio::select! {
                    Some(Ok(done)) = attempts.join_next() => {
                        if done { return Ok(killed.elapsed()) }
                    }
                    () = &mut next => break,
                }
            }
        }
        Err("etcd wrote nothing any more".into())
    }
}

fn url(member: &Member, path: &str) -> String {
    format!("http://{}/v3/{path}", member.client)
}

/// Puts a value. Keys and values of the gateway are base64, and these letters are some.
async fn put(
    client: &reqwest::Client,
    url: &str,
    key: usize,
    bytes: usize,
) -> Result<(), reqwest::Error> {
    let body = json!({ "key": format!("{key:08}"), "value": "A".repeat(bytes.div_ceil(3) * 4) });
    let answer = client.post(url).body(body.to_string()).send().await?.error_for_status()?;
    // The connection is kept only once the answer was read.
    answer.bytes().await.map(drop)
}

fn launch(
    member: &Member,
    cluster: &str,
    words: &[&str],
    directory: &Path,
) -> Result<Child, Failure> {
    let (client, peer) = (format!("http://{}", member.client), format!("http://{}", member.peer));
    let log = directory.join(format!("{}.log", member.name));
    Ok(mortal::command(PROGRAM, &log)?
        .args(["--name", &member.name])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", cluster, "--data-dir"])
        .arg(directory.join(&member.name))
        .args(words)
        .spawn()?)
}
