//! What this node shows of itself over HTTP.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    backup, changes,
    consumers::ShownPort,
    gauges::{self, More},
    kv, leave,
    neighbours::{Answers, Look, Neighbours},
    respawn, target, tokens,
};
use crate::agent::{Board, ShardNow};
use crate::cluster::Waiting;
use crate::control::Wishes;
use crate::gateway;
use crate::http::{
    self, BackupStream, Change, Changed, Halt, Kept, KvAnswer, KvProblem, KvRequest, NodeRow,
    NodeSaid, Role, ShardRow, Source, TokenAnswer, TokenAsk, Unhalted, View,
};
use crate::kv::{Kv, TOTAL_BYTES_MAX};
use crate::lease::Right;
use crate::model::{
    Format, HealthStatus, LogIndex, NodeId, ShardId, ShardStatus, SystemHealth, UnixMillis,
};
use crate::raft::{Handle, Leadership};
use crate::state::user::{RestoreStep, Restored};
use crate::state::{self, Command, Drain, Halted, Outcome, Presence, Shard, State};
use crate::telemetry::Metrics;
use crate::timeline::Timeline;
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

/// What is shown from the beginning: that the node waits, and then the node.
#[derive(Debug)]
pub(super) struct Front {
    name: String,
    metrics: Option<Metrics>,
    waiting: watch::Receiver<Option<Waiting>>,
    timeline: Timeline,
    started: Instant,
    node: OnceLock<NodeView>,
}

impl Front {
    pub(super) fn new(
        name: String,
        metrics: Option<Metrics>,
        waiting: watch::Receiver<Option<Waiting>>,
    ) -> Self {
        let timeline = Timeline::new(UnixMillis::now());
        Self { name, metrics, waiting, timeline, started: Instant::now(), node: OnceLock::new() }
    }

    /// What other nodes are told of this one.
    pub(super) fn look(&self) -> Look {
        self.node.get().map(NodeView::look).unwrap_or_default()
    }

    /// What happens is told here.
    pub(super) fn told(&self) -> Timeline {
        self.timeline.clone()
    }

    /// From here on the node is shown.
    pub(super) fn open(&self, node: NodeView) {
        let _opened_once = self.node.set(node);
    }
}

impl Source for Front {
    fn view(&self) -> View {
        if let Some(node) = self.node.get() {
            return node.view();
        }
        let waiting = self.waiting.borrow().clone();
        let started = waiting != Some(Waiting::Opening);
        let waiting = waiting.map(|waiting| waiting.to_string());
        View {
            started,
            node: http::Node {
                name: self.name.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                uptime_ms: millis(self.started.elapsed()),
                ..http::Node::default()
            },
            waiting: Some(waiting.unwrap_or_else(|| "being admitted: a cluster is found, and its leader has not let this node in yet; without a leader it can not".to_owned())),
            ..View::default()
        }
    }

    fn survey(&self) -> BoxFuture<'_, View> {
        match self.node.get() {
            Some(node) => node.survey().boxed(),
            None => ready(self.view()).boxed(),
        }
    }

    fn timeline(&self) -> Timeline {
        self.told()
    }

    fn metrics(&self) -> String {
        match self.node.get() {
            Some(node) => node.metrics(),
            None => self.metrics.as_ref().map(Metrics::render).unwrap_or_default(),
        }
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Changed, String>> {
        match self.node.get() {
            Some(node) => node.change(change),
            None => async { Err("this node is no member of a cluster yet".to_owned()) }.boxed(),
        }
    }

    fn tokens(&self, ask: TokenAsk) -> BoxFuture<'_, Result<TokenAnswer, String>> {
        match self.node.get() {
            Some(node) => node.tokens(ask),
            None => async { Err("this node is no member of a cluster yet".to_owned()) }.boxed(),
        }
    }

    fn kv(&self, request: KvRequest) -> BoxFuture<'_, Result<KvAnswer, KvProblem>> {
        match self.node.get() {
            Some(node) => node.kv(request),
            None => async { Err(no_member()) }.boxed(),
        }
    }

    fn backup(&self) -> BoxFuture<'_, Result<BackupStream, KvProblem>> {
        match self.node.get() {
            Some(node) => node.backup(),
            None => async { Err(no_member()) }.boxed(),
        }
    }

    fn restore(&self, step: RestoreStep) -> BoxFuture<'_, Result<Option<Restored>, KvProblem>> {
        match self.node.get() {
            Some(node) => node.restore(step),
            None => async { Err(no_member()) }.boxed(),
        }
    }

    fn unhalt(&self) -> BoxFuture<'_, Result<Unhalted, String>> {
        match self.node.get() {
            Some(node) => node.unhalt(),
            None => async { Err("this node is no member of a cluster yet".to_owned()) }.boxed(),
        }
    }
}

