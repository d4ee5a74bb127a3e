//! openraft's state machine around [`State`]: apply, snapshot, install.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{Stream, TryStreamExt as _};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
};
use tokio::{sync::watch, task::spawn_blocking};

use crate::{
    model::LogIndex,
    state::{Outcome, State, decode_state, encode_state},
    store::{Backend, Recovered},
};

use super::{
    codec::{decode_snapshot, encode_snapshot},
    types::{Entry, LogId, Membership, Snapshot, SnapshotMeta, Types},
};

/// Applies what is committed, in order, and publishes each state.
#[derive(Debug)]
pub(super) struct Machine {
    state: Arc<State>,
    applied: Option<LogId>,
    membership: Membership,
    states: watch::Sender<Arc<State>>,
    shelf: Shelf,
}

impl Machine {
    /// The machine as of the last snapshot. openraft applies what the log has beyond it.
    pub(super) fn new(store: Arc<dyn Backend>, recovered: &Recovered) -> Result<Self, io::Error> {
        let snapshot = recovered.snapshot.as_ref().map(decode_snapshot).transpose()?;
        let state = match &snapshot {
            Some(snapshot) => decode_state(&snapshot.snapshot).map_err(invalid)?,
            None => State::default(),
        };
        let state = Arc::new(state);
        let meta = snapshot.as_ref().map(|snapshot| snapshot.meta.clone()).unwrap_or_default();
        Ok(Self {
            states: watch::Sender::new(state.clone()),
            state,
            applied: meta.last_log_id,
            membership: meta.last_membership,
            shelf: Shelf { store, last: Arc::new(Mutex::new(snapshot)) },
        })
    }

    /// Every state, as it is applied.
    pub(super) fn states(&self) -> watch::Receiver<Arc<State>> {
        self.states.subscribe()
    }

    fn apply_entry(&mut self, entry: Entry) -> Outcome {
        let index = LogIndex(entry.log_id.index);
        self.applied = Some(entry.log_id);
        let state = Arc::make_mut(&mut self.state);
        match entry.payload {
            EntryPayload::Normal(proposal) => return state.apply(index, proposal.0),
            EntryPayload::Membership(membership) => {
                self.membership = Membership::new(Some(entry.log_id), membership);
            }
            EntryPayload::Blank => {}
        }
        state.skip(index);
        Outcome::Applied
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    /// The state is copied once for a batch, not once for an entry. It is published before anyone hears an outcome.
    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut outcomes = Vec::new();
        while let Some((entry, responder)) = entries.try_next().await? {
            let outcome = self.apply_entry(entry);
            outcomes.extend(responder.map(|responder| (responder, outcome)));
        }
        self.states.send_replace(self.state.clone());
        for (responder, outcome) in outcomes {
            responder.send(outcome);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            state: self.state.clone(),
            meta: SnapshotMeta {
                last_log_id: self.applied,
                last_membership: self.membership.clone(),
            },
            shelf: self.shelf.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        state: Vec<u8>,
    ) -> Result<(), io::Error> {
        let installed = decode_state(&state).map_err(invalid)?;
        self.shelf.put(Snapshot { meta: meta.clone(), snapshot: state }).await?;
        self.state = Arc::new(installed);
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.states.send_replace(self.state.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.shelf.last().clone())
    }
}

/// Makes a snapshot of the state as it was when this was made.
#[derive(Debug)]
pub(super) struct Builder {
    state: Arc<State>,
    meta: SnapshotMeta,
    shelf: Shelf,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Vec<u8>;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let (state, meta) = (self.state.clone(), self.meta.clone());
        let snapshot = spawn_blocking(move || Snapshot { meta, snapshot: encode_state(&state) });
        let snapshot = snapshot.await.map_err(io::Error::other)?;
        self.shelf.put(snapshot.clone()).await?;
        Ok(snapshot)
    }
}

/// Where the last snapshot is: durable in the store, and at hand for a peer that needs it.
#[derive(Clone, Debug)]
struct Shelf {
    store: Arc<dyn Backend>,
    last: Arc<Mutex<Option<Snapshot>>>,
}

impl Shelf {
    fn last(&self) -> MutexGuard<'_, Option<Snapshot>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a snapshot, and returns once it is durable. One that was overtaken by a later one is dropped: the log
    /// behind it may be purged.
    async fn put(&self, snapshot: Snapshot) -> Result<(), io::Error> {
        let shelf = self.clone();
        let stored = spawn_blocking(move || {
            let mut last = shelf.last();
            let overtaken = last
                .as_ref()
                .is_some_and(|last| last.meta.last_log_id >= snapshot.meta.last_log_id);
            if overtaken {
                return Ok(());
            }
            shelf.store.save_snapshot(&encode_snapshot(&snapshot))?;
            *last = Some(snapshot);
            Ok(())
        });
        stored.await.map_err(io::Error::other)?
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        raft::types::log_id,
        store::{Memory, Position},
    };

    #[tokio::test]
    async fn a_snapshot_that_was_overtaken_does_not_replace_the_later_one() {
        let memory = Memory::default();
        let machine = Machine::new(Arc::new(memory.clone()), &Recovered::default()).unwrap();
        let at = |index| {
            let last_log_id = Some(log_id(Position { term: 1, index }));
            let meta = SnapshotMeta { last_log_id, last_membership: Membership::default() };
            Snapshot { meta, snapshot: encode_state(&State::default()) }
        };

        machine.shelf.put(at(20)).await.unwrap();
        machine.shelf.put(at(10)).await.unwrap();

        let stored = memory.recovered().snapshot.unwrap();
        assert_eq!(stored.last, Some(Position { term: 1, index: 20 }));
        assert_eq!(machine.shelf.last().as_ref().map(|last| last.meta.clone()), Some(at(20).meta));
    }
}
