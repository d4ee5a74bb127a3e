//! What this node shows of itself over HTTP.

use std::{collections::BTreeMap, fmt, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agent::{Board, ShardNow};
use crate::gateway;
use crate::http::{self, Halt, ShardRow, Source, Unhalted, View};
use crate::model::{NodeId, ShardId};
use crate::raft::Handle;
use crate::state::{Command, Halted, Outcome, Shard, State};
use crate::telemetry::Metrics;

/// A node, as the HTTP server asks for it.
pub(super) struct NodeView {
    pub(super) me: NodeId,
    pub(super) name: String,
    pub(super) raft: Handle,
    pub(super) board: Board,
    pub(super) metrics: Option<Metrics>,
    pub(super) started: Instant,
    pub(super) draining: CancellationToken,
}

impl fmt::Debug for NodeView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeView").field("me", &self.me).finish_non_exhaustive()
    }
}

impl NodeView {
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
        let state = self.state();
        View {
            node: http::Node {
                id: self.me.to_string(),
                name: self.name.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                uptime_ms: millis(self.started.elapsed()),
            },
            health: state.health(),
            leader: self.raft.is_leader().then(|| self.name.clone()),
            store_failure: self.raft.failure().map(|failure| failure.to_string()),
            write_under_way_ms: self.raft.write_under_way().map(millis),
            draining: self.draining.is_cancelled(),
            halted: state.ledger().halted().map(halt),
            identifies: state.ledger().limits(),
            shards: self.rows(&state),
        }
    }

    fn metrics(&self) -> String {
        self.metrics.as_ref().map(Metrics::render).unwrap_or_default()
    }

    fn unhalt(&self) -> BoxFuture<'_, Result<Unhalted, String>> {
        async move {
            let lifted = self.state().ledger().halted().map(halt);
            match self.raft.propose(Command::Unhalt).await {
                Ok(Outcome::Applied) => Ok(Unhalted { lifted }),
                Ok(outcome) => Err(format!("the cluster answered {outcome:?}")),
                Err(error) => Err(error.to_string()),
            }
        }
        .boxed()
    }
}

fn row(
    state: &State,
    id: ShardId,
    shard: &Shard,
    here: Option<&ShardNow>,
    now: Instant,
) -> ShardRow {
    let owner = shard.assignment().and_then(|held| state.nodes().get(&held.node));
    let health = shard.health();
    let committed = ShardRow {
        status: health.status,
        phase: if owner.is_some() { http::Phase::Elsewhere } else { http::Phase::Unassigned },
        node: owner.map(|node| node.name.clone()),
        epoch: shard.epoch().map(|epoch| epoch.to_string()),
        session: shard.session().map(|session| session.number),
        sequence: shard.checkpoint().sequence,
        checkpoint: shard.checkpoint().sequence,
        guilds: health.guild_count,
        members: health.member_count,
        ..ShardRow::new(id)
    };
    let Some(seen) = here else {
        return committed;
    };
    let (phase, note) = phase(seen.status.phase, now);
    ShardRow {
        status: seen.status.shard,
        phase,
        note,
        here: true,
        sequence: seen.received,
        guilds: seen.progress.totals.guilds,
        members: seen.progress.totals.members,
        latency_ms: seen.status.latency.map(millis),
        connects: seen.status.connects,
        last_disconnect: seen.status.last_disconnect.clone(),
        ..committed
    }
}

fn phase(phase: gateway::Phase, now: Instant) -> (http::Phase, Option<String>) {
    use gateway::Phase;
    let left = |until: Instant| {
        let seconds = until.saturating_duration_since(now).as_secs_f64();
        Some(format!("for {seconds:.1} s more"))
    };
    match phase {
        Phase::BackingOff { until } => (http::Phase::BackingOff, left(until)),
        Phase::Connecting => (http::Phase::Connecting, None),
        Phase::WaitingForPermit => (http::Phase::WaitingForPermit, None),
        Phase::Identifying => (http::Phase::Identifying, None),
        Phase::Resuming => (http::Phase::Resuming, None),
        Phase::Connected => (http::Phase::Connected, None),
        Phase::Behind => (http::Phase::Behind, Some("its handlers must catch up".to_owned())),
        Phase::Parked { until } => (http::Phase::Parked, left(until)),
        Phase::Halted(fatal) => (http::Phase::Halted, Some(fatal.advice().to_owned())),
    }
}

fn halt(halted: Halted) -> Halt {
    let advice = gateway::FatalClose(halted.code).advice().to_owned();
    Halt { code: halted.code, shard: halted.shard, advice }
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
