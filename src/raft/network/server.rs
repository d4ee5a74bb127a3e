//! What peers ask of this node's Raft.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use openraft::{Raft, raft::VoteResponse};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::model::NodeId;
use crate::state::decode_state;
use crate::transport::{self, Peer, Protocol, Refused, Stream, StreamError, Transport};

use super::super::{
    error::ProposeError,
    handle::Handle,
    leadership::Leadership,
    machine::Machine,
    types::{Proposal, Snapshot, Types},
};
use super::wire::{self, Ask, Forwarded, Reply, SnapshotHead};

/// The longest snapshot that is taken in, in bytes: some hundred times the state of the largest bot.
const SNAPSHOT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How long a chunk of a snapshot may be on its way.
const CHUNK_WITHIN: Duration = Duration::from_secs(10);

/// One node's Raft, as its peers see it.
#[derive(Clone)]
pub(in super::super) struct Server {
    pub(in super::super) raft: Raft<Types, Machine>,
    pub(in super::super) handle: Handle,
    /// When it votes and lets itself be voted for: openraft forgets over a restart how long ago it heard a leader, and
    /// that leader's lease must not be cut short.
    pub(in super::super) votes_from: Instant,
}

/// Serves Raft's protocols on `transport`.
pub(in super::super) fn serve(transport: &Transport, server: Server) {
    let handle = server.handle.clone();
    let asked = Arc::new(server.clone());
    transport.register(
        Protocol::Raft,
        transport::answer(move |peer: Peer, request: Bytes| {
            let server = Arc::clone(&asked);
            async move { server.ask(peer.node, &request).await.map(|reply| wire::encode(&reply).into()) }
        }),
    );
    let server = Arc::new(server);
    transport.register(Protocol::Snapshot, move |peer: Peer, _: Protocol, stream: Stream| {
        let server = Arc::clone(&server);
        async move { server.snapshot(peer.node, stream).await }
    });
    transport.register(
        Protocol::Propose,
        transport::answer(move |peer: Peer, request: Bytes| {
            let handle = handle.clone();
            async move {
                if handle.is_gone(peer.node) {
                    return Err(Refused::NotAllowed);
                }
                propose(&handle, &request).await.map(|reply| wire::encode(&reply).into())
            }
        }),
    );
}

impl Server {
    async fn ask(&self, node: NodeId, request: &[u8]) -> Result<Reply, Refused> {
        let ask: Ask = wire::decode(request).map_err(|error| malformed(node, &error))?;
        if ask.sender() != node {
            warn!(%node, claims = %ask.sender(), "a peer spoke for another node");
            return Err(Refused::NotAllowed);
        }
        let failed = |error: &dyn std::fmt::Display| {
            debug!(%node, %error, "raft could not answer");
            Refused::Failed
        };
        if self.handle.is_gone(node) {
            return Ok(Reply::Gone);
        }
        match ask {
            Ask::Append(request) => {
                let done = self.raft.append_entries(request).await;
                done.map(Reply::Append).map_err(|error| failed(&error))
            }
            Ask::Vote(_) | Ask::PreVote(_) if Instant::now() < self.votes_from => Ok(Reply::NotYet),
            Ask::Vote(_) | Ask::PreVote(_) if let Some(index) = self.stranger(node) => {
                Ok(Reply::NotMember(index))
            }
            Ask::Vote(request) => answered(self.raft.vote(request).await, failed),
            Ask::PreVote(request) => answered(self.raft.pre_vote(request).await, failed),
            Ask::Standing(_) => Ok(self.stranger(node).map_or(Reply::Member, Reply::NotMember)),
            Ask::ReadIndex(_) => {
                let index = self.handle.read_index_here().await;
                Ok(index.map_or_else(Reply::AskElsewhere, Reply::ReadAt))
            }
            Ask::Admit(node) => Ok(self.admit(node).await),
            Ask::Transfer(request) => {
                let done = self.raft.handle_transfer_leader(request).await;
                done.map(Reply::Transfer).map_err(|error| failed(&error))
            }
        }
    }

