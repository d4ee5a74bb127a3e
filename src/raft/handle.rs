//! The one door in and the one door out.

use std::{collections::BTreeMap, fmt, io, sync::Arc, time::Duration};

use openraft::{
    Config, EmptyNode, Raft, SnapshotPolicy,
    errors::{ClientWriteError, InitializeError, RaftError},
};
use thiserror::Error;
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

use crate::{
    model::NodeId,
    state::{Command, Outcome, State, encode_command},
    store::{Backend, Pulse, Recovered},
};

use super::{
    leadership::{Leadership, RaftFailure, observe},
    log::Log,
    machine::Machine,
    network::Network,
    types::{Proposal, Types},
};

/// The most commands that are proposed at once; more are refused. One tick of 448 shards needs a handful.
const IN_FLIGHT_MAX: usize = 256;

/// How long a proposal may take: several elections.
const PROPOSE_WITHIN: Duration = Duration::from_secs(5);

/// The longest command, in bytes: what replicates within a heartbeat's time.
const COMMAND_BYTES_MAX: usize = 128 * 1024;

/// So many bytes are appended between two snapshots, in bytes: 16,000 entries as they are, and 128 of the longest.
/// Beside them the log keeps the last thousand entries before the snapshot for peers that lag.
const SNAPSHOT_BYTES: u64 = 16 * 1024 * 1024;

/// What Raft runs as and on.
#[derive(Debug)]
pub struct Options {
    /// This member. It belongs to the life of a data directory.
    pub node: NodeId,
    /// Where the log is kept.
    pub store: Arc<dyn Backend>,
    /// What the store held when it was opened.
    pub recovered: Recovered,
}

/// Why Raft did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// What the store holds is intact, but this apolo can't read it.
    #[error("failed to read the log: {0}")]
    Unreadable(#[from] io::Error),
    /// openraft refused.
    #[error("failed to start raft: {0}")]
    Raft(String),
}

/// Why a cluster was not formed.
#[derive(Debug, Error)]
pub enum FormError {
    /// The log says that there is one already.
    #[error("this node is a member of a cluster already")]
    AlreadyFormed,
    /// Raft stopped.
    #[error("raft stopped: {0}")]
    Stopped(String),
}

/// Why a command has no outcome.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ProposeError {
    /// This node does not lead.
    #[error("this node does not lead{}", leader.map_or_else(String::new, |leader| format!("; node {leader} does")))]
    NotLeader {
        /// Who does, if it is known.
        leader: Option<NodeId>,
    },
    /// Too many commands wait already. This one was not proposed.
    #[error("{IN_FLIGHT_MAX} commands are in flight already")]
    Overloaded,
    /// It was proposed, and may or may not come to be committed.
    #[error("the outcome is unknown: {why}")]
    Unknown {
        /// What came in between.
        why: &'static str,
    },
    /// It is longer than an entry may be.
    #[error("the command has {bytes} bytes; {COMMAND_BYTES_MAX} are the most")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Raft stopped, and the node must end.
    #[error("raft stopped: {0}")]
    Stopped(String),
}

impl ProposeError {
    /// Whether proposing the same again may succeed. After [`Unknown`](Self::Unknown) it may then be applied twice,
    /// which the state guards against by epochs and growing numbers.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::NotLeader { .. } | Self::Overloaded | Self::Unknown { .. } => true,
            Self::TooLong { .. } | Self::Stopped(_) => false,
        }
    }
}

/// A running Raft. Clones are handles of the same.
#[derive(Clone)]
pub struct Handle {
    node: NodeId,
    raft: Raft<Types, Machine>,
    in_flight: Arc<Semaphore>,
    states: watch::Receiver<Arc<State>>,
    leadership: watch::Receiver<Leadership>,
    failure: watch::Receiver<Option<RaftFailure>>,
    pulse: Pulse,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Handle {
    /// Starts Raft on what the store holds. A sole voter campaigns at once: there is nobody to disturb and nobody to
    /// wait for.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let Options { node, store, recovered } = options;
        let log = Log::new(store.clone(), &recovered).map_err(io::Error::from)?;
        let machine = Machine::new(store.clone(), &recovered)?;
        let appended = log.appended();
        drop(recovered);
        let states = machine.states();
        let config = config().map_err(|error| StartError::Raft(error.to_string()))?;
        let raft = Raft::new(node, Arc::new(config), Network, log, machine)
            .await
            .map_err(|error| StartError::Raft(error.to_string()))?;
        let leadership = watch::Sender::new(Leadership::Following { leader: None });
        let failure = watch::Sender::new(None);
        let handle = Self {
            node,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            states,
            leadership: leadership.subscribe(),
            failure: failure.subscribe(),
            pulse: store.pulse(),
            raft,
        };
        tokio::spawn(bound_log(handle.raft.clone(), appended, handle.failure.clone()));
        // It ends with Raft's core, whose metrics it watches.
        tokio::spawn(observe(handle.raft.metrics(), store.failure(), leadership, failure));
        if handle.is_sole_voter().await? {
            handle
                .raft
                .trigger()
                .elect(false)
                .await
                .map_err(|error| StartError::Raft(error.to_string()))?;
        }
        Ok(handle)
    }

    #[cfg(test)]
    pub(super) const fn raft_for_tests(&self) -> &Raft<Types, Machine> {
        &self.raft
    }

    /// Asks the core, whose metrics say nothing yet when it has just been started.
    async fn is_sole_voter(&self) -> Result<bool, StartError> {
        let node = self.node;
        self.raft
            .with_raft_state(move |state| state.membership_state.effective().voter_ids().eq([node]))
            .await
            .map_err(|error| StartError::Raft(error.to_string()))
    }

