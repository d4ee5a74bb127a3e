//! The processes that talk, and the simulated Discord whose shards they run.

use std::time::Duration;

use apolo::{
    ShardTotal, UnixMillis,
    simulator::{Options, Simulator},
    transport::Authority,
};
use tempfile::TempDir;
use tokio::time::timeout;

use super::{
    apolo::Place,
    bare,
    peer::{Answer, Ask, Part, Seat},
};
use crate::{
    Failure,
    child::{established, until},
    ports,
    process::Process,
    server::Server,
};

/// Some, so that a node has work besides, as little as an idle bot's.
const EVENTS_PER_SECOND: f64 = 1.0;

/// A thousand shards are ready within some seconds.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Nodes of one cluster, each a process. The first one answers, the others ask.
pub(super) struct Peers {
    processes: Vec<Process>,
    pub(super) redis: Option<Server>,
    pub(super) nats: Option<Server>,
    simulator: Simulator,
    _directory: TempDir,
}

/// Whether there is anybody to be compared with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rivals {
    All,
    None,
}

fn discord(shards: u32) -> Result<Options, Failure> {
    Ok(Options {
        guilds: u64::from(shards),
        recommended_shards: ShardTotal::new(shards)?,
        event_rate: EVENTS_PER_SECOND,
        max_concurrency: shards,
        // A start of all of them, and as many again.
        session_start_total: 2 * shards,
        session_start_remaining: 2 * shards,
        ..Options::default()
    })
}

impl Peers {
    /// Starts so many nodes, and waits until all shards are ready.
    pub(super) async fn start(nodes: usize, shards: u32, rivals: Rivals) -> Result<Self, Failure> {
        let directory = TempDir::new()?;
        let authority = directory.path().join("ca");
        Authority::create(&authority, UnixMillis::now())?;
        let simulator = Simulator::start(discord(shards)?).await?;
        let (redis, nats, bare) = match rivals {
            Rivals::All => (
                Server::redis(directory.path()).await?,
                Server::nats(directory.path()).await?,
                Some(bare::Place::new(ports::free(1)?[0])?),
            ),
            Rivals::None => (None, None, None),
        };
        let addresses = ports::free(2 * nodes)?;
        let (http, quic) = addresses.split_at(nodes);
        let mut processes = Vec::new();
        for nth in 0..nodes {
            let name = format!("node-{}", nth + 1);
            let log = directory.path().join(format!("{name}.log"));
            let apolo = Place {
                data: directory.path().join(&name),
                name,
                authority: authority.clone(),
                discord: simulator.api_url(),
                http: http[nth],
                quic: quic[nth],
                peers: quic.to_vec(),
                shards,
            };
            let seat = Seat {
                part: if nth == 0 { Part::Answers } else { Part::Asks },
                apolo,
                redis: redis.as_ref().map(|server| server.address),
                nats: nats.as_ref().map(|server| server.address),
                bare: bare.clone(),
            };
            processes.push(Process::start("--peer", &seat, log)?);
        }
        let mut peers = Self { processes, redis, nats, simulator, _directory: directory };
        peers.all_answer().await?;
        let all = |truth: &_| established(truth) == shards as usize;
        let ready = timeout(READY_WITHIN, until(&peers.simulator, "all shards", all)).await;
        // A process that has ended explains why they are not.
        peers.all_answer().await?;
        ready.map_err(|_| "the shards did not become ready")??;
        Ok(peers)
    }

    async fn all_answer(&mut self) -> Result<(), Failure> {
        for nth in 0..self.len() {
            self.ask(nth, Ask::Ready).await?;
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.processes.len()
    }

    pub(super) async fn ask(&mut self, nth: usize, ask: Ask) -> Result<Answer, Failure> {
        match self.processes[nth].ask(&ask).await? {
            Answer::Failed(why) => Err(format!("{ask:?} failed: {why}").into()),
            answer => Ok(answer),
        }
    }
}
