//! How Raft begins on what the store holds.

use std::{collections::BTreeMap, fmt, io, sync::Arc, time::Duration};

use openraft::{
    EmptyNode, Raft,
    errors::{InitializeError, RaftError},
};
use tokio::{sync::watch, time::Instant};

use super::{
    config::config,
    error::{FormError, StartError},
    handle::Handle,
    leadership::{Leadership, RaftFailure, observe},
    log::Log,
    machine::Machine,
    members::Members,
    membership::ask_on,
    network::{Network, Server, serve},
    propose::Places,
    recover::forgotten,
    standing::Standings,
    types::Types,
};
use crate::model::{NodeId, Profile};
use crate::state::State;
use crate::store::{Backend, Recovered};
use crate::transport::Transport;

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
            places: Places::default(),
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
