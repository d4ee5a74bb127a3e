//! What became of a shard's events: counted for people and for Prometheus.

use std::{any::Any, error::Error, fmt};

use metrics::{Counter, counter};
use twilight_model::gateway::event::EventType;

use crate::gateway::EventName;
use crate::model::panic_text;

/// Why a handler failed.
#[derive(Debug)]
pub(crate) enum Failure {
    Error(String),
    Panic(String),
    /// The handler leaves the event to the shard's next owner.
    Unhandled,
}

impl Failure {
    pub(crate) fn error(error: &(dyn Error + Send + Sync)) -> Self {
        Self::Error(error.to_string())
    }

    pub(crate) fn panic(panic: &(dyn Any + Send)) -> Self {
        Self::Panic(panic_text(panic).to_owned())
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Error(_) => "error",
            Self::Panic(_) => "panic",
            Self::Unhandled => "unhandled",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(text) => write!(f, "error: {text}"),
            Self::Panic(text) => write!(f, "panic: {text}"),
            Self::Unhandled => f.write_str("not handled"),
        }
    }
}

/// Sums since the shard was started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OutcomeTotals {
    /// Events handed to the bot, or passed over since it does not want their type.
    pub events: u64,
    /// Those that may have been delivered before.
    pub redelivered: u64,
    /// Handlers that failed.
    pub failed: u64,
    /// Sessions that Discord dropped.
    pub sessions_lost: u64,
}

/// Counts one shard's events.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    totals: OutcomeTotals,
    /// A counter's handle costs a look into the registry, so each type's is kept, at the type's place. Types that
    /// twilight does not know share the first, since Discord could send any number of them.
    by_kind: Vec<Option<Counter>>,
}

impl Outcomes {
    pub(crate) const fn totals(&self) -> OutcomeTotals {
        self.totals
    }

    pub(crate) fn count(&mut self, name: &EventName, redelivered: bool) {
        self.totals.events += 1;
        if redelivered {
            self.totals.redelivered += 1;
            counter!("apolo_events_redelivered_total").increment(1);
        }
        let place = name.kind().map_or(0, |kind| kind as usize + 1);
        if place >= self.by_kind.len() {
            self.by_kind.resize_with(place + 1, || None);
        }
        self.by_kind[place]
            .get_or_insert_with(|| counter!("apolo_events_total", "type" => label(name)))
            .increment(1);
    }

    pub(crate) fn failed(&mut self, failure: &Failure) {
        self.totals.failed += 1;
        counter!("apolo_handler_failures_total", "kind" => failure.kind()).increment(1);
    }

    pub(crate) fn undecodable(&self, name: &EventName) {
        counter!("apolo_events_undecodable_total", "type" => label(name)).increment(1);
    }

    pub(crate) fn session_lost(&mut self) {
        self.totals.sessions_lost += 1;
        counter!("apolo_sessions_lost_total").increment(1);
    }
}

fn label(name: &EventName) -> &'static str {
    name.kind().and_then(EventType::name).unwrap_or("OTHER")
}