    async fn admit(&self, node: NodeId) -> Reply {
        if self.stranger(node).is_none() && self.handle.members().borrow().contains(node) {
            return Reply::Admitted;
        }
        if !self.handle.is_leader() {
            let leader = match *self.handle.leadership().borrow() {
                Leadership::Following { leader } => leader,
                Leadership::Leading { .. } => None,
            };
            return Reply::AskElsewhere(leader);
        }
        let format = self.handle.states().borrow().format();
        if self.handle.reads(node).is_some_and(|reads| reads < format) {
            warn!(%node, %format, "a node does not read what this cluster writes; update its apolo");
            return Reply::AskElsewhere(None);
        }
        info!(%node, "a node joins, as a learner");
        match self.handle.add_learner(node).await {
            Ok(()) => Reply::Admitted,
            Err(error) => {
                warn!(%node, %error, "the node was not admitted; it asks again");
                Reply::AskElsewhere(None)
            }
        }
    }

    /// The index of the membership that does not know `node`, where there is one.
    fn stranger(&self, node: NodeId) -> Option<u64> {
        use openraft::async_runtime::watch::WatchReceiver as _;
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let committed = &metrics.committed_membership_config;
        let index = committed.log_id().as_ref()?.index;
        let known = committed.membership().get_node(&node).is_some();
        (!known).then_some(index)
    }

    async fn snapshot(&self, node: NodeId, mut stream: Stream) {
        match self.receive(node, &mut stream).await {
            Ok(reply) => {
                if let Err(error) = stream.send(&reply, CHUNK_WITHIN).await {
                    debug!(%node, %error, "the snapshot's answer was not sent");
                }
                stream.finish();
            }
            Err(refused) => stream.refuse(refused),
        }
    }

