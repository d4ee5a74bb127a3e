//! The one door in and the one door out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    sync::Arc,
    time::Duration,
};

use openraft::{
    EmptyNode, Instant as _, Raft,
    async_runtime::watch::WatchReceiver as _,
    errors::{ClientWriteError, InitializeError, RaftError},
    impls::ProgressResponder,
    vote::leader_id_std::CommittedLeaderId,
};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep, timeout},
};

use crate::{
    model::{Format, LogIndex, NodeId, Profile, UnixMillis},
    state::{Command, Outcome, State, encode_command},
    store::{Backend, Pulse, Recovered},
    transport::Transport,
};

use super::{
    config::config,
    error::{COMMAND_BYTES_MAX, FormError, IN_FLIGHT_MAX, ProposeError, StartError},
    leadership::{Leadership, RaftFailure, observe},
    log::Log,
    logical::Logical,
    machine::Machine,
    members::Members,
    membership::ask_on,
    network::{Network, Server, serve},
    recover::forgotten,
    standing::Standings,
    types::{Proposal, Types},
};

/// How long a proposal may take: several elections.
pub(super) const PROPOSE_WITHIN: Duration = Duration::from_secs(5);

/// Between two attempts to find the leader for a command.
pub(super) const FIND_LEADER_EVERY: Duration = Duration::from_millis(20);

/// Commands on their way to the leader at once: a quarter of the streams that Raft's own requests share with them.
const FORWARDS_MAX: usize = 8;

/// Batches of what the bot keeps that are proposed at once, of all nodes: what else is proposed waits behind less than a
/// megabyte of them. A batch that finds no place is proposed again.
const USERS_MAX: usize = 8;

/// So many bytes are appended between two snapshots, in bytes: 16,000 entries as they are, and 128 of the longest.
/// Beside them the log keeps the last thousand entries before the snapshot for peers that lag.
const SNAPSHOT_BYTES: u64 = 16 * 1024 * 1024;

/// Called before this node votes in a term, with whether it votes for itself.
pub type OnVote = Arc<dyn Fn(u64, bool) + Send + Sync>;

/// What Raft runs as and on.
pub struct Options {
    /// This member. It belongs to the life of a data directory.
    pub node: NodeId,
    /// Where the log is kept.
    pub store: Arc<dyn Backend>,
    /// What the store held when it was opened.
    pub recovered: Recovered,
    /// The way to the other members. Without one there is none.
    pub transport: Option<Transport>,
    /// By which spans it goes.
    pub profile: Profile,
    /// Told of a vote before it leaves the node.
    pub on_vote: Option<OnVote>,
    /// What the transport asks of this node's log.
    pub standings: Option<Arc<Standings>>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("node", &self.node).finish_non_exhaustive()
    }
}

