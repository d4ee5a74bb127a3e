//! Raft on real files and in memory.

pub(crate) mod cluster;

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use openraft::{StorageError, testing::log::Suite};
use tokio::time::timeout;

use super::{
    ChangeError, FormError, Handle, Leadership, Options, ProposeError, RaftFailure, RecoverError,
    Recovery, log::Log, machine::Machine, types::Types,
};
use crate::{
    model::{BootEpoch, ClusterId, LogIndex, NodeId, Profile},
    state::{Command, Outcome},
    store::{self, Backend, Barrier, Hold, Memory, Opened, Recovered, WriteError},
};

const PATIENCE: Duration = Duration::from_secs(20);

impl From<u64> for NodeId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

fn build(store: Arc<dyn Backend>, recovered: &Recovered) -> (Log, Machine) {
    let log = Log::new(store.clone(), recovered, NodeId(1), None).unwrap();
    (log, Machine::new(store, recovered).unwrap())
}

fn open(path: &Path) -> Opened {
    store::open(path, &store::Options::default()).unwrap()
}

async fn start(node: NodeId, store: Arc<dyn Backend>, recovered: Recovered) -> Handle {
    let options = Options {
        node,
        store,
        recovered,
        transport: None,
        profile: Profile::Lan,
        on_vote: None,
        standings: None,
    };
    Handle::start(options).await.unwrap()
}

async fn start_on(path: &Path) -> Handle {
    let Opened { store, identity, recovered, .. } = open(path);
    start(identity.node, Arc::new(store), recovered).await
}

impl Handle {
    /// A cluster of one that leads and has no disk, for tests of what stands above Raft.
    pub(crate) async fn sole_voter_in_memory(node: NodeId) -> Self {
        let handle = start(node, Arc::new(Memory::default()), Recovered::default()).await;
        handle.form([node]).await.unwrap();
        until_leading(&handle).await;
        handle
    }
}

async fn start_in(memory: &Memory) -> Handle {
    start(NodeId(1), Arc::new(memory.clone()), memory.recovered()).await
}

async fn until_leading(handle: &Handle) -> u64 {
    let mut leadership = handle.leadership();
    let led = leadership.wait_for(|seen| matches!(seen, Leadership::Leading { .. }));
    let led = timeout(PATIENCE, led).await.expect("it leads in time").unwrap();
    let Leadership::Leading { term } = *led else { unreachable!() };
    term
}

fn start_node(boot: u64) -> Command {
    Command::StartNode { node: NodeId(1), name: "one".to_owned(), boot: BootEpoch(boot) }
}

async fn form(handle: &Handle) -> ClusterId {
    let cluster = ClusterId::mint();
    handle.form([handle.id()]).await.unwrap();
    until_leading(handle).await;
    assert_eq!(handle.propose(Command::Form { cluster }).await, Ok(Outcome::Applied));
    cluster
}

/// openraft's own conformance tests.
mod suite {
    use super::*;

    /// One type for both, since each costs a compilation of the whole suite.
    struct Builder {
        top: Option<tempfile::TempDir>,
        built: AtomicU64,
    }

    impl Builder {
        fn new(top: Option<tempfile::TempDir>) -> Self {
            Self { top, built: AtomicU64::new(0) }
        }
    }

    impl openraft::testing::log::StoreBuilder<Types, Log, Machine> for Builder {
        async fn build(&self) -> Result<((), Log, Machine), StorageError<Types>> {
            let number = self.built.fetch_add(1, Ordering::Relaxed).to_string();
            let (log, machine) = match &self.top {
                Some(top) => {
                    let Opened { store, recovered, .. } = open(&top.path().join(number));
                    build(Arc::new(store), &recovered)
                }
                None => build(Arc::new(Memory::default()), &Recovered::default()),
            };
            Ok(((), log, machine))
        }
    }

    #[tokio::test]
    async fn passes_on_disk() {
        Suite::test_all(Builder::new(Some(tempfile::tempdir().unwrap()))).await.unwrap();
    }

    #[tokio::test]
    async fn passes_in_memory() {
        Suite::test_all(Builder::new(None)).await.unwrap();
    }
}

