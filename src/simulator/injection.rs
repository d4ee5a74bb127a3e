//! Where, how often and for how long a fault strikes.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::{
    fault::{Fault, Garbage, GatewayBot, Step, Url},
    world::EventKind,
};

/// A fault, and where and how often it strikes. Without limits it strikes everywhere, and until it is cleared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Injection {
    /// What.
    #[serde(flatten)]
    pub fault: Fault,
    /// Only these shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<BTreeSet<u32>>,
    /// Only connections that came by this URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
    /// At most so many times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Only for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

impl From<Fault> for Injection {
    fn from(fault: Fault) -> Self {
        Self { fault, shards: None, url: None, times: None, for_ms: None }
    }
}

impl Injection {
    /// Reads an injection from JSON, and refuses keys that it does not know: a misspelt scope would strike everywhere.
    ///
    /// # Errors
    ///
    /// [`InjectError::Unreadable`].
    pub fn from_json(json: Value) -> Result<Self, InjectError> {
        let unreadable = |error: String| InjectError::Unreadable(error);
        let injection: Self =
            serde_json::from_value(json.clone()).map_err(|error| unreadable(error.to_string()))?;
        let known =
            serde_json::to_value(&injection).map_err(|error| unreadable(error.to_string()))?;
        for (key, value) in json.as_object().into_iter().flatten() {
            if !value.is_null() && known.get(key).is_none() {
                let scopes = "expected what the fault needs, `shards`, `url`, `times` or `for_ms`";
                return Err(unreadable(format!("unknown field `{key}`, {scopes}")));
            }
        }
        Ok(injection)
    }

    /// On these shards alone.
    #[must_use]
    pub fn on(mut self, shards: impl IntoIterator<Item = u32>) -> Self {
        self.shards = Some(shards.into_iter().collect());
        self
    }

    /// On connections that came by this URL alone.
    #[must_use]
    pub const fn by(mut self, url: Url) -> Self {
        self.url = Some(url);
        self
    }

