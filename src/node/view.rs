//! What this node shows of itself over HTTP.

use std::{collections::BTreeMap, fmt, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    backup, changes,
    consumers::ShownPort,
    core::Core,
    gauges::{self, More},
    kv, leave,
    neighbours::{Look, Neighbours},
    respawn,
    rows::{add, as_known_here, halt, millis, row},
    target, tokens,
};
use crate::agent::{Board, ShardNow};
use crate::control::Wishes;
use crate::http::{
    self, BackupStream, Change, Changed, Kept, KvAnswer, KvProblem, KvRequest, NodeRow, Role,
    ShardRow, Source, TokenAnswer, TokenAsk, Unhalted, View,
};
use crate::kv::{Kv, TOTAL_BYTES_MAX};
use crate::lease::Right;
use crate::model::{NodeId, ShardId, UnixMillis};
use crate::raft::Handle;
use crate::state::user::{RestoreStep, Restored};
use crate::state::{self, Command, Drain, Outcome, Presence, Shard, State};
use crate::telemetry::Metrics;
use crate::transport::Credentials;

/// A node, as the HTTP server asks for it.
pub(super) struct NodeView {
    pub(super) me: NodeId,
    pub(super) name: String,
    pub(super) raft: Handle,
    pub(super) wishes: Wishes,
    /// Told when this node is to leave.
    pub(super) leave: Arc<Notify>,
    pub(super) right: Right,
    pub(super) kv: Kv,
    pub(super) credentials: Arc<Credentials>,
    pub(super) board: Board,
    pub(super) neighbours: Neighbours,
    pub(super) metrics: Option<Metrics>,
    pub(super) started: Instant,
    pub(super) core: Core,
    pub(super) draining: CancellationToken,
    /// How many shards a node should run.
    pub(super) shards_per_pod: Option<u32>,
    pub(super) bot_port: Option<ShownPort>,
}

impl fmt::Debug for NodeView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeView").field("me", &self.me).finish_non_exhaustive()
    }
}

impl NodeView {
    fn nodes(&self, state: &State) -> Vec<NodeRow> {
        let mut shards: BTreeMap<NodeId, usize> = BTreeMap::new();
        for held in state.shards().values().filter_map(Shard::assignment) {
            *shards.entry(held.node).or_default() += 1;
        }
        let members = self.raft.members().borrow().clone();
        let leader = self.core.leader();
        let row = |(id, node): (&NodeId, &state::Node)| NodeRow {
            id: id.to_string(),
            name: node.name.clone(),
            role: if leader == Some(*id) {
                Role::Leader
            } else if members.voters.contains(id) {
                Role::Voter
            } else if members.learners.contains(id) {
                Role::Learner
            } else {
                Role::None
            },
            lost: node.presence == Presence::Lost,
            drains: node.drain != Drain::No,
            shards: shards.get(id).copied().unwrap_or_default(),
            boot: node.boot.0,
            said: None,
        };
        state.nodes().iter().map(row).collect()
    }

    /// Members of Raft that the state knows nothing of: they hold a new format back, and can be removed by id.
    fn never_started(&self, state: &State) -> Vec<String> {
        let members = self.raft.members().borrow().clone();
        let unknown = members.all().filter(|id| !state.nodes().contains_key(id));
        unknown.map(|id| id.to_string()).collect()
    }

    fn view_of(&self, state: &State) -> View {
        View {
            node: http::Node {
                id: self.me.to_string(),
                name: self.name.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                uptime_ms: millis(self.started.elapsed()),
            },
            health: state.health().map(|health| as_known_here(health, self.right.holds())),
            format: state.format(),
            never_started: self.never_started(state),
            term: state.lead().map_or(0, |lead| lead.term),
            leader: self.core.leader_name(),
            lease: self.right.holds(),
            started: true,
            waiting: None,
            nodes: self.nodes(state),
            draining: self.draining.is_cancelled(),
            halted: state.ledger().halted().map(halt),
            identifies: state.ledger().limits(),
            target: self.shards_per_pod.map(|soft_target| target::target(state, soft_target)),
            kept: Kept { bytes: state.user().bytes(), limit: TOTAL_BYTES_MAX },
            consumers: self.bot_port.as_ref().map(ShownPort::view),
            shards: self.rows(state),
            ..self.core.pulse()
        }
    }