/// A running Raft. Clones are handles of the same.
#[derive(Clone)]
pub struct Handle {
    node: NodeId,
    raft: Raft<Types, Machine>,
    network: Network,
    in_flight: Arc<Semaphore>,
    forwards: Arc<Semaphore>,
    users: Arc<Semaphore>,
    logical: Arc<Logical>,
    states: watch::Receiver<Arc<State>>,
    leadership: watch::Receiver<Leadership>,
    members: watch::Receiver<Members>,
    failure: watch::Receiver<Option<RaftFailure>>,
    pulse: Pulse,
    /// Nodes that a recovery has forgotten, whether that is applied yet or not.
    forgotten: Arc<BTreeSet<NodeId>>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Handle {
    /// Starts Raft on what the store holds, and serves its peers. A sole voter campaigns at once: there is nobody to
    /// disturb and nobody to wait for. Another voter that was one before neither votes nor campaigns until a leader
    /// that it may have promised its silence to can't count on it any more.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let Options { node, store, recovered, transport, profile, on_vote, standings } = options;
        let has_voted = recovered.vote.is_some();
        let log = Log::new(store.clone(), &recovered, node, on_vote).map_err(io::Error::from)?;
        let machine = Machine::new(store.clone(), &recovered)?;
        let (appended, reading) = (log.appended(), log.reading());
        let forgotten = Arc::new(forgotten(&recovered).map_err(io::Error::from)?);
        drop(recovered);
        let states = machine.states();
        let config = config(profile).map_err(|error| StartError::Raft(error.to_string()))?;
        let network = Network::new(transport.clone());
        let raft = Raft::new(node, Arc::new(config), network.clone(), log, machine)
            .await
            .map_err(|error| StartError::Raft(error.to_string()))?;
        if let Some(standings) = standings {
            standings.bind(reading, raft.metrics(), states.clone());
        }
        let leadership = watch::Sender::new(Leadership::Following { leader: None });
        let members = watch::Sender::new(Members::default());
        let failure = watch::Sender::new(None);
        let handle = Self {
            node,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            forwards: Arc::new(Semaphore::new(FORWARDS_MAX)),
            users: Arc::new(Semaphore::new(USERS_MAX)),
            logical: Arc::default(),
            network,
            states,
            leadership: leadership.subscribe(),
            members: members.subscribe(),
            failure: failure.subscribe(),
            pulse: store.pulse(),
            forgotten,
            raft,
        };
        let (raft, states) = (handle.raft.clone(), handle.states.clone());
        tokio::spawn(bound_log(raft, appended, states, handle.failure.clone()));
        // It ends with Raft's core, whose metrics it watches.
        let metrics = handle.raft.metrics();
        tokio::spawn(observe(metrics, store.failure(), leadership, members, failure));
        if transport.is_some() {
            tokio::spawn(ask_on(handle.clone()));
        }
        let silent_for = if has_voted { profile.election() } else { Duration::ZERO };
        handle.take_part(transport, silent_for).await?;
        Ok(handle)
    }

    async fn take_part(
        &self,
        transport: Option<Transport>,
        silent_for: Duration,
    ) -> Result<(), StartError> {
        let alone = self.is_sole_voter().await?;
        let silent_for = if alone { Duration::ZERO } else { silent_for };
        let votes_from = Instant::now() + silent_for;
        if let Some(transport) = transport {
            let (raft, handle) = (self.raft.clone(), self.clone());
            serve(&transport, Server { raft, handle, votes_from });
        }
        if !silent_for.is_zero() {
            self.raft.runtime_config().elect(false);
            let raft = self.raft.clone();
            tokio::spawn(async move {
                tokio::time::sleep_until(votes_from).await;
                raft.runtime_config().elect(true);
            });
        }
        if alone {
            let campaigned = self.raft.trigger().elect(false).await;
            campaigned.map_err(|error| StartError::Raft(error.to_string()))?;
        }
        Ok(())
    }

    /// Asks the core, whose metrics say nothing yet when it has just been started.
    async fn is_sole_voter(&self) -> Result<bool, StartError> {
        let node = self.node;
        self.raft
            .with_raft_state(move |state| state.membership_state.effective().voter_ids().eq([node]))
            .await
            .map_err(|error| StartError::Raft(error.to_string()))
    }

    /// The newest format that this node lets the cluster write, and that each peer does which is connected.
    #[must_use]
    pub fn allowed_formats(&self) -> BTreeMap<NodeId, Format> {
        self.network.allowed_formats()
    }

    /// The newest format that a peer reads which is connected.
    pub(super) fn reads(&self, node: NodeId) -> Option<Format> {
        self.network.reads(node)
    }

