//! How things stand, as gauges: set when somebody asks for the metrics.

use std::{collections::BTreeMap, time::Duration};

use metrics::gauge;

use crate::http::{NodeRow, Phase, Role, ShardRow, View, readiness};
use crate::model::{NodeId, ShardStatus, UnixMillis};
use crate::state::State;
use crate::transport::Path;

/// What the view does not say.
#[derive(Clone, Copy, Debug)]
pub(super) struct More {
    /// How long the right to run shards lasts if nothing renews it.
    pub(super) lease_left: Option<Duration>,
    /// The last entry of the log that is part of the state.
    pub(super) applied: u64,
    /// Until when the certificate is good.
    pub(super) certificate_until: UnixMillis,
    pub(super) now: UnixMillis,
}

/// Sets the gauges of a node that waits for its cluster: alerts must find that it is not well.
pub(super) fn publish_waiting(view: &View) {
    whether_ready(view);
    gauge!("apolo_raft_has_leader").set(is(view.leader.is_some()));
    gauge!("apolo_lease_holds").set(0.0);
    gauge!("apolo_store_write_under_way_seconds").set(view.write_under_way_ms.map_or(0.0, seconds));
    gauge!("apolo_core_silent_seconds").set(seconds(view.silent_ms));
}

fn whether_ready(view: &View) {
    gauge!("apolo_build_info", "version" => view.node.version.clone()).set(1.0);
    gauge!("apolo_uptime_seconds").set(seconds(view.node.uptime_ms));
    let readiness = readiness(view);
    gauge!("apolo_ready").set(is(readiness.ready));
    for condition in &readiness.conditions {
        gauge!("apolo_condition", "condition" => condition.name.clone()).set(is(condition.holds));
    }
}

/// Sets every gauge to what the node sees.
pub(super) fn publish(view: &View, more: More) {
    whether_ready(view);
    gauge!("apolo_format").set(view.format.0);
    gauge!("apolo_draining").set(is(view.draining));
    gauge!("apolo_halted").set(is(view.halted.is_some()));
    gauge!("apolo_store_write_under_way_seconds").set(view.write_under_way_ms.map_or(0.0, seconds));
    gauge!("apolo_core_silent_seconds").set(seconds(view.silent_ms));
    let valid = more.certificate_until.since(more.now);
    gauge!("apolo_certificate_valid_seconds").set(valid.as_secs_f64());
    gauge!("apolo_kv_bytes").set(view.kept.bytes as f64);
    gauge!("apolo_kv_limit_bytes").set(view.kept.limit as f64);
    cluster(view, more);
    shards(view);
    if let Some(limits) = view.identifies {
        gauge!("apolo_identifies_limit").set(limits.total);
        gauge!("apolo_identifies_remaining").set(limits.remaining);
    }
}

/// Sets what says how the way to each other node is. Of one that is not connected there is nothing to say.
pub(super) fn publish_paths(state: &State, me: NodeId, paths: &BTreeMap<NodeId, Path>) {
    for (id, node) in state.nodes().iter().filter(|(id, _)| **id != me) {
        let path = paths.get(id);
        let peer = || node.name.clone();
        let number = |of: fn(&Path) -> f64| path.map_or(f64::NAN, of);
        gauge!("apolo_transport_round_trip_seconds", "peer" => peer())
            .set(number(|path| path.round_trip.as_secs_f64()));
        gauge!("apolo_transport_sent_packets", "peer" => peer())
            .set(number(|path| path.sent as f64));
        gauge!("apolo_transport_lost_packets", "peer" => peer())
            .set(number(|path| path.lost as f64));
    }
}

fn cluster(view: &View, more: More) {
    // By its id: a name may be another's too.
    let leads = view.nodes.iter().any(|row| row.id == view.node.id && row.role == Role::Leader);
    gauge!("apolo_raft_leads").set(is(leads));
    // The last leader is named for as long as there is no other; that it renews leases shows that it leads.
    gauge!("apolo_raft_has_leader").set(is(view.leader.is_some() && view.lease));
    gauge!("apolo_raft_term").set(view.term as f64);
    gauge!("apolo_raft_applied_index").set(more.applied as f64);
    gauge!("apolo_lease_holds").set(is(view.lease));
    // Without an end, which a sole voter's has not, it is as long as the scale goes.
    let left = if view.lease {
        more.lease_left.map_or(f64::INFINITY, |left| left.as_secs_f64())
    } else {
        0.0
    };
    gauge!("apolo_lease_left_seconds").set(left);
    let count = |wanted: &dyn Fn(&NodeRow) -> bool| {
        view.nodes.iter().filter(|node| wanted(node)).count() as f64
    };
    gauge!("apolo_nodes", "state" => "present").set(count(&|node| !node.lost && !node.drains));
    gauge!("apolo_nodes", "state" => "drains").set(count(&|node| !node.lost && node.drains));
    gauge!("apolo_nodes", "state" => "lost").set(count(&|node| node.lost));
    let votes = |node: &NodeRow| matches!(node.role, Role::Leader | Role::Voter);
    gauge!("apolo_raft_voters").set(count(&votes));
}

fn shards(view: &View) {
    // Without a lease nothing that this node can see runs: what it heard last may be long past.
    let seen = |row: &ShardRow| match row.status {
        ShardStatus::Ready if !view.lease => ShardStatus::Disconnected,
        status => status,
    };
    for status in ShardStatus::ALL {
        let count = view.shards.iter().filter(|row| seen(row) == status).count();
        gauge!("apolo_shards", "status" => status.as_str()).set(count as f64);
    }
    let here = || view.shards.iter().filter(|row| row.here);
    let mut phases: BTreeMap<&str, u64> = Phase::HERE.map(|phase| (phase.as_str(), 0)).into();
    for row in here() {
        *phases.entry(row.phase.as_str()).or_default() += 1;
    }
    for (phase, count) in phases {
        gauge!("apolo_shards_here", "phase" => phase).set(count as f64);
    }
    let flapping = here().filter(|row| row.connects_of_late.is_some()).count();
    gauge!("apolo_shards_flapping").set(flapping as f64);
    let owned = view.shards.iter().filter(|row| row.node.is_some()).count();
    gauge!("apolo_shards_owned").set(owned as f64);
    let latency = here().filter_map(|row| row.latency_ms).max();
    gauge!("apolo_gateway_latency_max_seconds").set(latency.map_or(0.0, seconds));
    let behind = here().map(|row| row.sequence.0.saturating_sub(row.checkpoint.0)).max();
    gauge!("apolo_checkpoint_behind_max_events").set(behind.unwrap_or(0) as f64);
    if let Some(health) = view.health {
        gauge!("apolo_shards_total").set(health.total_shards);
        gauge!("apolo_guilds").set(health.total_guilds as f64);
        gauge!("apolo_members").set(health.total_members as f64);
    }
}

const fn is(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

fn seconds(millis: u64) -> f64 {
    Duration::from_millis(millis).as_secs_f64()
}
