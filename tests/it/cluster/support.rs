//! Nodes that can be started, killed and started again on what they have stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use apolo::{
    cluster::{
        Answer, Candidates, Directory, Outcome, Question, Seek, SeekError, Standing, Waiting,
        directory,
    },
    model::{BootEpoch, ClusterId, NodeId},
    store::{Backend, Done, Memory, Promise, Snapshot, Write, WriteError},
    transport::{Identity, Options, SimulatedNetwork, Transport},
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// On the paused clock this costs nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) const X: ClusterId = ClusterId(Uuid::from_u128(0xa));
pub(crate) const Y: ClusterId = ClusterId(Uuid::from_u128(0xb));

pub(crate) fn at(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 7400))
}

pub(crate) fn candidates(hosts: &[u8]) -> Candidates {
    let peer = |host: &u8| format!("10.0.0.{host}").parse().expect("a peer");
    Candidates::new(hosts.iter().map(peer).collect(), None)
}

/// Which clusters have been formed, with which members: what Raft would tell.
pub(crate) type Formed = watch::Sender<BTreeMap<ClusterId, BTreeSet<NodeId>>>;

/// One node's command line and disk.
#[derive(Clone)]
pub(crate) struct Pod {
    pub(crate) network: SimulatedNetwork,
    pub(crate) formed: Arc<Formed>,
    pub(crate) id: u64,
    pub(crate) host: u8,
    pub(crate) name: String,
    pub(crate) peers: Candidates,
    pub(crate) expect: usize,
    pub(crate) store: Memory,
    pub(crate) lost: Option<ClusterId>,
    pub(crate) boot: u64,
}

/// Some nodes that are given the same command line, and their network.
pub(crate) fn pods(count: u8, expect: usize) -> Vec<Pod> {
    let network = SimulatedNetwork::new(7);
    let formed = Arc::new(watch::Sender::new(BTreeMap::new()));
    let hosts: Vec<_> = (1..=count).collect();
    let pod = |host: u8| Pod {
        network: network.clone(),
        formed: formed.clone(),
        id: u64::from(host),
        host,
        name: format!("node-{host}"),
        peers: candidates(&hosts),
        expect,
        store: Memory::default(),
        lost: None,
        boot: 1,
    };
    hosts.iter().map(|host| pod(*host)).collect()
}

/// What a node has come to.
#[derive(Clone, Debug, Default)]
pub(crate) enum Stage {
    #[default]
    Seeking,
    Done(Outcome),
}

/// A node that runs. Dropped, it goes on; [`Running::kill`] ends it without a word.
pub(crate) struct Running {
    pub(crate) pod: Pod,
    pub(crate) waiting: watch::Receiver<Option<Waiting>>,
    pub(crate) stage: watch::Receiver<Stage>,
    pub(crate) directory: watch::Receiver<Option<Directory>>,
    task: JoinHandle<()>,
}

impl Pod {
    fn standing(&self) -> Standing {
        match (self.store.recovered().promise, self.lost) {
            (Some(promise), _) => Standing::Promised(promise),
            (None, Some(cluster)) => Standing::Lost(Some(cluster)),
            (None, None) => Standing::Empty,
        }
    }

    pub(crate) fn transport(&self, identity: Identity) -> Transport {
        let socket = self.network.join(at(self.host), identity);
        let mut options = Options::simulated(socket, BootEpoch(self.boot));
        options.seed = Some(self.id);
        Transport::start(options).expect("a transport")
    }

    /// Starts the node, which becomes a member as the real one does.
    pub(crate) fn start(&self) -> Running {
        self.start_with(Arc::new(self.store.clone()))
    }

    pub(crate) fn start_with(&self, store: Arc<dyn Backend>) -> Running {
        let (waits, waiting) = watch::channel(None);
        let (stages, stage) = watch::channel(Stage::Seeking);
        let (directories, directory) = watch::channel(None);
        let pod = self.clone();
        let task = tokio::spawn(async move {
            let joiner = pod.transport(Identity::joiner(NodeId(pod.id)));
            let seek = pod.seek(joiner.clone(), store, waits);
            let outcome = seek.run(CancellationToken::new()).await.expect("an outcome");
            joiner.stop().await;
            stages.send_replace(Stage::Done(outcome.clone()));
            pod.belong(outcome, &directories).await;
        });
        Running { pod: self.clone(), waiting, stage, directory, task }
    }

    pub(crate) fn seek(
        &self,
        transport: Transport,
        store: Arc<dyn Backend>,
        waiting: watch::Sender<Option<Waiting>>,
    ) -> Seek {
        Seek {
            transport,
            store,
            candidates: self.peers.clone(),
            expect: self.expect,
            name: self.name.clone(),
            standing: self.standing(),
            seed: Some(u64::from(self.host) + 100 * self.boot),
            waiting,
        }
    }

