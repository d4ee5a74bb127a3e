//! What is done with each payload.

use std::{ops::ControlFlow, time::Duration};

use twilight_gateway::EventType;

use super::{
    batch::Refused,
    connection::{Connection, Flow, Pumped, Stage, ended},
    held::{Early, Held},
    ladder::{Attempt, Cause},
    name::EventName,
    payload::{Envelope, Excess, data},
    port::{Dispatch, Oddity},
    sequencer::{Fault, Verdict},
};
use crate::model::Sequence;

/// Discord's opcodes, as far as they come from the server (Gateway docs, "Gateway Opcodes").
mod opcode {
    pub(super) const DISPATCH: u8 = 0;
    pub(super) const HEARTBEAT: u8 = 1;
    pub(super) const RECONNECT: u8 = 7;
    pub(super) const INVALID_SESSION: u8 = 9;
    pub(super) const HELLO: u8 = 10;
    pub(super) const HEARTBEAT_ACK: u8 = 11;
}

/// The heartbeat intervals that are believed. Discord's is about 41 s. A shorter one than the first would spend the
/// limit of 120 sends a minute many times over, a longer one than the second would find no dead connection.
const HEARTBEAT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(600));

const PASS: Flow = ControlFlow::Continue(());

impl Connection<'_> {
    /// Handles one payload.
    pub(super) fn payload(&mut self, json: String) -> Flow {
        let Some(envelope) = Envelope::of(&json) else { return self.undecodable(json) };
        if let Err(excess) = self.core.limits.check(&json) {
            return self.excess(envelope, excess);
        }
        match envelope.op {
            opcode::DISPATCH => {
                let name = envelope.name.map(EventName::new);
                self.dispatch(envelope.sequence.map(Sequence), name, json)
            }
            opcode::HEARTBEAT => PASS,
            opcode::RECONNECT => ended(Cause::Reconnect, "Discord asked to reconnect (op 7)"),
            opcode::INVALID_SESSION => {
                let resumable = data::<bool>(&json).unwrap_or(false);
                let reason = format!("invalid session (op 9, resumable: {resumable})");
                ended(Cause::InvalidSession { resumable }, reason)
            }
            opcode::HELLO => self.hello(&json),
            opcode::HEARTBEAT_ACK => {
                self.paused = Duration::ZERO;
                self.core.board.latency(self.link.latency());
                PASS
            }
            unknown => {
                metrics::counter!("apolo_gateway_unknown_opcodes_total").increment(1);
                tracing::debug!(opcode = unknown, "unknown opcode");
                PASS
            }
        }
    }

    fn hello(&mut self, json: &str) -> Flow {
        #[derive(serde::Deserialize)]
        struct Hello {
            heartbeat_interval: u64,
        }

        let interval =
            data::<Hello>(json).map(|hello| Duration::from_millis(hello.heartbeat_interval));
        let believed = interval.filter(|span| (HEARTBEAT.0..=HEARTBEAT.1).contains(span));
        let (Some(heartbeat), Stage::Opening) = (believed, self.stage) else {
            return ended(Cause::Garbage, "a HELLO that can't be used");
        };
        self.heartbeat = heartbeat;
        self.dispatched_at = self.now;
        self.stage = match self.attempt {
            Attempt::Resume(_) => {
                self.core.sequencer.set_replaying(true);
                Stage::Resuming
            }
            Attempt::Identify => Stage::WaitingForPermit,
        };
        ControlFlow::Break(Pumped::Changed)
    }

    fn dispatch(
        &mut self,
        sequence: Option<Sequence>,
        name: Option<EventName>,
        json: String,
    ) -> Flow {
        let (Some(sequence), Some(name)) = (sequence, name) else {
            return self.undecodable(json);
        };
        self.dispatched_at = self.now;
        match name.kind() {
            Some(EventType::Ready) => self.ready(sequence, name, json),
            Some(EventType::Resumed) => self.resumed(sequence, name, json),
            Some(_) | None => self.offer(sequence, name, json, None),
        }
    }

    fn ready(&mut self, sequence: Sequence, name: EventName, json: String) -> Flow {
        let Some((id, resume_url)) = self.link.session() else {
            return ended(Cause::Garbage, "a READY without a session");
        };
        if let Some(answered) = self.permit.take().and_then(|permit| permit.answered) {
            // Whoever keeps the ledger may be gone.
            let _ = answered.send(());
        }
        if self.stage == Stage::Resuming && self.core.is_session(id) {
            // What was to be replayed begins before it: nothing of the session had been handled yet.
            return self.offer(sequence, name, json, None);
        }
        metrics::counter!("apolo_gateway_identifies_total", "outcome" => "accepted").increment(1);
        self.core.start_session(id, resume_url.unwrap_or_default(), sequence);
        self.behind = false;
        self.held = Held::default();
        self.core.catching_up = false;
        self.stage = Stage::Ready { since: self.now };
        self.offer(sequence, name, json, None)?;
        self.core.connect(false);
        ControlFlow::Break(Pumped::Changed)
    }

    fn resumed(&mut self, sequence: Sequence, name: EventName, json: String) -> Flow {
        match self.release() {
            ControlFlow::Continue(()) | ControlFlow::Break(Pumped::Changed) => {}
            ControlFlow::Break(other) => return ControlFlow::Break(other),
        }
        self.core.sequencer.set_replaying(false);
        match self.offer(sequence, name, json, None) {
            ControlFlow::Continue(()) | ControlFlow::Break(Pumped::Changed) => {}
            ControlFlow::Break(other) => return ControlFlow::Break(other),
        }
        if self.stage == Stage::Resuming {
            self.core.catching_up &= self.behind;
            self.stage = Stage::Ready { since: self.now };
            metrics::counter!("apolo_gateway_resumes_total", "outcome" => "accepted").increment(1);
            self.core.connect(true);
        }
        ControlFlow::Break(Pumped::Changed)
    }

    /// Puts a dispatch into the queue, and those that waited for it; unless its sequence or the queue forbids it.
    fn offer(
        &mut self,
        sequence: Sequence,
        name: EventName,
        json: String,
        oddity: Option<Oddity>,
    ) -> Flow {
        self.core.board.received.set(sequence);
        let early = Early { sequence, name, json };
        self.offer_one(early, oddity, self.core.sequencer.is_replaying())?;
        while let Some(early) = self.held.take_up_to(self.core.sequencer.last().next()) {
            self.offer_one(early, None, true)?;
        }
        PASS
    }

    fn offer_one(&mut self, it: Early, oddity: Option<Oddity>, wait: bool) -> Flow {
        if self.behind {
            self.core.board.counters.dropped_behind.increment(1);
            return PASS;
        }
        let found = match self.core.sequencer.judge(it.sequence, wait) {
            Verdict::Pass(found) => found,
            Verdict::Duplicate | Verdict::Implausible => {
                self.core.board.counters.duplicates.increment(1);
                return PASS;
            }
            Verdict::Early => return self.hold(it),
            Verdict::Gap => {
                metrics::counter!("apolo_gateway_gaps_total").increment(1);
                let last = self.core.sequencer.last();
                return ended(
                    Cause::Garbage,
                    format!("sequence {} came after {last}", it.sequence),
                );
            }
        };
        let Early { sequence, name, json } = it;
        let dispatch = Dispatch { sequence, name, json, oddity: oddity.or(found) };
        match self.core.feed.dispatch(dispatch) {
            Ok(()) => {
                self.core.sequencer.passed(sequence);
                PASS
            }
            Err(Refused::Full) => {
                self.behind = true;
                self.core.board.counters.dropped_behind.increment(1);
                ControlFlow::Break(Pumped::Changed)
            }
            Err(Refused::Closed) => ControlFlow::Break(Pumped::Unread),
        }
    }

    /// Keeps a dispatch of a replay that came before its turn. Where too many wait already, what they wait for is taken
    /// for missing.
    fn hold(&mut self, early: Early) -> Flow {
        let Err(early) = self.held.keep(early) else { return PASS };
        self.release()?;
        self.offer_one(early, None, false)
    }

    /// Lets go of what waits for dispatches that did not come.
    fn release(&mut self) -> Flow {
        while let Some(early) = self.held.take_first() {
            self.offer_one(early, None, false)?;
        }
        PASS
    }

    /// A payload without a readable envelope: the first time at a place the session is resumed, the second time it is
    /// handed over as it is if it has a sequence, or else passed over.
    pub(super) fn undecodable(&mut self, json: String) -> Flow {
        metrics::counter!("apolo_gateway_undecodable_total").increment(1);
        if !self.has_session() || !self.core.sequencer.strike(Fault::Undecodable) {
            return ended(Cause::Garbage, "a payload that can't be read");
        }
        let envelope = Envelope::of(&json).filter(|envelope| envelope.op == opcode::DISPATCH);
        let Some(sequence) = envelope.and_then(|envelope| envelope.sequence) else { return PASS };
        let name = EventName::new(envelope.and_then(|envelope| envelope.name).unwrap_or_default());
        self.offer(Sequence(sequence), name, json, Some(Oddity::Undecodable))
    }

    /// A payload that is too large or too deep: never kept. The first time at a place the session is resumed, the
    /// second time it is passed over, and the next dispatch tells of the hole.
    fn excess(&mut self, envelope: Envelope<'_>, excess: Excess) -> Flow {
        metrics::counter!("apolo_gateway_excess_total").increment(1);
        let reason = match excess {
            Excess::Bytes => "a payload that is too large",
            Excess::Depth => "a payload that is nested too deep",
        };
        let sequence = envelope.sequence.map(Sequence);
        let next = self.core.sequencer.last().next();
        if !self.has_session() || self.behind || !self.core.sequencer.strike(Fault::Excess) {
            return ended(Cause::Garbage, reason);
        }
        if envelope.op == opcode::DISPATCH && sequence == Some(next) {
            tracing::warn!(sequence = %next, reason, "a dispatch was passed over");
            self.core.sequencer.skip(next);
        }
        PASS
    }

    /// The compressed stream broke. The second time at a place, the dispatch that would have come next is passed over:
    /// the RESUME claims to have it.
    pub(super) fn uninflatable(&mut self) -> Flow {
        metrics::counter!("apolo_gateway_uninflatable_total").increment(1);
        if self.has_session() && !self.behind && self.core.sequencer.strike(Fault::Inflate) {
            let next = self.core.sequencer.last().next();
            tracing::warn!(sequence = %next, "a dispatch that can't be inflated was passed over");
            self.core.sequencer.skip(next);
        }
        ended(Cause::Garbage, "a message that can't be inflated")
    }

    /// Whether dispatches of a session can come on this connection.
    const fn has_session(&self) -> bool {
        matches!(self.stage, Stage::Resuming | Stage::Ready { .. })
    }
}