#[tokio::test]
async fn a_sole_voter_leads_again_after_a_restart_and_knows_everything() {
    let top = tempfile::tempdir().unwrap();
    let first = start_on(top.path()).await;
    assert!(!first.is_formed().await.unwrap());
    let cluster = form(&first).await;
    for boot in 1..=50 {
        assert_eq!(first.propose(start_node(boot)).await, Ok(Outcome::Applied));
    }
    let before = first.states().borrow().clone();
    let first_term = until_leading(&first).await;
    first.shutdown().await;
    drop(first);

    let second = start_on(top.path()).await;
    let second_term = until_leading(&second).await;

    let after = second.states().borrow().clone();
    assert!(second.is_formed().await.unwrap());
    assert!(matches!(second.form([NodeId(1)]).await, Err(FormError::AlreadyFormed)));
    assert!(second_term > first_term);
    assert_eq!(after.cluster(), Some(cluster));
    assert_eq!((after.nodes(), after.shards()), (before.nodes(), before.shards()));
    assert!(after.applied() > before.applied());
}

#[tokio::test]
async fn an_outcome_is_heard_after_its_state_can_be_seen() {
    let memory = Memory::default();
    let handle = start_in(&memory).await;
    form(&handle).await;

    for boot in 1..=200 {
        handle.propose(start_node(boot)).await.unwrap();

        let state = handle.states().borrow().clone();
        assert_eq!(state.nodes()[&NodeId(1)].boot, BootEpoch(boot));
    }
}

