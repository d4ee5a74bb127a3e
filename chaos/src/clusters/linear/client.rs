//! Who asks, one thing at a time, and writes down what came back.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::RngExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::{
    connection::{Connection, Said, understand},
    workload::Workload,
};
use crate::linear::{Answer, Ask, End, Operation};

/// How long most clients wait for an answer: beyond an election, so that the history goes on.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// How long some wait: beyond what a node waits for a leader's word before it asks the next one. Were nobody to wait so
/// long, nodes would give their batches up, and none would be sent twice.
const PATIENT_WITHIN: Duration = Duration::from_secs(7);

/// One client in so many is patient.
const PATIENT: usize = 4;

/// Between two operations of a client, at most: a history is to be longer than its fault, and not much.
const THINK_US_MAX: u64 = 4_000;

/// Behind an attempt that came to nothing.
const BACK_OFF: Duration = Duration::from_millis(10);

/// One operation in so many goes to any node: one client's operations are in order wherever they go.
const ELSEWHERE: u32 = 20;

/// What all clients of a history have come to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) answered: AtomicUsize,
    pub(super) unknown: AtomicUsize,
    pub(super) refused: AtomicUsize,
    pub(super) unread: AtomicUsize,
    /// The clients are to end.
    pub(super) stopping: AtomicBool,
    /// A client has ended with an error, which it returns.
    failed: AtomicBool,
}

impl Tally {
    pub(super) fn is_over(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub(super) struct Client {
    id: usize,
    nodes: Vec<SocketAddr>,
    connections: Vec<Option<Connection>>,
    workload: Workload,
    tally: Arc<Tally>,
    /// The beginning of the history.
    began: Instant,
    operations: Vec<Operation>,
    /// Whom it asks first.
    home: usize,
    /// How many nodes are tried for a connection.
    tries: usize,
}

impl Client {
    pub(super) fn new(
        id: usize,
        nodes: Vec<SocketAddr>,
        workload: Workload,
        tally: Arc<Tally>,
        began: Instant,
    ) -> Self {
        let (tries, connections) = (nodes.len(), nodes.iter().map(|_| None).collect());
        let (home, operations) = (id % tries, Vec::new());
        Self { id, nodes, connections, workload, tally, began, operations, home, tries }
    }

    /// Asks until the tally says to stop.
    ///
    /// # Errors
    ///
    /// An answer that can't be understood.
    pub(super) async fn run(mut self) -> io::Result<Vec<Operation>> {
        while !self.tally.stopping.load(Ordering::Relaxed) && !self.tally.is_over() {
            let random = &mut self.workload.random;
            let think = Duration::from_micros(random.random_range(0..THINK_US_MAX));
            let elsewhere = random.random_ratio(1, ELSEWHERE);
            let other = random.random_range(0..self.nodes.len());
            let node = if elsewhere { other } else { self.home };
            let (key, ask) = self.workload.next();
            match self.ask(node, key, ask).await {
                Ok(true) => sleep(think).await,
                Ok(false) => {
                    // The first client of each node stays: a node that is cut off is asked all the while.
                    if self.id >= self.nodes.len() && node == self.home {
                        self.home = (node + 1) % self.nodes.len();
                    }
                    sleep(BACK_OFF).await;
                }
                Err(error) => {
                    self.tally.failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(self.operations)
    }

    /// Reads every key from a node and no other, each until it is answered.
    ///
    /// # Errors
    ///
    /// An answer that can't be understood.
    pub(super) async fn read_all(mut self, node: usize) -> io::Result<Vec<Operation>> {
        self.tries = 1;
        for key in self.workload.keys() {
            while !self.ask(node, key.clone(), Ask::Get).await? {
                sleep(BACK_OFF).await;
            }
        }
        Ok(self.operations)
    }

    /// Asks a node, or the next one where it does not take connections. Returns whether it was answered.
    async fn ask(&mut self, node: usize, key: String, ask: Ask) -> io::Result<bool> {
        let Some((node, mut connection)) = self.connect(node).await else {
            self.tally.refused.fetch_add(1, Ordering::Relaxed);
            return Ok(false);
        };
        let request = self.workload.request(&key, &ask);
        let called_ns = self.now_ns();
        let patient = self.id % PATIENT == PATIENT - 1;
        let within = if patient { PATIENT_WITHIN } else { ANSWER_WITHIN };
        let asked = timeout(within, connection.ask(&request)).await;
        let at_ns = self.now_ns();
        let said = if let Ok(Ok((status, body))) = asked {
            self.connections[node] = Some(connection);
            understand(&ask, status, &body)?
        } else {
            Said::Unknown
        };
        let end = match said {
            Said::Done(answer) => self.heard(&key, &ask, at_ns, answer),
            Said::Unknown | Said::Nothing if ask == Ask::Get => {
                self.tally.unread.fetch_add(1, Ordering::Relaxed);
                return Ok(false);
            }
            Said::Nothing => {
                self.tally.refused.fetch_add(1, Ordering::Relaxed);
                return Ok(false);
            }
            Said::Unknown => {
                self.tally.unknown.fetch_add(1, Ordering::Relaxed);
                End::Unknown
            }
        };
        let answered = end != End::Unknown;
        self.operations.push(Operation { client: self.id, key, ask, called_ns, end });
        Ok(answered)
    }

    fn heard(&mut self, key: &str, ask: &Ask, at_ns: u64, answer: Answer) -> End {
        self.tally.answered.fetch_add(1, Ordering::Relaxed);
        self.workload.saw(key, ask, &answer);
        End::Returned { at_ns, answer }
    }

    /// A connection to the node or the first behind it that takes one. Nothing was asked on it yet.
    async fn connect(&mut self, first: usize) -> Option<(usize, Connection)> {
        for nth in 0..self.tries {
            let node = (first + nth) % self.nodes.len();
            if let Some(open) = self.connections[node].take() {
                return Some((node, open));
            }
            let opening = timeout(ANSWER_WITHIN, Connection::open(self.nodes[node]));
            if let Ok(Ok(open)) = opening.await {
                return Some((node, open));
            }
        }
        None
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
