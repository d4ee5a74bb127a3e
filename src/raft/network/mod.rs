//! Raft between nodes, over the transport: a stream for each request, one for each snapshot.

mod server;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use openraft::{
    EmptyNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use tokio::sync::watch;

use crate::model::{Format, LogIndex, NodeId};
use crate::state::{Command, Outcome};
use crate::transport::{Protocol, Transport};

use super::types::{Proposal, Snapshot, Types, Vote};

pub(super) use server::{Server, serve};
use wire::{Ask, Forwarded, Reply, SnapshotHead, SnapshotReply};

/// The largest part of a snapshot in one frame: half of what a frame may hold, so that its head fits beside it.
const CHUNK: usize = 128 * 1024;

/// How long the peer may take to make an installed snapshot durable.
const INSTALL_WITHIN: Duration = Duration::from_secs(30);

/// Why a command that was sent to the leader has no outcome.
#[derive(Debug)]
pub(super) enum ForwardError {
    /// The node that was asked does not lead.
    NotLeader,
    /// It was not proposed.
    Overloaded,
    /// It was not sent.
    Unreachable,
    /// It may have been proposed.
    Unknown,
}

/// The index that stands for every membership to come.
const FOR_GOOD: u64 = u64::MAX;

/// The way to all peers; without a transport there is none.
#[derive(Clone, Debug)]
pub(super) struct Network {
    transport: Option<Transport>,
    /// The membership, by its index, of which a peer says that this node is not in it; [`FOR_GOOD`] for all to come.
    removed: watch::Sender<Option<u64>>,
}

impl Network {
    pub(super) fn new(transport: Option<Transport>) -> Self {
        Self { transport, removed: watch::Sender::new(None) }
    }

    pub(super) const fn has_peers(&self) -> bool {
        self.transport.is_some()
    }

    /// The peers that a connection leads to.
    pub(super) fn connected(&self) -> BTreeSet<NodeId> {
        let peers = self.transport.iter().flat_map(Transport::connected);
        peers.map(|peer| peer.node).collect()
    }

    /// See [`Transport::allowed_formats`].
    pub(super) fn allowed_formats(&self) -> BTreeMap<NodeId, Format> {
        self.transport.as_ref().map(Transport::allowed_formats).unwrap_or_default()
    }

    /// The newest format that a peer reads which is connected.
    pub(super) fn reads(&self, node: NodeId) -> Option<Format> {
        let connected = self.transport.as_ref()?.connected();
        connected.iter().find(|peer| peer.node == node).map(|peer| peer.reads)
    }

    pub(super) fn removed(&self) -> watch::Receiver<Option<u64>> {
        self.removed.subscribe()
    }

    /// Has the leader propose a command.
    pub(super) async fn forward(
        &self,
        leader: NodeId,
        command: &Command,
        within: Duration,
    ) -> Result<(LogIndex, Outcome), ForwardError> {
        let Some(transport) = &self.transport else { return Err(ForwardError::Unreachable) };
        let request = wire::encode(&Proposal(command.clone()));
        let answer = transport.request(leader, Protocol::Propose, &request, within).await;
        let answer = answer.map_err(|error| {
            if error.may_have_happened() {
                ForwardError::Unknown
            } else {
                ForwardError::Unreachable
            }
        })?;
        match wire::decode(&answer) {
            Ok(Forwarded::Applied { index, outcome }) => Ok((index, outcome)),
            Ok(Forwarded::NotLeader { .. }) => Err(ForwardError::NotLeader),
            Ok(Forwarded::Overloaded) => Err(ForwardError::Overloaded),
            Ok(Forwarded::Unknown) | Err(_) => Err(ForwardError::Unknown),
        }
    }
}

/// How long an answer that needs no disk may take.
const STANDING_WITHIN: Duration = Duration::from_millis(300);

/// How long a leader may take to hear from a quorum: several rounds, and then there may be another leader.
pub(super) const READ_INDEX_WITHIN: Duration = Duration::from_secs(1);

/// How long a node may take to admit another: a change of the members.
const ADMIT_WITHIN: Duration = Duration::from_secs(6);

impl Network {
    /// Asks `peer` to make `node`, this one, a member. Where it can't, it may name who can.
    pub(super) async fn ask_admission(
        &self,
        node: NodeId,
        peer: NodeId,
    ) -> Result<(), Option<NodeId>> {
        let Some(transport) = &self.transport else { return Err(None) };
        let request = wire::encode(&Ask::Admit(node));
        let answer = transport.request(peer, Protocol::Raft, &request, ADMIT_WITHIN).await;
        match answer.ok().and_then(|answer| wire::decode(&answer).ok()) {
            Some(Reply::Admitted) => Ok(()),
            Some(Reply::AskElsewhere(leader)) => Err(leader),
            Some(Reply::Gone) => {
                self.removed.send_replace(Some(FOR_GOOD));
                Err(None)
            }
            _ => Err(None),
        }
    }