#[tokio::test]
async fn a_refusal_of_the_state_is_an_outcome() {
    let memory = Memory::default();
    let handle = start_in(&memory).await;
    handle.form([handle.id()]).await.unwrap();
    until_leading(&handle).await;

    let outcome = handle.propose(start_node(1)).await;

    assert!(matches!(outcome, Ok(Outcome::Refused(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_node_that_formed_nothing_refuses_proposals() {
    let memory = Memory::default();
    let handle = start_in(&memory).await;

    let refused = handle.propose(start_node(1)).await;

    assert_eq!(refused, Err(ProposeError::NotLeader { leader: None }));
    assert!(!handle.is_leader());
}

#[tokio::test]
async fn a_command_that_is_too_long_is_refused() {
    let memory = Memory::default();
    let handle = start_in(&memory).await;
    form(&handle).await;
    let name = "x".repeat(130 * 1024);
    let command = Command::StartNode { node: NodeId(1), name, boot: BootEpoch(1) };

    let refused = handle.propose(command).await;

    assert!(matches!(refused, Err(ProposeError::TooLong { .. })), "{refused:?}");
}

#[tokio::test]
async fn more_proposals_than_the_bound_are_refused_and_the_others_applied() {
    let memory = Memory::default();
    let handle = start_in(&memory).await;
    form(&handle).await;
    let proposals = (1..=1000).map(|boot| {
        let handle = handle.clone();
        async move { handle.propose(start_node(boot)).await }
    });

    let outcomes = futures_util::future::join_all(proposals).await;

    let overloaded =
        outcomes.iter().filter(|outcome| **outcome == Err(ProposeError::Overloaded)).count();
    assert_eq!(overloaded, 1000 - 256);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 256);
    assert!(ProposeError::Overloaded.is_retryable());
}

#[tokio::test]
async fn a_snapshot_takes_the_purged_logs_place() {
    let top = tempfile::tempdir().unwrap();
    let first = start_on(top.path()).await;
    let cluster = form(&first).await;
    for batch in 0..25 {
        let proposals = (1..=250).map(|boot| first.propose(start_node(batch * 250 + boot)));
        futures_util::future::join_all(proposals).await.into_iter().for_each(|it| {
            it.unwrap();
        });
    }
    let snapshotted = first.raft().wait(Some(PATIENCE));
    let purged = snapshotted.metrics(|metrics| metrics.purged.is_some(), "the log is purged");
    purged.await.unwrap();
    first.shutdown().await;
    drop(first);

    let Opened { store, identity, recovered, .. } = open(top.path());
    let snapshot_at = recovered.snapshot.as_ref().and_then(|snapshot| snapshot.last).unwrap();
    let (purged_to, kept) = (recovered.purged.unwrap(), recovered.records.len());
    let second = start(identity.node, Arc::new(store), recovered).await;
    until_leading(&second).await;

    let state = second.states().borrow().clone();
    assert!(snapshot_at.index >= 5000, "{snapshot_at}");
    assert!(purged_to < snapshot_at);
    assert!(kept < 3000, "{kept} entries are left");
    assert_eq!(state.cluster(), Some(cluster));
    assert_eq!(state.nodes()[&NodeId(1)].boot, BootEpoch(6250));
    assert!(state.applied() > LogIndex(6250));
}

#[tokio::test]
async fn a_log_of_long_entries_is_cut_by_a_snapshot_before_it_has_many() {
    let memory = Memory::default();
    let handle = start_in(&memory).await;
    form(&handle).await;

    for boot in 1..=140 {
        let name = "x".repeat(120 * 1024);
        let command = Command::StartNode { node: NodeId(1), name, boot: BootEpoch(boot) };
        handle.propose(command).await.unwrap();
    }

    let snapshotted = handle.raft().wait(Some(PATIENCE));
    let seen = snapshotted.metrics(|metrics| metrics.snapshot.is_some(), "a snapshot").await;
    assert!(seen.unwrap().last_log_index < Some(200));
    assert!(memory.recovered().snapshot.is_some());
}

#[tokio::test]
async fn a_stalled_disk_commits_nothing_and_raft_goes_on_afterwards() {
    let top = tempfile::tempdir().unwrap();
    let hold = Hold::leak();
    let options = store::Options { barrier: Barrier::Held(hold), ..store::Options::default() };
    let Opened { store, identity, recovered, .. } = store::open(top.path(), &options).unwrap();
    let handle = start(identity.node, Arc::new(store), recovered).await;
    form(&handle).await;

    hold.hold();
    // It is given up after 5 s, for so long the disk does not answer.
    let stalled = handle.propose(start_node(7)).await;
    let during = (handle.states().borrow().nodes().clone(), handle.write_under_way());
    hold.release();

    assert!(matches!(stalled, Err(ProposeError::Unknown { .. })), "{stalled:?}");
    assert!(during.0.is_empty(), "{:?}", during.0);
    assert!(during.1.is_some_and(|span| span >= Duration::from_secs(4)), "{:?}", during.1);
    let mut states = handle.states();
    let late = states.wait_for(|state| state.nodes().contains_key(&NodeId(1)));
    timeout(PATIENCE, late).await.expect("what was under way is committed").unwrap();
    until_leading(&handle).await;
    assert_eq!(handle.propose(start_node(8)).await, Ok(Outcome::Applied));
    handle.shutdown().await;
    drop((handle, states));
    let again = start_on(top.path()).await;
    until_leading(&again).await;
    assert_eq!(again.states().borrow().nodes()[&NodeId(1)].boot, BootEpoch(8));
}

#[tokio::test]
async fn the_first_error_of_the_store_is_the_end() {
    let memory = Memory::default();
    let handle = start_in(&memory).await;
    form(&handle).await;
    let full = Arc::new(io::Error::from(io::ErrorKind::StorageFull));
    memory.fail(WriteError::Io { what: "append", source: full });

    let why = timeout(PATIENCE, handle.fatal()).await.expect("it fails in time");
    let refused = timeout(PATIENCE, handle.propose(start_node(1))).await.unwrap();

    assert!(matches!(why, RaftFailure::Store(_)), "{why}");
    assert!(!handle.is_leader());
    let refused = refused.unwrap_err();
    assert!(!refused.is_retryable(), "{refused}");
}

#[tokio::test]
async fn shutdown_ends_everything_and_gives_the_directory_free() {
    let top = tempfile::tempdir().unwrap();
    let handle = start_on(top.path()).await;
    form(&handle).await;
    let other = handle.clone();

    handle.shutdown().await;

    assert!(timeout(PATIENCE, other.fatal()).await.is_ok());
    assert!(!other.is_leader());
    drop((handle, other));
    let reopened = timeout(PATIENCE, async {
        while store::open(top.path(), &store::Options::default()).is_err() {
            tokio::task::yield_now().await;
        }
    });
    reopened.await.expect("the directory is free in time");
}