    /// Forms a cluster of these voters. Only ever once, and only where no peer can belong to one already.
    ///
    /// # Errors
    ///
    /// [`FormError::AlreadyFormed`] if the log is not empty.
    pub async fn form(&self, voters: impl IntoIterator<Item = NodeId>) -> Result<(), FormError> {
        let members: BTreeMap<_, _> =
            voters.into_iter().map(|voter| (voter, EmptyNode::default())).collect();
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

    /// Proposes a command, here or through the leader, and returns what applying it did. By then it is durable, and
    /// part of [`states`](Self::states). Dropping the future does not take the command back.
    ///
    /// # Errors
    ///
    /// [`ProposeError`].
    pub async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        let began = Instant::now();
        let proposed = self.propose_somewhere(command).await;
        metrics::histogram!("apolo_raft_propose_seconds").record(began.elapsed());
        if proposed.is_err() {
            metrics::counter!("apolo_raft_propose_failures_total").increment(1);
        }
        proposed
    }

    async fn propose_somewhere(&self, command: Command) -> Result<Outcome, ProposeError> {
        let deadline = Instant::now() + PROPOSE_WITHIN;
        loop {
            let leadership = self.leadership_from_now();
            let refused = match self.propose_here(command.clone(), None).await {
                Ok((_, outcome)) => return Ok(outcome),
                Err(ProposeError::NotLeader { leader }) => leader,
                Err(error) => return Err(error),
            };
            if !self.network.has_peers() {
                return Err(ProposeError::NotLeader { leader: refused });
            }
            if let Some(leader) = refused
                && let Some(outcome) = self.forward(leader, &command, deadline, leadership).await?
            {
                return Ok(outcome);
            }
            if Instant::now() >= deadline {
                return Err(ProposeError::NotLeader { leader: None });
            }
            sleep(FIND_LEADER_EVERY).await;
        }
    }

    /// Proposes a command only if this node leads `term`: what it was decided on was seen in that term.
    ///
    /// # Errors
    ///
    /// [`ProposeError`].
    pub async fn propose_in(&self, term: u64, command: Command) -> Result<Outcome, ProposeError> {
        self.propose_here(command, Some(term)).await.map(|(_, outcome)| outcome)
    }

