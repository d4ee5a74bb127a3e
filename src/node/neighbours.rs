//! What nodes ask of each other's processes: how their shards are, and to start some anew.
//!
//! Answers are JSON: their rows are the API's, which grow, and nodes of two versions ask each other.
//!
//! The replicated state says who owns a shard and how far it is durably handled. What its connection is doing this very
//! second only its owner knows.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Mutex, watch},
    task::spawn_blocking,
    time::{Instant, timeout},
};
use tracing::info;

use crate::agent::Board;
use crate::http::ShardRow;
use crate::model::{LogIndex, NodeId, ShardId};
use crate::state::{Presence, State};
use crate::transport::{self, Path, Protocol, Refused, Transport};

/// A node that takes longer is shown as the state knows it.
const ANSWER_WITHIN: Duration = Duration::from_millis(400);

/// An order is carried out at once.
const ORDER_WITHIN: Duration = Duration::from_secs(2);

/// Answers that are younger are given to whoever asks next: a hundred readers cost what one does.
const FRESH: Duration = Duration::from_millis(500);

/// What a node said counts for this long where it does not answer the next time.
const KEPT_FOR: Duration = Duration::from_secs(3);

/// Rows in one answer: each takes half a kilobyte, and a frame holds a mebibyte.
const ROWS_MAX: usize = 1_024;

/// What one node asks another.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
enum Ask {
    /// How it is, and its shards from this one on.
    How {
        /// The first shard that is wanted.
        from: ShardId,
    },
    /// These shards are to be started anew, those of them that it runs.
    Respawn(Vec<ShardId>),
}

/// What it answers.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
enum Answer {
    How(Box<Page>),
    Respawned(u32),
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct Page {
    version: String,
    uptime_ms: u64,
    applied: LogIndex,
    rows: Vec<ShardRow>,
    /// Where the next page begins, if there is one.
    next: Option<ShardId>,
}

/// How a node says it is.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) version: String,
    pub(super) uptime_ms: u64,
    pub(super) applied: LogIndex,
    pub(super) round_trip: Duration,
    at: Instant,
    /// The shards that it runs.
    pub(super) rows: BTreeMap<ShardId, ShardRow>,
}

/// What the others say.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// How far this node had applied by then.
    pub(super) applied: LogIndex,
    pub(super) nodes: BTreeMap<NodeId, Said>,
}

/// Answers of a while ago.
type Remembered = Option<(Instant, Arc<Answers>)>;

/// The way to the other nodes' processes.
#[derive(Clone, Debug)]
pub(super) struct Neighbours {
    me: NodeId,
    transport: Transport,
    remembered: Arc<Mutex<Remembered>>,
}

impl Neighbours {
    pub(super) fn new(me: NodeId, transport: Transport) -> Self {
        Self { me, transport, remembered: Arc::default() }
    }

    /// How the way to each of them is that is connected.
    pub(super) fn paths(&self) -> BTreeMap<NodeId, Path> {
        self.transport.paths().into_iter().collect()
    }

    /// Asks all nodes that are present. Who does not answer in time is left out.
    pub(super) async fn ask(&self, states: &watch::Receiver<Arc<State>>) -> Arc<Answers> {
        let mut remembered = self.remembered.lock().await;
        if let Some((at, answers)) = remembered.as_ref()
            && at.elapsed() < FRESH
        {
            return Arc::clone(answers);
        }
        let others = self.others(&states.borrow());
        let asked = others.iter().copied().map(async |node| {
            let said = timeout(ANSWER_WITHIN, self.how(node)).await;
            Some((node, said.ok()??))
        });
        let mut answers: BTreeMap<_, _> = join_all(asked).await.into_iter().flatten().collect();
        for (node, said) in remembered.iter().flat_map(|(_, before)| before.nodes.iter()) {
            if said.at.elapsed() < KEPT_FOR && others.contains(node) {
                answers.entry(*node).or_insert_with(|| said.clone());
            }
        }
        let answers = Answers { applied: states.borrow().applied(), nodes: answers };
        let answers = Arc::new(answers);
        *remembered = Some((Instant::now(), Arc::clone(&answers)));
        answers
    }

    fn others(&self, state: &State) -> Vec<NodeId> {
        let present = state.nodes().iter().filter(|(_, node)| node.presence == Presence::Present);
        present.map(|(id, _)| *id).filter(|id| *id != self.me).collect()
    }