    /// What the node does with an outcome. Raft is a table of what was formed.
    async fn belong(self, outcome: Outcome, directories: &watch::Sender<Option<Directory>>) {
        let (cluster, promise) = match outcome {
            Outcome::Formed { promise, founder } => {
                if founder {
                    let members = promise.members.keys().copied().collect();
                    self.formed.send_modify(|formed| {
                        let before = formed.insert(promise.cluster, members);
                        assert!(before.is_none(), "formed twice");
                    });
                }
                (promise.cluster, Some(promise))
            }
            Outcome::Join { cluster, .. } => (cluster, None),
        };
        let transport = self.transport(Identity::server(cluster, NodeId(self.id)));
        let (tell, members) = watch::channel(BTreeSet::new());
        let stop = CancellationToken::new();
        let options = directory::Options {
            transport,
            candidates: self.peers.clone(),
            name: self.name.clone(),
            members,
            promise,
        };
        let (directory, _task) = Directory::start(options, stop.clone());
        let _end = stop.drop_guard();
        directories.send_replace(Some(directory));
        let mut formed = self.formed.subscribe();
        loop {
            let found = formed.borrow_and_update().get(&cluster).cloned();
            tell.send_replace(found.unwrap_or_default());
            if formed.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Running {
    /// What it has come to, within the test's patience.
    pub(crate) async fn outcome(&self) -> Outcome {
        let mut stage = self.stage.clone();
        let what = format!("{} becomes a member", self.pod.name);
        let waiting = self.waiting.clone();
        let done =
            tokio::time::timeout(PATIENCE, stage.wait_for(|stage| matches!(stage, Stage::Done(_))));
        match done.await {
            Ok(Ok(stage)) => match &*stage {
                Stage::Done(outcome) => outcome.clone(),
                Stage::Seeking => panic!("it was waited for"),
            },
            Ok(Err(_)) => panic!("never: {what}: it has ended"),
            Err(_) => {
                panic!("never: {what}: {:?}", waiting.borrow().as_ref().map(ToString::to_string))
            }
        }
    }

    pub(crate) fn is_seeking(&self) -> bool {
        matches!(*self.stage.borrow(), Stage::Seeking)
    }

    /// Waits until it waits for what is `wanted`.
    pub(crate) async fn waits(&self, wanted: impl Fn(&Waiting) -> bool) -> Waiting {
        let mut waiting = self.waiting.clone();
        let wanted = |waiting: &Option<Waiting>| waiting.as_ref().is_some_and(&wanted);
        let found = tokio::time::timeout(PATIENCE, waiting.wait_for(wanted)).await;
        match found {
            Ok(Ok(found)) => found.clone().expect("it was wanted"),
            _ => panic!("{} waits for {:?}", self.pod.name, *self.waiting.borrow()),
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(self) -> Pod {
        self.task.abort();
        self.pod.network.kill(at(self.pod.host));
        Pod { boot: self.pod.boot + 1, ..self.pod }
    }
}

/// Lets time pass on the paused clock, for what must never happen.
pub(crate) async fn a_minute() {
    sleep(Duration::from_secs(60)).await;
}

pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The promise of an outcome that is one, and whether the node is the founder.
pub(crate) fn formed(outcome: Outcome) -> (Promise, bool) {
    match outcome {
        Outcome::Formed { promise, founder } => (promise, founder),
        Outcome::Join { .. } => panic!("it joined"),
    }
}

/// A question that a stranger at `host` asks, and what it is answered.
pub(crate) async fn ask(from: &Transport, host: u8, question: &Question) -> Result<Answer, String> {
    let meeting = from.meet(at(host), PATIENCE).await.map_err(|error| error.to_string())?;
    let bytes = meeting.ask(&question.encode(), PATIENCE).await;
    Ok(Answer::decode(&bytes.map_err(|error| error.to_string())?).expect("an answer"))
}

/// A disk that never comes back from a write.
pub(crate) struct Stuck(pub(crate) std::sync::Mutex<Vec<Done>>);

impl std::fmt::Debug for Stuck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stuck").finish_non_exhaustive()
    }
}

impl Backend for Stuck {
    fn submit(&self, _: Write, done: Done) {
        self.0.lock().expect("no panic").push(done);
    }

    fn save_snapshot(&self, _: &Snapshot) -> Result<(), WriteError> {
        Ok(())
    }

    fn failure(&self) -> watch::Receiver<Option<WriteError>> {
        watch::Sender::new(None).subscribe()
    }
}

pub(crate) type Sought = Result<Outcome, SeekError>;