    async fn receive(&self, node: NodeId, stream: &mut Stream) -> Result<Vec<u8>, Refused> {
        let head = frame(node, stream).await?.ok_or(Refused::Failed)?;
        let head: SnapshotHead = wire::decode(&head).map_err(|error| malformed(node, &error))?;
        if self.handle.is_gone(node) {
            return Err(Refused::NotAllowed);
        }
        if head.vote.leader_id.voted_for != node {
            warn!(%node, "a peer sent a snapshot for another node");
            return Err(Refused::NotAllowed);
        }
        if head.bytes > SNAPSHOT_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = frame(node, stream).await? {
            if (bytes.len() + chunk.len()) as u64 > head.bytes {
                return Err(Refused::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        // Before openraft takes it, since it can't refuse one that does not read.
        if bytes.len() as u64 != head.bytes || decode_state(&bytes).is_err() {
            warn!(%node, "a snapshot came incomplete or unreadable");
            return Err(Refused::Failed);
        }
        let snapshot = Snapshot { meta: head.meta, snapshot: bytes };
        let installed = self.raft.install_full_snapshot(head.vote, snapshot).await;
        installed.map(|reply| wire::encode(&reply)).map_err(|error| {
            warn!(%node, %error, "a snapshot could not be installed");
            Refused::Failed
        })
    }
}

async fn frame(node: NodeId, stream: &mut Stream) -> Result<Option<Bytes>, Refused> {
    stream.receive(CHUNK_WITHIN).await.map_err(|error: StreamError| {
        debug!(%node, %error, "a snapshot broke off");
        Refused::GivenUp
    })
}

fn answered<E: std::fmt::Display>(
    done: Result<VoteResponse<Types>, E>,
    failed: impl Fn(&dyn std::fmt::Display) -> Refused,
) -> Result<Reply, Refused> {
    done.map(Reply::Vote).map_err(|error| failed(&error))
}

fn malformed(node: NodeId, error: &dyn std::fmt::Display) -> Refused {
    warn!(%node, %error, "a peer's request of raft can't be read");
    Refused::Failed
}

async fn propose(handle: &Handle, request: &[u8]) -> Result<Forwarded, Refused> {
    let Proposal(command) = wire::decode(request).map_err(|error| {
        warn!(%error, "a forwarded command can't be read");
        Refused::Failed
    })?;
    Ok(match handle.propose_here(command, None).await {
        Ok((index, outcome)) => Forwarded::Applied { index, outcome },
        Err(ProposeError::NotLeader { leader }) => Forwarded::NotLeader { leader },
        Err(ProposeError::Overloaded) => Forwarded::Overloaded,
        Err(ProposeError::Unknown { .. }) => Forwarded::Unknown,
        Err(ProposeError::TooLong { .. } | ProposeError::Stopped(_)) => {
            return Err(Refused::Failed);
        }
    })
}

#[cfg(test)]
mod tests {
    use openraft::raft::AppendEntriesRequest;

    use super::*;
    use crate::{
        model::{BootEpoch, ClusterId, Profile},
        raft::{self, types::Vote},
        state::{Command, Outcome},
        store::{Memory, Recovered},
    };

    const GONE: NodeId = NodeId(2);

    async fn leader() -> Server {
        let options = raft::Options {
            node: NodeId(1),
            store: Arc::new(Memory::default()),
            recovered: Recovered::default(),
            transport: None,
            profile: Profile::Lan,
            on_vote: None,
            standings: None,
        };
        let handle = Handle::start(options).await.unwrap();
        handle.form([NodeId(1)]).await.unwrap();
        let mut leadership = handle.leadership();
        leadership.wait_for(|seen| matches!(seen, Leadership::Leading { .. })).await.unwrap();
        Server { raft: handle.raft().clone(), handle, votes_from: Instant::now() }
    }

    fn leads(node: NodeId) -> Ask {
        let vote = Vote::new_committed(99, node);
        Ask::Append(AppendEntriesRequest {
            vote,
            prev_log_id: None,
            entries: vec![],
            leader_commit: None,
        })
    }

    /// The certificate says who it is, and a request says so too.
    #[tokio::test]
    async fn a_peer_that_speaks_for_another_node_is_refused_and_changes_nothing() {
        let server = leader().await;
        let before = server.handle.states().borrow().applied();
        let vote = Vote::new(99, NodeId(3));
        let votes =
            || openraft::raft::VoteRequest { vote, last_log_id: None, leadership_transfer: false };

        for ask in
            [leads(NodeId(3)), Ask::Vote(votes()), Ask::PreVote(votes()), Ask::Admit(NodeId(3))]
        {
            let reply = server.ask(GONE, &wire::encode(&ask)).await;
            assert!(matches!(reply, Err(Refused::NotAllowed)), "{reply:?}");
        }

        assert!(server.handle.is_leader());
        assert_eq!(server.handle.states().borrow().applied(), before);
        assert!(!server.handle.members().borrow().contains(NodeId(3)));
        server.handle.shutdown().await;
    }

    /// Its certificate may be good for a day, and its log tells it that it is a member.
    #[tokio::test]
    async fn a_removed_node_neither_leads_nor_becomes_a_member_again() {
        let server = leader().await;
        for command in [
            Command::Form { cluster: ClusterId::mint() },
            Command::StartNode { node: GONE, name: "gone".to_owned(), boot: BootEpoch(1) },
            Command::RemoveNode { node: GONE },
        ] {
            assert_eq!(server.handle.propose(command).await, Ok(Outcome::Applied));
        }

        for ask in [leads(GONE), Ask::Admit(GONE)] {
            let reply = server.ask(GONE, &wire::encode(&ask)).await;
            assert!(matches!(reply, Ok(Reply::Gone)), "{reply:?}");
        }

        assert!(server.handle.is_leader());
        assert!(!server.handle.members().borrow().contains(GONE));
        server.handle.shutdown().await;
    }
}