    /// At most so many times.
    #[must_use]
    pub const fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// For so long.
    #[must_use]
    pub fn lasting(mut self, span: Duration) -> Self {
        self.for_ms = Some(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Whether it concerns a connection of this shard, if it is known, by this URL.
    pub(super) fn covers(&self, shard: Option<u32>, url: Option<Url>) -> bool {
        let shard_fits =
            self.shards.as_ref().is_none_or(|set| shard.is_some_and(|id| set.contains(&id)));
        let url_fits = self.url.is_none_or(|wanted| url == Some(wanted));
        shard_fits && url_fits
    }

    /// Refuses what could never strike, or not as it says.
    pub(super) fn check(&self) -> Result<(), InjectError> {
        let name = self.fault.name();
        let step = self.fault.step();
        if self.times == Some(0) || self.for_ms == Some(0) {
            return Err(InjectError::Never(name));
        }
        if self.shards.is_some() && step.is_some_and(Step::is_before_the_shard_is_known) {
            return Err(InjectError::ShardUnknown(name));
        }
        if self.times.is_some() && step.is_none_or(|step| step == Step::Generate) {
            return Err(InjectError::ActsOnce(name));
        }
        let lasts = step.is_some()
            || matches!(self.fault, Fault::Stall | Fault::Trickle { .. } | Fault::HalfOpen);
        if self.for_ms.is_some() && !lasts {
            return Err(InjectError::ActsOnce(name));
        }
        self.check_values()
    }

    fn check_values(&self) -> Result<(), InjectError> {
        let reserved = |code| !(1000..5000).contains(&code) || matches!(code, 1004..=1006 | 1015);
        if let Fault::Close { code: Some(code), .. } = self.fault
            && reserved(code)
        {
            return Err(InjectError::CloseCode(code));
        }
        if let Fault::Handshake { status }
        | Fault::GatewayBot { answer: GatewayBot::Status { status, .. } } = self.fault
            && !(200..600).contains(&status)
        {
            return Err(InjectError::Status(status));
        }
        if let Fault::Burst { events_per_second: rate } = self.fault
            && !(0.0..=BURST_MAX).contains(&rate)
        {
            return Err(InjectError::Rate(rate));
        }
        let never = matches!(
            self.fault,
            Fault::Trickle { bytes_per_second: 0 }
                | Fault::Fragment { bytes: 0 }
                | Fault::Garbage { what: Garbage::Split { messages: 0 | 1 } }
        );
        if never {
            return Err(InjectError::Never(self.fault.name()));
        }
        if let Fault::Withhold { events } = &self.fault {
            let happens = |name: &str| {
                EventKind::ALL.iter().any(|kind| kind.name() == name && kind.weight() > 0)
            };
            if let Some(event) = events.iter().find(|event| !happens(event)) {
                return Err(InjectError::Event(event.clone()));
            }
        }
        if let Fault::Garbage {
            what:
                Garbage::Large { bytes: size }
                | Garbage::Bomb { bytes: size }
                | Garbage::Deep { depth: size },
        } = self.fault
            && size > GARBAGE_MAX
        {
            return Err(InjectError::TooLarge(size));
        }
        Ok(())
    }
}

/// Why a fault can't be injected.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum InjectError {
    /// It can't be read.
    #[error("no fault: {0}")]
    Unreadable(String),
    /// It would never strike.
    #[error(
        "{0} would never strike: times, for_ms, rates and sizes must be above 0, and a split above 1"
    )]
    Never(&'static str),
    /// The step comes before IDENTIFY or RESUME names a shard.
    #[error("{0} strikes before the shard is known: scope it by url, or not at all")]
    ShardUnknown(&'static str),
    /// It acts once, on what is open.
    #[error("{0} acts once, on the connections that are open: it takes no such limit")]
    ActsOnce(&'static str),
    /// No such code can be sent.
    #[error(
        "{0} is no close code that can be sent: use 1000 to 4999 but for 1004-1006 and 1015, or the fault reset"
    )]
    CloseCode(u16),
    /// No such status.
    #[error("{0} is no HTTP status from 200 to 599")]
    Status(u16),
    /// No such rate.
    #[error("{0} events per second are not between 0 and {BURST_MAX}")]
    Rate(f64),
    /// No such event.
    #[error(
        "{0:?} is no event that happens by itself: use Discord's name of one, such as MESSAGE_CREATE"
    )]
    Event(String),
    /// Too large to be made.
    #[error("{0} is more than {GARBAGE_MAX}")]
    TooLarge(usize),
    /// So many faults are armed that something must be wrong.
    #[error("{0} faults are armed already: clear some")]
    TooMany(usize),
}

/// The largest garbage, in bytes or levels: it is built in memory.
pub(super) const GARBAGE_MAX: usize = 512 << 20;

/// The fastest burst for one shard, in events a second: more than one core can write.
pub(super) const BURST_MAX: f64 = 1_000_000.0;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_misspelt_key_is_refused() {
        let wrong = Injection::from_json(json!({ "kind": "no_ready", "shard": [1] }));
        let right = Injection::from_json(json!({ "kind": "no_ready", "shards": [1], "url": null }));

        let reason = wrong.unwrap_err().to_string();
        assert!(reason.contains("unknown field `shard`, expected"), "{reason}");
        assert_eq!(right, Ok(Fault::NoReady.on([1])));
    }

    #[test]
    fn every_kind_is_counted_by_the_name_that_json_calls_it() {
        let now = crate::simulator::When::Now;
        let faults = [
            Fault::Reconnect { when: now },
            Fault::InvalidSession { resumable: true, when: now },
            Fault::Close { code: None, when: now },
            Fault::NoHeartbeatAck,
            Fault::ReplayOutOfOrder,
            Fault::HalfOpen,
            Fault::Garbage { what: Garbage::Deep { depth: 3 } },
        ];

        for fault in faults {
            assert_eq!(serde_json::to_value(&fault).unwrap()["kind"], fault.name());
        }
    }
}
