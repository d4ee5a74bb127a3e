//! Faults that act at once, on the connections that are open.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    core::{Core, Reach, lock},
    fault::{Fault, Step},
    injection::{InjectError, Injection},
    login::{Answer, ends_session},
    payload,
    truth::SessionEnd,
    wire::Flow,
    writer::Order,
};

/// Injects a fault: it acts, or waits for its step.
pub(super) fn inject(core: &Arc<Core>, injection: &Injection) -> Result<(), InjectError> {
    injection.check()?;
    let step = injection.fault.step();
    if step.is_some() {
        lock(&core.armed).arm(injection.clone(), Instant::now())?;
    }
    match step {
        Some(Step::Generate) => {
            lock(&core.armed).count(&injection.fault);
            core.set_rate(None);
        }
        Some(Step::Down) => {
            core.reach().iter().for_each(|reach| reach.cut(true));
            core.cut.notify_waiters();
        }
        Some(_) => {}
        None => {
            let struck: Vec<Reach> = core
                .reach()
                .into_iter()
                .filter(|reach| injection.covers(reach.shard, Some(reach.url)))
                .collect();
            struck.into_iter().for_each(|reach| strike(core, injection, reach));
            if injection.fault == Fault::Expire {
                expire_the_rest(core, injection);
            }
        }
    }
    Ok(())
}

/// Disarms every fault and opens every valve. What was cut or lost stays so.
pub(super) fn clear(core: &Core) {
    lock(&core.armed).clear();
    core.set_rate(None);
    core.reach().iter().for_each(free);
}

fn strike(core: &Arc<Core>, injection: &Injection, reach: Reach) {
    let fault = &injection.fault;
    lock(&core.armed).count(fault);
    match fault {
        Fault::Stall | Fault::Trickle { .. } | Fault::HalfOpen => hold_up(core, injection, reach),
        Fault::Garbage { what } => {
            let _ = reach.orders.try_send(Order::Garbage(what.clone()));
        }
        Fault::Duplicate => {
            let _ = reach.orders.try_send(Order::Duplicate);
        }
        Fault::AskHeartbeat => {
            let _ = reach.orders.try_send(Order::Text(payload::HEARTBEAT.into()));
        }
        Fault::Expire => {
            if let Some(session) = &reach.session {
                core.end_session_by_id(session, SessionEnd::Expired);
            }
            reach.cut(true);
        }
        Fault::Reconnect { .. }
        | Fault::InvalidSession { .. }
        | Fault::Close { .. }
        | Fault::Reset { .. }
        | Fault::Eof { .. } => answer(core, fault, reach),
        // These wait for their step, and so never come here.
        Fault::Handshake { .. }
        | Fault::NoHello
        | Fault::MalformedHello
        | Fault::NoReady
        | Fault::NoResumed
        | Fault::NoHeartbeatAck
        | Fault::Fragment { .. }
        | Fault::Withhold { .. }
        | Fault::ResumeUrl { .. }
        | Fault::GatewayBot { .. }
        | Fault::Burst { .. }
        | Fault::ReplayOutOfOrder
        | Fault::Down => {}
    }
}

fn answer(core: &Arc<Core>, fault: &Fault, reach: Reach) {
    let answer = Answer::of(fault);
    let session = reach.session.clone();
    let ends = ends_session(&answer);
    match answer {
        Answer::InvalidSession(resumable) => {
            let text = payload::invalid_session(resumable).into();
            let _ = reach.orders.try_send(Order::Text(text));
        }
        Answer::Reconnect => {
            let _ = reach.orders.try_send(Order::Text(payload::RECONNECT.into()));
        }
        Answer::Close(code) => reach.close(core, code),
        Answer::Cut { reset } => reach.cut(reset),
        Answer::Attach(_) | Answer::Silence => {}
    }
    if let Some(session) = session.filter(|_| ends) {
        core.end_session_by_id(&session, SessionEnd::Invalidated);
    }
}

fn hold_up(core: &Arc<Core>, injection: &Injection, reach: Reach) {
    let flow = if let Fault::Trickle { bytes_per_second } = injection.fault {
        Flow::Trickle(bytes_per_second)
    } else {
        Flow::Stalled
    };
    reach.valve.set_flow(flow);
    reach.valve.set_deaf(injection.fault == Fault::HalfOpen);
    if let Some(span) = injection.for_ms {
        let core_stop = core.clone();
        core.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(span)) => free(&reach),
                () = core_stop.stopped() => {}
            }
        });
    }
}

fn free(reach: &Reach) {
    reach.valve.set_deaf(false);
    reach.valve.set_flow(Flow::Free);
}

/// Sessions without a connection expire too.
fn expire_the_rest(core: &Core, injection: &Injection) {
    if injection.url.is_some() {
        return;
    }
    for shard in core.all_shards() {
        if injection.covers(Some(shard.id.0), None) {
            let state = &mut *shard.lock();
            let ids: Vec<String> =
                state.sessions.iter().map(|member| member.session.id.clone()).collect();
            ids.iter().for_each(|id| core.end_session(state, id, SessionEnd::Expired));
        }
    }
}