    /// Asks `leader`, in the name of `node`, how far one must have applied to read what is committed now.
    pub(super) async fn ask_read_index(&self, node: NodeId, leader: NodeId) -> Option<LogIndex> {
        let transport = self.transport.as_ref()?;
        let request = wire::encode(&Ask::ReadIndex(node));
        let asked = transport.request(leader, Protocol::Raft, &request, READ_INDEX_WITHIN);
        match wire::decode(&asked.await.ok()?) {
            Ok(Reply::ReadAt(index)) => Some(index),
            _ => None,
        }
    }

    /// Asks `peer` whether `node`, this one, is a member. True where it answers.
    pub(super) async fn ask_membership(&self, node: NodeId, peer: NodeId) -> bool {
        let Some(transport) = &self.transport else { return false };
        let request = wire::encode(&Ask::Standing(node));
        let answer = transport.request(peer, Protocol::Raft, &request, STANDING_WITHIN).await;
        match answer.ok().and_then(|answer| wire::decode(&answer).ok()) {
            Some(Reply::NotMember(index)) => {
                self.removed.send_replace(Some(index));
            }
            Some(Reply::Gone) => {
                self.removed.send_replace(Some(FOR_GOOD));
            }
            Some(Reply::Member) => {}
            _ => return false,
        }
        true
    }
}

/// The way to one peer.
#[derive(Debug)]
pub(super) struct Peer {
    node: NodeId,
    network: Network,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: NodeId, _node: &EmptyNode) -> Peer {
        Peer { node: target, network: self.clone() }
    }
}

impl Peer {
    /// `Unreachable` and not `Network`: on that, openraft would try again at once.
    fn unreachable(&self, why: impl std::fmt::Display) -> Unreachable<Types> {
        Unreachable::from_string(format!("node {}: {why}", self.node))
    }

    async fn ask(&self, ask: &Ask, option: &RPCOption) -> Result<Reply, RPCError<Types>> {
        let Some(transport) = &self.network.transport else {
            return Err(self.unreachable("no transport").into());
        };
        let request = wire::encode(ask);
        let asked = transport.request(self.node, Protocol::Raft, &request, option.soft_ttl());
        let answer = asked.await.map_err(|error| self.unreachable(error))?;
        match wire::decode(&answer).map_err(|error| self.unreachable(error))? {
            Reply::NotYet => Err(self.unreachable("it has just been started").into()),
            Reply::NotMember(index) => {
                self.network.removed.send_replace(Some(index));
                Err(self.unreachable("it does not know this node as a member").into())
            }
            Reply::Gone => {
                self.network.removed.send_replace(Some(FOR_GOOD));
                Err(self.unreachable("this node was removed").into())
            }
            reply => Ok(reply),
        }
    }

    fn unexpected(&self) -> RPCError<Types> {
        self.unreachable("an answer to another question").into()
    }

    async fn stream_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot,
        within: Duration,
    ) -> Result<SnapshotReply, Unreachable<Types>> {
        let Some(transport) = &self.network.transport else {
            return Err(self.unreachable("no transport"));
        };
        let told = |error: &dyn std::fmt::Display| self.unreachable(error);
        let mut stream = transport
            .open(self.node, Protocol::Snapshot, within)
            .await
            .map_err(|error| told(&error))?;
        let bytes = snapshot.snapshot.len() as u64;
        let head = wire::encode(&SnapshotHead { vote, meta: snapshot.meta, bytes });
        stream.send(&head, within).await.map_err(|error| told(&error))?;
        for chunk in snapshot.snapshot.chunks(CHUNK) {
            stream.send(chunk, within).await.map_err(|error| told(&error))?;
        }
        stream.finish();
        let answer = stream.receive(INSTALL_WITHIN).await.map_err(|error| told(&error))?;
        let answer = answer.ok_or_else(|| self.unreachable("no answer to the snapshot"))?;
        wire::decode(&answer).map_err(|error| told(&error))
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = Vec<u8>;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        match self.ask(&Ask::Append(request), &option).await? {
            Reply::Append(response) => Ok(response),
            _ => Err(self.unexpected()),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.ask(&Ask::Vote(request), &option).await? {
            Reply::Vote(response) => Ok(response),
            _ => Err(self.unexpected()),
        }
    }

    /// Implemented because the trait's default grants.
    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.ask(&Ask::PreVote(request), &option).await? {
            Reply::Vote(response) => Ok(response),
            _ => Err(self.unexpected()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = self.stream_snapshot(vote, snapshot, option.hard_ttl()) => Ok(sent?),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        match self.ask(&Ask::Transfer(request), &option).await? {
            Reply::Transfer(response) => Ok(response),
            _ => Err(self.unexpected()),
        }
    }
}
