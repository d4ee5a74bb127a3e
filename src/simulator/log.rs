//! The part of the truth that is written as it happens.

use std::collections::{BTreeMap, VecDeque};

use super::{
    rules::{Rule, Violation},
    truth::{
        Broken, ConnectionTruth, IdentifyTruth, InteractionTruth, RECORDS_MAX, ResumeTruth,
        SessionTruth, Truth,
    },
};

/// The part of the truth that is written as it happens. Sessions and connections that are open are added when a
/// [`Truth`] is taken.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub identifies_accepted: u64,
    pub identifies_refused: u64,
    pub resumes_accepted: u64,
    pub resumes_refused: u64,
    pub connections_opened: u64,
    pub gateway_bot_requests: u64,
    broken: BTreeMap<Rule, Broken>,
    gateway_bot_at_ms: VecDeque<u64>,
    sessions: VecDeque<SessionTruth>,
    connections: VecDeque<ConnectionTruth>,
    identifies: VecDeque<IdentifyTruth>,
    resumes: VecDeque<ResumeTruth>,
    interactions: VecDeque<InteractionTruth>,
}

impl Log {
    pub(super) fn broke(&mut self, rule: Rule, detail: &str, at_ms: u64) {
        let broken = self.broken.entry(rule).or_default();
        broken.count += 1;
        broken.last_ms = at_ms;
        broken.last = shorten(detail, DETAIL_MAX);
    }

    pub(super) fn violated(&mut self, violation: &Violation, at_ms: u64) {
        self.broke(violation.rule, &violation.detail, at_ms);
    }

    pub(super) fn identified(&mut self, identify: IdentifyTruth) {
        match identify.outcome {
            Ok(_) => self.identifies_accepted += 1,
            Err(_) => self.identifies_refused += 1,
        }
        keep(&mut self.identifies, identify);
    }

    pub(super) fn resumed(&mut self, resume: ResumeTruth) {
        match resume.outcome {
            Ok(_) => self.resumes_accepted += 1,
            Err(_) => self.resumes_refused += 1,
        }
        keep(&mut self.resumes, resume);
    }

    pub(super) fn session_ended(&mut self, session: SessionTruth) {
        keep(&mut self.sessions, session);
    }

    pub(super) fn connection_ended(&mut self, connection: ConnectionTruth) {
        keep(&mut self.connections, connection);
    }

    pub(super) fn asked_for_gateway_bot(&mut self, at_ms: u64) {
        self.gateway_bot_requests += 1;
        keep(&mut self.gateway_bot_at_ms, at_ms);
    }

    pub(super) fn answered(&mut self, mut interaction: InteractionTruth) {
        interaction.body = shorten(&interaction.body, INTERACTION_BODY_MAX);
        keep(&mut self.interactions, interaction);
    }

    /// The log, with what is still open.
    pub(super) fn truth(
        &self,
        sessions: Vec<SessionTruth>,
        connections: Vec<ConnectionTruth>,
    ) -> Truth {
        Truth {
            identifies_accepted: self.identifies_accepted,
            identifies_refused: self.identifies_refused,
            resumes_accepted: self.resumes_accepted,
            resumes_refused: self.resumes_refused,
            connections_opened: self.connections_opened,
            gateway_bot_requests: self.gateway_bot_requests,
            gateway_bot_at_ms: self.gateway_bot_at_ms.iter().copied().collect(),
            broken: self.broken.clone(),
            sessions: self.sessions.iter().cloned().chain(sessions).collect(),
            connections: self.connections.iter().cloned().chain(connections).collect(),
            identifies: self.identifies.iter().cloned().collect(),
            resumes: self.resumes.iter().cloned().collect(),
            interactions: self.interactions.iter().cloned().collect(),
            ..Truth::default()
        }
    }
}

fn keep<T>(list: &mut VecDeque<T>, record: T) {
    if list.len() >= RECORDS_MAX {
        list.pop_front();
    }
    list.push_back(record);
}

fn shorten(text: &str, max: usize) -> String {
    text.chars().take(max).collect()
}

/// Characters of a broken rule's detail.
const DETAIL_MAX: usize = 300;

/// Characters of an interaction callback's body that are kept.
const INTERACTION_BODY_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_forget_and_counters_do_not() {
        let mut log = Log::default();

        for at_ms in 0..RECORDS_MAX as u64 + 10 {
            log.asked_for_gateway_bot(at_ms);
        }

        let truth = log.truth(Vec::new(), Vec::new());
        assert_eq!(truth.gateway_bot_requests, RECORDS_MAX as u64 + 10);
        assert_eq!(truth.gateway_bot_at_ms.len(), RECORDS_MAX);
        assert_eq!(truth.gateway_bot_at_ms[0], 10);
    }
}