    /// Proposes a command if this node leads.
    pub(super) async fn propose_here(
        &self,
        command: Command,
        term: Option<u64>,
    ) -> Result<(LogIndex, Outcome), ProposeError> {
        let (command, term) = self.timed(command, term)?;
        let user = command.is_user().then(|| self.users.try_acquire());
        let _place = user.transpose().map_err(|_| ProposeError::Overloaded)?;
        let bytes = encode_command(&command).len();
        if bytes > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLong { bytes });
        }
        let _slot = self.in_flight.try_acquire().map_err(|_| ProposeError::Overloaded)?;
        let written = async {
            match term {
                None => match self.raft.client_write(Proposal(command)).await {
                    Ok(response) => Ok((LogIndex(response.log_id.index), response.data)),
                    Err(RaftError::APIError(error)) => Err(refused(&error)),
                    Err(RaftError::Fatal(fatal)) => Err(ProposeError::Stopped(fatal.to_string())),
                },
                Some(term) => self.write_in(term, command).await,
            }
        };
        match timeout(PROPOSE_WITHIN, written).await {
            Ok(done) => done,
            Err(_elapsed) => Err(ProposeError::Unknown { why: "it took too long" }),
        }
    }

    /// The command with the leader's time, where it carries one. What a follower or its clock says of it counts for
    /// nothing. Logical time is one term's, and so is what carries it.
    fn timed(
        &self,
        command: Command,
        term: Option<u64>,
    ) -> Result<(Command, Option<u64>), ProposeError> {
        if !command.is_user() {
            return Ok((command.dated(UnixMillis::now()), term));
        }
        let leader = match *self.leadership.borrow() {
            Leadership::Leading { .. } => None,
            Leadership::Following { leader } => leader,
        };
        match self.logical_now() {
            Some((leads, now_ms)) if term.is_none_or(|term| term == leads) => {
                Ok((command.timed(now_ms), Some(leads)))
            }
            _ => Err(ProposeError::NotLeader { leader }),
        }
    }

    /// If this node leads: its term, and the state's logical time in milliseconds as the next batch will carry it.
    #[must_use]
    pub fn logical_now(&self) -> Option<(u64, u64)> {
        let Leadership::Leading { term } = *self.leadership.borrow() else { return None };
        let known = || self.states.borrow().user().now_ms();
        Some((term, self.logical.now_ms(term, Instant::now(), known)))
    }

    async fn write_in(
        &self,
        term: u64,
        command: Command,
    ) -> Result<(LogIndex, Outcome), ProposeError> {
        let (responder, applied) = ProgressResponder::complete_only();
        let leader = CommittedLeaderId::new(term);
        let write = self.raft.write(Proposal(command)).responder(responder).with_leader(leader);
        write.await.map_err(|fatal| ProposeError::Stopped(fatal.to_string()))?;
        match applied.await {
            Ok(Ok(response)) => Ok((LogIndex(response.log_id.index), response.data)),
            Ok(Err(error)) => Err(refused(&error)),
            Err(_) => Err(ProposeError::Unknown { why: "raft has dropped it" }),
        }
    }

    /// When this node's last round that a quorum acknowledged was sent, if it leads; and whether it is the only voter.
    #[must_use]
    pub fn quorum(&self) -> Acknowledged {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let alone = metrics.membership_config.membership().voter_ids().eq([self.node]);
        let now = Instant::now();
        // Never later than it was: the clock is read once more after `now`.
        let at = metrics.last_quorum_acked.map(|acked| now - acked.into_inner().elapsed());
        Acknowledged { term: metrics.current_term, alone, at }
    }

    /// Who belongs to the cluster, and who votes.
    #[must_use]
    pub fn members(&self) -> watch::Receiver<Members> {
        self.members.clone()
    }

    /// The index of a membership without this node, where a peer has told of one.
    #[must_use]
    pub fn removed(&self) -> watch::Receiver<Option<u64>> {
        self.network.removed()
    }

    /// Whether `node` was removed for good, and must not be listened to.
    pub(super) fn is_gone(&self, node: NodeId) -> bool {
        self.forgotten.contains(&node) || self.states.borrow().is_gone(node)
    }

    /// Waits until this node is known to have been removed. A peer that knows less than this node may not have heard of
    /// it yet, and counts for nothing.
    pub async fn is_removed(&self) {
        let mut removed = self.removed();
        let members = self.members();
        let gone = removed.wait_for(|at| {
            let members = members.borrow();
            at.is_some_and(|at| Some(at) > members.index() || !members.contains(self.node))
        });
        if gone.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn forwards(&self) -> &Semaphore {
        &self.forwards
    }

    pub(super) const fn network(&self) -> &Network {
        &self.network
    }

    pub(super) const fn raft(&self) -> &Raft<Types, Machine> {
        &self.raft
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

/// A leader's last round.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    /// In which term.
    pub term: u64,
    /// Whether this node is the only voter.
    pub alone: bool,
    /// When the last round that a quorum acknowledged was sent.
    pub at: Option<Instant>,
}

/// Asks for a snapshot whenever so much was appended that a restart, or a peer that needs all of it, would feel it. The
/// policy counts entries alone, and 5,000 of the longest have 640 MiB. A snapshot is never longer than what was appended
/// since the one before, or a full state would be written out every second.
async fn bound_log(
    raft: Raft<Types, Machine>,
    appended: watch::Sender<u64>,
    states: watch::Receiver<Arc<State>>,
    mut failure: watch::Receiver<Option<RaftFailure>>,
) {
    let mut seen = appended.subscribe();
    let is_much = |bytes: &u64| *bytes >= SNAPSHOT_BYTES.max(states.borrow().user().held_bytes());
    loop {
        tokio::select! {
            _ = failure.wait_for(Option::is_some) => return,
            full = seen.wait_for(is_much) => if full.is_err() { return },
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
