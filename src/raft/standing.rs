//! Where this node's log stands, and whether another's is as far as that node once said.
//!
//! A data directory that was restored from an old copy is whole in itself, so the gate lets it in. It has forgotten
//! votes and entries that it acknowledged, and Raft is safe only as long as nobody does. The leader that was told more
//! notices at the hello, before it sends the node anything. Where no such leader is up, nobody can.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use openraft::{RaftMetrics, async_runtime::watch::WatchReceiver as _};
use tokio::sync::watch;

use super::{
    codec::decode_vote,
    log::Tail,
    types::{Types, Vote},
};
use crate::{
    model::{Format, Formats, NodeId},
    state::State,
    store::{Position, Recovered},
    transport::{Local, Standing},
};

type Metrics = openraft::type_config::alias::WatchReceiverOf<Types, RaftMetrics<Types>>;

/// Processes that are remembered as admitted: more than there are members. One that is forgotten is judged again.
const PASSED_MAX: usize = 4_096;

/// What a node says of its log in its hellos, and what it thinks of others'. Made before the transport that asks it,
/// and bound to Raft when that runs.
pub struct Standings {
    /// As the directory was opened.
    before: Standing,
    /// The newest format that the operator lets the cluster use.
    format_max: Format,
    running: OnceLock<Running>,
    /// The process of each node whose directory was found to be as recent as it was. What it acknowledges while a second
    /// hello of it is on its way must not count against it.
    passed: Mutex<BTreeMap<NodeId, u64>>,
    /// What a leader said of this node's directory.
    told: watch::Sender<Option<String>>,
}

/// Nothing here keeps the store open.
struct Running {
    tail: Weak<Mutex<Tail>>,
    metrics: Metrics,
    states: watch::Receiver<Arc<State>>,
}

impl fmt::Debug for Standings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standings").field("before", &self.before).finish_non_exhaustive()
    }
}

impl Standings {
    /// Of a directory that has just been opened. `format_max` is the newest format that the cluster may be raised to.
    #[must_use]
    pub fn new(recovered: &Recovered, format_max: Format) -> Self {
        let vote = recovered.vote.as_ref().and_then(|vote| decode_vote(vote).ok());
        let records = recovered.records.last().map(|record| record.position);
        let snapshot = recovered.snapshot.as_ref().and_then(|snapshot| snapshot.last);
        let last = records.max(recovered.purged).max(snapshot);
        Self {
            before: standing(vote.as_ref(), last),
            format_max,
            running: OnceLock::new(),
            passed: Mutex::default(),
            told: watch::Sender::new(None),
        }
    }

    /// A leader's word that this node's directory is an old copy.
    #[must_use]
    pub fn told(&self) -> watch::Receiver<Option<String>> {
        self.told.subscribe()
    }

    pub(super) fn bind(
        &self,
        tail: Weak<Mutex<Tail>>,
        metrics: Metrics,
        states: watch::Receiver<Arc<State>>,
    ) {
        let _ = self.running.set(Running { tail, metrics, states });
    }
}

impl Local for Standings {
    fn standing(&self) -> Standing {
        let Some(tail) = self.running.get().and_then(|running| running.tail.upgrade()) else {
            return self.before;
        };
        let tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        standing(tail.vote(), tail.last())
    }

    fn formats(&self) -> Formats {
        let known = Formats::allowing(self.format_max);
        let running = self.running.get();
        let writes = running.map_or(known.writes, |running| running.states.borrow().format());
        Formats { writes, ..known }
    }

    fn admit(&self, node: NodeId, process: u64, theirs: Standing) -> Result<(), String> {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if passed.get(&node) == Some(&process) {
            return Ok(());
        }
        if let Some(running) = self.running.get() {
            let metrics = running.metrics.borrow_watched();
            let replication = metrics.replication.as_ref();
            if let Some(acknowledged) = replication.and_then(|all| all.get(&node)?.as_ref()) {
                judge(theirs, acknowledged.index, metrics.current_term)?;
            }
        }
        if passed.len() >= PASSED_MAX {
            passed.clear();
        }
        passed.insert(node, process);
        Ok(())
    }

    fn refused(&self, reason: &str) {
        self.told.send_replace(Some(reason.to_owned()));
    }
}

/// Whether a directory that stands there can be the one which acknowledged entry `acknowledged` to the leader of
/// `term`: an acknowledgement is durable before it is sent, the vote for its leader as well, and a leader's entries are
/// never dropped while it leads.
fn judge(theirs: Standing, acknowledged: u64, term: u64) -> Result<(), String> {
    if theirs.last_index < acknowledged {
        return Err(format!(
            "this node's log ends at entry {}, and it once acknowledged entry {acknowledged}: its data directory was \
             restored from an old copy",
            theirs.last_index
        ));
    }
    if theirs.vote_term < term {
        return Err(format!(
            "this node's vote is of term {}, and it once acknowledged the leader of term {term}: its data directory \
             was restored from an old copy",
            theirs.vote_term
        ));
    }
    Ok(())
}

fn standing(vote: Option<&Vote>, last: Option<Position>) -> Standing {
    let last = last.unwrap_or(Position { term: 0, index: 0 });
    Standing {
        vote_term: vote.map_or(0, |vote| vote.leader_id.term),
        vote_node: vote.map_or(0, |vote| vote.leader_id.voted_for.0),
        last_term: last.term,
        last_index: last.index,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stands(vote_term: u64, last_index: u64) -> Standing {
        Standing { vote_term, vote_node: 1, last_term: vote_term, last_index }
    }

    #[test]
    fn a_directory_that_has_all_it_acknowledged_is_admitted() {
        assert_eq!(judge(stands(3, 100), 100, 3), Ok(()));
        assert_eq!(judge(stands(4, 120), 100, 3), Ok(()));
    }

    #[test]
    fn an_older_log_or_an_older_vote_is_not() {
        assert!(judge(stands(3, 99), 100, 3).unwrap_err().contains("entry 100"));
        assert!(judge(stands(2, 100), 100, 3).unwrap_err().contains("term 3"));
    }
}