impl NodeView {
    fn nodes(&self, state: &State) -> Vec<NodeRow> {
        let mut shards: BTreeMap<NodeId, usize> = BTreeMap::new();
        for held in state.shards().values().filter_map(Shard::assignment) {
            *shards.entry(held.node).or_default() += 1;
        }
        let members = self.raft.members().borrow().clone();
        let leader = self.leader();
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
            leader: self.leader().map(|leader| {
                let known = state.nodes().get(&leader);
                known.map_or_else(|| leader.to_string(), |node| node.name.clone())
            }),
            lease: self.right.holds(),
            started: true,
            waiting: None,
            nodes: self.nodes(state),
            store_failure: self.raft.failure().map(|failure| failure.to_string()),
            write_under_way_ms: self.raft.write_under_way().map(millis),
            draining: self.draining.is_cancelled(),
            halted: state.ledger().halted().map(halt),
            identifies: state.ledger().limits(),
            target: self.shards_per_pod.map(|soft_target| target::target(state, soft_target)),
            kept: Kept { bytes: state.user().bytes(), limit: TOTAL_BYTES_MAX },
            consumers: self.bot_port.as_ref().map(ShownPort::view),
            shards: self.rows(state),
        }
    }

    /// The view, with what the others say of themselves just now.
    async fn survey(&self) -> View {
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

    fn leader(&self) -> Option<NodeId> {
        match *self.raft.leadership().borrow() {
            Leadership::Leading { .. } => Some(self.me),
            Leadership::Following { leader } => leader,
        }
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
                Err(error) => Err(error.to_string()),
            }
        }
        .boxed()
    }
}

/// Without a lease this node hears of no change any more. What it heard last may be long past, and nothing that it can
/// see runs.
fn as_known_here(health: SystemHealth, holds: bool) -> SystemHealth {
    if holds { health } else { SystemHealth { status: HealthStatus::Critical, ..health } }
}

/// Puts what the others have answered into a view.
fn add(
    view: &mut View,
    state: &State,
    (me, uptime_ms): (NodeId, u64),
    answers: &Answers,
    formats: &BTreeMap<NodeId, Format>,
) {
    let applied = answers.nodes.values().map(|said| said.applied).chain([answers.applied]);
    let furthest = applied.max().unwrap_or_default();
    let lag = |applied: LogIndex| furthest.0.saturating_sub(applied.0);
    // The view is of this very state: its rows are in the order of the nodes.
    for (row, id) in view.nodes.iter_mut().zip(state.nodes().keys()) {
        let format_max = formats.get(id).copied();
        let said = match answers.nodes.get(id) {
            Some(said) => NodeSaid {
                version: said.version.clone(),
                uptime_ms: said.uptime_ms,
                lag: lag(said.applied),
                round_trip_us: u64::try_from(said.round_trip.as_micros()).unwrap_or(u64::MAX),
                format_max,
            },
            None if *id == me => NodeSaid {
                version: view.node.version.clone(),
                uptime_ms,
                lag: lag(answers.applied),
                round_trip_us: 0,
                format_max,
            },
            None => continue,
        };
        row.said = Some(said);
    }
    for row in &mut view.shards {
        let owner = state.shards().get(&row.shard).and_then(|shard| shard.assignment());
        let said = owner.and_then(|held| answers.nodes.get(&held.node)?.rows.get(&row.shard));
        // One that has moved meanwhile is another's, or has begun anew.
        if let Some(said) = said.filter(|said| !row.here && said.epoch == row.epoch) {
            *row = ShardRow { here: false, ..said.clone() };
        }
    }
}

fn no_member() -> KvProblem {
    KvProblem::Unavailable("this node is no member of a cluster yet".to_owned())
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
    // How long it has been without a connection is not its connection's to say. One that never had any says that.
    let dead = health.status == ShardStatus::Dead && seen.status.shard == ShardStatus::Disconnected;
    ShardRow {
        status: if dead { ShardStatus::Dead } else { seen.status.shard },
        phase,
        note,
        here: true,
        sequence: seen.received,
        guilds: seen.progress.totals.guilds,
        members: seen.progress.totals.members,
        latency_ms: seen.status.latency.map(millis),
        connects: seen.status.connects,
        connects_of_late: seen.connects_of_late,
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