    /// Forms a cluster of this node alone. Only ever once, and only where no peer can belong to one already.
    ///
    /// # Errors
    ///
    /// [`FormError::AlreadyFormed`] if the log is not empty.
    pub async fn form(&self) -> Result<(), FormError> {
        let members = BTreeMap::from([(self.node, EmptyNode::default())]);
        match self.raft.initialize(members).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(
                InitializeError::NotAllowed(_) | InitializeError::NotInMembers(_),
            )) => Err(FormError::AlreadyFormed),
            Err(RaftError::Fatal(fatal)) => Err(FormError::Stopped(fatal.to_string())),
        }
    }

    /// Whether this node is a member of a cluster: if not, it may form one or join one.
    ///
    /// # Errors
    ///
    /// [`FormError::Stopped`].
    pub async fn is_formed(&self) -> Result<bool, FormError> {
        self.raft.is_initialized().await.map_err(|fatal| FormError::Stopped(fatal.to_string()))
    }

    /// Proposes a command, and returns what applying it did. By then it is durable, and part of
    /// [`states`](Self::states). Dropping the future does not take the command back.
    ///
    /// # Errors
    ///
    /// [`ProposeError`].
    pub async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        let bytes = encode_command(&command).len();
        if bytes > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLong { bytes });
        }
        let _slot = self.in_flight.try_acquire().map_err(|_| ProposeError::Overloaded)?;
        let written = timeout(PROPOSE_WITHIN, self.raft.client_write(Proposal(command))).await;
        match written {
            Ok(Ok(response)) => Ok(response.data),
            Ok(Err(RaftError::APIError(error))) => Err(refused(&error)),
            Ok(Err(RaftError::Fatal(fatal))) => Err(ProposeError::Stopped(fatal.to_string())),
            Err(_elapsed) => Err(ProposeError::Unknown { why: "it took too long" }),
        }
    }

    /// The state, after every batch of entries that was applied.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<Arc<State>> {
        self.states.clone()
    }

    /// Who leads.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Whether this node leads, and has applied an entry of its own term.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        matches!(*self.leadership.borrow(), Leadership::Leading { .. })
    }

    /// This member.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.node
    }

    /// Why Raft does not run any more, where it doesn't.
    #[must_use]
    pub fn failure(&self) -> Option<RaftFailure> {
        self.failure.borrow().clone()
    }

    /// How long the disk has taken over the write that is under way, where one is.
    #[must_use]
    pub fn write_under_way(&self) -> Option<Duration> {
        self.pulse.under_way()
    }

    /// Waits until Raft has failed or was shut down. The process must end then: nothing is durable any more.
    pub async fn fatal(&self) -> RaftFailure {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_else(|| RaftFailure::Core("unknown".to_owned())),
            Err(_) => RaftFailure::Core("its observer has ended".to_owned()),
        }
    }

    /// Writes a snapshot soon, whatever the policy says.
    ///
    /// # Errors
    ///
    /// [`ProposeError::Stopped`].
    pub async fn snapshot(&self) -> Result<(), ProposeError> {
        let triggered = self.raft.trigger().snapshot().await;
        triggered.map_err(|fatal| ProposeError::Stopped(fatal.to_string()))
    }

    /// Stops Raft. What was acknowledged is durable already.
    pub async fn shutdown(&self) {
        // It reports only that the core had panicked, and `fatal` has told that.
        let _joined = self.raft.shutdown().await;
    }
}

/// Asks for a snapshot whenever so much was appended that a restart, or a peer that needs all of it, would feel it. The
/// policy counts entries alone, and 5,000 of the longest have 640 MiB.
async fn bound_log(
    raft: Raft<Types, Machine>,
    appended: watch::Sender<u64>,
    mut failure: watch::Receiver<Option<RaftFailure>>,
) {
    let mut seen = appended.subscribe();
    loop {
        tokio::select! {
            _ = failure.wait_for(Option::is_some) => return,
            full = seen.wait_for(|bytes| *bytes >= SNAPSHOT_BYTES) => if full.is_err() { return },
        }
        appended.send_replace(0);
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}

fn refused(error: &ClientWriteError<Types>) -> ProposeError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => {
            ProposeError::NotLeader { leader: forward.leader_id }
        }
        ClientWriteError::LogEntryDiscarded(_) => {
            ProposeError::Unknown { why: "another leader took over" }
        }
        ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_) => {
            ProposeError::Unknown { why: "raft took it for a change of membership" }
        }
    }
}

/// The profile `lan`. A follower takes over when it has heard nothing for the lease (the longest election timeout) and
/// an election timeout more.
fn config() -> Result<Config, openraft::ConfigError> {
    let election_timeout_max = 500;
    Config {
        cluster_name: "apolo".to_owned(),
        heartbeat_interval: 100,
        election_timeout_min: 250,
        election_timeout_max,
        enable_pre_vote: Some(true),
        // A leader that lost its quorum falls silent for this long, so that another can be elected (openraft#2080).
        quorum_loss_probe_interval: Some(2 * election_timeout_max + 200),
        // Leading without an election would be leading on a state that may lack committed entries.
        enable_leader_restore: Some(false),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(5000),
        replication_lag_threshold: 6000,
        max_in_snapshot_log_to_keep: 1000,
        purge_batch_size: 256,
        install_snapshot_timeout: 5000,
        backoff: "50ms 100ms 200ms ...500ms".to_owned(),
        ..Config::default()
    }
    .validate()
}