    /// The view, with what the others say of themselves just now.
    pub(super) async fn survey(&self) -> View {
        let answers = self.neighbours.ask(&self.raft.states()).await;
        let state = self.state();
        let mut view = self.view_of(&state);
        let own = (self.me, millis(self.started.elapsed()));
        add(&mut view, &state, own, &answers, &self.raft.allowed_formats());
        view
    }

    /// What others are told of this node.
    pub(super) fn look(&self) -> Look {
        let (state, now) = (self.state(), Instant::now());
        let row = |seen: ShardNow| {
            let shard = state.shards().get(&seen.shard)?;
            Some(row(&state, seen.shard, shard, Some(&seen), now))
        };
        let rows = self.board.shards().into_iter().filter_map(row).collect();
        Look { uptime_ms: millis(self.started.elapsed()), applied: state.applied(), rows }
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.raft.states().borrow())
    }

    fn rows(&self, state: &State) -> Vec<ShardRow> {
        let here: BTreeMap<ShardId, ShardNow> =
            self.board.shards().into_iter().map(|now| (now.shard, now)).collect();
        let now = Instant::now();
        state.shards().iter().map(|(id, shard)| row(state, *id, shard, here.get(id), now)).collect()
    }
}

impl Source for NodeView {
    fn view(&self) -> View {
        self.view_of(&self.state())
    }

    fn metrics(&self) -> String {
        let more = More {
            lease_left: self.right.left(),
            applied: self.state().applied().0,
            certificate_until: self.credentials.validity().1,
            now: UnixMillis::now(),
        };
        gauges::publish(&self.view(), more);
        let state = self.state();
        gauges::publish_paths(&state, self.me, &self.neighbours.paths());
        if let Some(port) = &self.bot_port {
            port.publish();
        }
        self.metrics.as_ref().map(Metrics::render).unwrap_or_default()
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Changed, String>> {
        if let Change::Respawn { shard } = change {
            let (state, board) = (self.state(), &self.board);
            return respawn::respawn(state, self.me, board, &self.neighbours, shard).boxed();
        }
        if change != Change::Leave {
            return changes::change(&self.raft, &self.wishes, change).boxed();
        }
        async move {
            let may = leave::check(&self.state(), &self.wishes, self.me, &self.name).await;
            if may.is_ok() {
                self.leave.notify_one();
            }
            may
        }
        .boxed()
    }

    fn tokens(&self, ask: TokenAsk) -> BoxFuture<'_, Result<TokenAnswer, String>> {
        tokens::tokens(&self.raft, &self.credentials, ask).boxed()
    }

    fn kv(&self, request: KvRequest) -> BoxFuture<'_, Result<KvAnswer, KvProblem>> {
        kv::kv(&self.kv, request).boxed()
    }

    fn backup(&self) -> BoxFuture<'_, Result<BackupStream, KvProblem>> {
        backup::backup(&self.kv).boxed()
    }

    fn restore(&self, step: RestoreStep) -> BoxFuture<'_, Result<Option<Restored>, KvProblem>> {
        backup::restore(&self.raft, step).boxed()
    }

    fn unhalt(&self) -> BoxFuture<'_, Result<Unhalted, String>> {
        async move {
            let lifted = self.state().ledger().halted().map(halt);
            match self.raft.propose(Command::Unhalt).await {
                Ok(Outcome::Applied) => Ok(Unhalted { lifted }),
                Ok(outcome) => Err(format!("the cluster answered {outcome:?}")),
                Err(error) => Err(changes::no_outcome(&error)),
            }
        }
        .boxed()
    }
}
