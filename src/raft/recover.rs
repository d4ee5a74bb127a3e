//! From a member of a cluster that has lost its quorum to the sole voter of the same cluster. Offline: nothing runs on
//! the store.
//!
//! Nothing is taken out of the log. Two entries go behind it, in a term of their own: one that raises the generation
//! and forgets the other nodes ([`Command::Recover`]), and the membership of one. In this order: with the first alone
//! there is no quorum still, and the recovery can be repeated.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use openraft::{EmptyNode, EntryPayload, impls::leader_id_std::LeaderId};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::{
    model::{LogIndex, NodeId},
    state::{Command, State, decode_state},
    store::{Backend, Position, Recovered, Write, WriteError},
};

use super::{
    codec::{CodecError, decode_entry, decode_snapshot, encode_entry, encode_vote},
    types::{Entry, Membership, Proposal, Vote, log_id},
};

/// What a store holds of its cluster, and what would become of it.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// This member.
    pub node: NodeId,
    /// The term of the last entry, and its index.
    pub last: Position,
    /// Up to where the log is known to be committed here. What is behind it is kept too.
    pub committed: Option<Position>,
    /// The voters and learners as the log has them, without this one.
    pub others: BTreeSet<NodeId>,
    /// The state after the whole log, as it is now.
    pub state: State,
    /// The term in which the entries are written: above every one that this node knows of.
    term: u64,
}

/// Why a store can't be recovered from.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// It holds nothing.
    #[error("this data directory holds no log: its node was never a member of a cluster")]
    Nothing,
    /// It needs nobody.
    #[error("this node is its cluster's only voter and needs no other: just start it")]
    Alone,
    /// It can't be read.
    #[error("the log can't be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It can't be written.
    #[error("the log can't be written: {0}")]
    Store(#[from] WriteError),
}

impl Recovery {
    /// Reads what a store held when it was opened.
    ///
    /// # Errors
    ///
    /// [`RecoverError`].
    pub fn of(node: NodeId, recovered: &Recovered) -> Result<Self, RecoverError> {
        let (mut state, mut membership, mut last) = snapshot(recovered)?;
        for record in &recovered.records {
            let entry = decode_entry(record).map_err(io::Error::from)?;
            last = last.max(Some(record.position));
            if record.position.index > state.applied().0 || state == State::default() {
                apply(&mut state, &mut membership, entry);
            }
        }
        let last = last.ok_or(RecoverError::Nothing)?;
        if membership.membership().voter_ids().eq([node]) {
            return Err(RecoverError::Alone);
        }
        let members = membership.membership();
        let mut others: BTreeSet<_> = members.voter_ids().chain(members.learner_ids()).collect();
        others.extend(state.nodes().keys());
        others.remove(&node);
        let voted = recovered.vote.as_ref().map_or(0, |vote| vote.term);
        let term = voted.max(last.term) + 1;
        Ok(Self { node, last, committed: recovered.committed, others, state, term })
    }

    /// Makes the node the sole voter. Returns once that is durable.
    ///
    /// # Errors
    ///
    /// [`RecoverError::Store`].
    pub async fn carry_out(&self, store: &dyn Backend) -> Result<(), RecoverError> {
        let vote = Vote {
            leader_id: LeaderId { term: self.term, voted_for: self.node },
            committed: false,
        };
        durably(store, Write::Vote(encode_vote(&vote))).await?;
        let gone = self.others.iter().copied().collect();
        let recover = Command::Recover { node: self.node, gone };
        let nodes = BTreeMap::from([(self.node, EmptyNode::default())]);
        let alone = openraft::Membership::new(vec![BTreeSet::from([self.node])], nodes)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let payloads = [EntryPayload::Normal(Proposal(recover)), EntryPayload::Membership(alone)];
        for (index, payload) in (self.last.index + 1..).zip(payloads) {
            let log_id = log_id(Position { term: self.term, index });
            let record = encode_entry(&Entry { log_id, payload });
            durably(store, Write::Append(vec![record])).await?;
        }
        Ok(())
    }
}

/// The nodes that a recovery in this log has forgotten. Until the state says so too they must be known: one of them
/// that leads the others could have the recovery cut off again.
pub(super) fn forgotten(recovered: &Recovered) -> Result<BTreeSet<NodeId>, CodecError> {
    let mut all = BTreeSet::new();
    for record in &recovered.records {
        if let EntryPayload::Normal(Proposal(Command::Recover { gone, .. })) =
            decode_entry(record)?.payload
        {
            all.extend(gone);
        }
    }
    Ok(all)
}

fn snapshot(recovered: &Recovered) -> Result<(State, Membership, Option<Position>), RecoverError> {
    let Some(snapshot) = &recovered.snapshot else {
        return Ok((State::default(), Membership::default(), recovered.purged));
    };
    let decoded = decode_snapshot(snapshot).map_err(io::Error::from)?;
    let state = decode_state(&decoded.snapshot)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok((state, decoded.meta.last_membership, snapshot.last.max(recovered.purged)))
}

fn apply(state: &mut State, membership: &mut Membership, entry: Entry) {
    let index = LogIndex(entry.log_id.index);
    match entry.payload {
        EntryPayload::Normal(Proposal(command)) => drop(state.apply(index, command)),
        EntryPayload::Membership(changed) => {
            *membership = Membership::new(Some(entry.log_id), changed);
            state.skip(index);
        }
        EntryPayload::Blank => state.skip(index),
    }
}

async fn durably(store: &dyn Backend, write: Write) -> Result<(), WriteError> {
    let (done, written) = oneshot::channel();
    store.submit(write, Box::new(move |result| drop(done.send(result))));
    written.await.unwrap_or(Err(WriteError::Closed))
}