    async fn how(&self, node: NodeId) -> Option<Said> {
        let mut said: Option<Said> = None;
        let mut from = ShardId(0);
        loop {
            let sent = Instant::now();
            let Answer::How(page) = self.request(node, &Ask::How { from }, ANSWER_WITHIN).await?
            else {
                return None;
            };
            let Page { version, uptime_ms, applied, rows, next } = *page;
            let round_trip = sent.elapsed();
            let known = said.get_or_insert_with(|| Said {
                version,
                uptime_ms,
                applied,
                round_trip,
                at: sent,
                rows: BTreeMap::new(),
            });
            known.rows.extend(rows.into_iter().map(|row| (row.shard, row)));
            match next {
                // A peer that does not come on would be asked for ever.
                Some(next) if next > from => from = next,
                _ => return said,
            }
        }
    }

    /// Has `node` start shards anew. How many it did.
    pub(super) async fn respawn(&self, node: NodeId, shards: Vec<ShardId>) -> Option<u32> {
        match self.request(node, &Ask::Respawn(shards), ORDER_WITHIN).await? {
            Answer::Respawned(count) => Some(count),
            Answer::How(_) => None,
        }
    }

    async fn request(&self, node: NodeId, ask: &Ask, within: Duration) -> Option<Answer> {
        let request = serde_json::to_vec(ask).ok()?;
        let asked = self.transport.request(node, Protocol::Neighbour, &request, within);
        serde_json::from_slice(&asked.await.ok()?).ok()
    }
}

/// Answers the others.
pub(super) fn serve(
    transport: &Transport,
    board: Board,
    look: impl Fn() -> Look + Send + Sync + 'static,
) {
    let answer = move |ask| match ask {
        Ask::How { from } => Answer::How(Box::new(page(look(), from))),
        Ask::Respawn(shards) => {
            let count = shards.iter().filter(|shard| board.respawn(**shard)).count();
            info!(shards = count, "shards are started anew, as another node was asked to");
            Answer::Respawned(u32::try_from(count).unwrap_or(u32::MAX))
        }
    };
    let answer = Arc::new(answer);
    transport.register(
        Protocol::Neighbour,
        transport::answer(move |_, request: Bytes| {
            let answer = Arc::clone(&answer);
            async move {
                let ask = serde_json::from_slice(&request).map_err(|_| Refused::Failed)?;
                // Not on the threads that keep the lease: thousands of rows take milliseconds.
                let answered = spawn_blocking(move || serde_json::to_vec(&answer(ask))).await;
                let answer = answered.map_err(|_| Refused::Failed)?;
                Ok(answer.map_err(|_| Refused::Failed)?.into())
            }
        }),
    );
}

/// What this node says of itself.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) uptime_ms: u64,
    pub(super) applied: LogIndex,
    /// The shards that run here, in order.
    pub(super) rows: Vec<ShardRow>,
}

fn page(look: Look, from: ShardId) -> Page {
    let Look { uptime_ms, applied, rows } = look;
    let mut rows = rows.into_iter().filter(|row| row.shard >= from);
    let page = rows.by_ref().take(ROWS_MAX).collect();
    let next = rows.next().map(|row| row.shard);
    Page { version: env!("CARGO_PKG_VERSION").to_owned(), uptime_ms, applied, rows: page, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(shards: u32) -> Look {
        let rows = (0..shards).map(|shard| ShardRow::new(ShardId(shard))).collect();
        Look { uptime_ms: 5, applied: LogIndex(9), rows }
    }

    #[test]
    fn the_pages_hold_every_shard_once_and_end() {
        let shards = crate::model::SHARDS_MAX;
        let (mut seen, mut from) = (Vec::new(), ShardId(0));
        loop {
            let page = page(look(shards), from);
            seen.extend(page.rows.iter().map(|row| row.shard.0));
            match page.next {
                Some(next) => from = next,
                None => break,
            }
        }

        assert_eq!(seen, (0..shards).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_page_of_talkative_shards_fits_into_a_frame() {
        let mut look = look(ROWS_MAX as u32);
        for row in &mut look.rows {
            row.node = Some("n".repeat(63));
            row.note = Some("w".repeat(120));
            row.last_disconnect = Some("w".repeat(120));
        }

        let answer = Answer::How(Box::new(page(look, ShardId(0))));
        let bytes = serde_json::to_vec(&answer).unwrap();

        assert!(bytes.len() < Protocol::Neighbour.frame_max(), "{}", bytes.len());
    }
}
