//! The table of shards, and what is said of nodes, as HTTP shows it.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::neighbours::Answers;
use crate::agent::ShardNow;
use crate::gateway;
use crate::http::{self, Halt, NodeSaid, ShardRow, View};
use crate::model::{Format, HealthStatus, LogIndex, NodeId, ShardId, ShardStatus, SystemHealth};
use crate::state::{Halted, Shard, State};

/// Without a lease this node hears of no change any more. What it heard last may be long past, and nothing that it can
/// see runs.
pub(super) fn as_known_here(health: SystemHealth, holds: bool) -> SystemHealth {
    if holds { health } else { SystemHealth { status: HealthStatus::Critical, ..health } }
}

/// Puts what the others have answered into a view.
pub(super) fn add(
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

pub(super) fn row(
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

pub(super) fn halt(halted: Halted) -> Halt {
    let advice = gateway::FatalClose(halted.code).advice().to_owned();
    Halt { code: halted.code, shard: halted.shard, advice }
}

pub(super) fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
