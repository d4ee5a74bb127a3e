//! What the turns of all contenders with one load came to, each round by itself and all together.

use std::collections::BTreeMap;

use super::{
    Contender,
    load::{Load, Took},
};
use crate::report::{Goal, Report, quantile};

/// Who is compared with whom. What bare quinn makes of it nobody who uses QUIC can do better.
const PAIRS: [(Contender, Contender); 4] = [
    (Contender::Apolo, Contender::Redis),
    (Contender::Apolo, Contender::Nats),
    (Contender::Apolo, Contender::Quinn),
    (Contender::Quinn, Contender::Redis),
];

pub(super) struct Turns {
    load: Load,
    of: BTreeMap<Contender, Vec<Turn>>,
}

struct Turn {
    /// Milliseconds, sorted.
    took: Vec<f64>,
    rate: f64,
}

/// What of a turn is compared with a rival's of the same round.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Measure {
    P50,
    P99,
    Rate,
}

impl Turns {
    pub(super) const fn new(load: Load) -> Self {
        Self { load, of: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, contender: Contender, took: Took) {
        let rate = took.micros.len() as f64 / took.span.as_secs_f64();
        let mut took: Vec<_> = took.micros.iter().map(|micros| f64::from(*micros) / 1e3).collect();
        took.sort_by(f64::total_cmp);
        self.of.entry(contender).or_default().push(Turn { took, rate });
    }

    pub(super) fn tell(&self, report: &mut Report) {
        let Load { bytes, concurrency, .. } = self.load;
        let name = format!("request, {bytes} B, c={concurrency}");
        for (contender, turns) in &self.of {
            let contender = contender.name();
            let took = turns.iter().flat_map(|turn| turn.took.iter().copied()).collect();
            report.add(format!("{name}, {contender}, latency"), "ms", None, took);
            let rates = turns.iter().map(|turn| turn.rate).collect();
            report.add(format!("{name}, {contender}, rate"), "1/s", None, rates);
        }
        for (one, other) in PAIRS {
            for measure in [Measure::P50, Measure::P99, Measure::Rate] {
                let ratios = self.ratios(one, other, measure);
                if !ratios.is_empty() {
                    let (what, one_name, other_name) = (measure.name(), one.name(), other.name());
                    let name = format!("{name}, {what} of {one_name} to {other_name}");
                    report.add(name, "ratio", goal(concurrency, (one, other), measure), ratios);
                }
            }
        }
    }

    /// Of each round that both were in.
    fn ratios(&self, one: Contender, other: Contender, measure: Measure) -> Vec<f64> {
        let turns = |contender| self.of.get(&contender).into_iter().flatten();
        let pairs = turns(one).zip(turns(other));
        pairs.map(|(one, other)| measure.of(one) / measure.of(other)).collect()
    }
}

/// One at a time apolo takes half as long as Redis at most; with many it is no slower, and near what QUIC costs.
const fn goal(concurrency: usize, pair: (Contender, Contender), measure: Measure) -> Option<Goal> {
    match (concurrency, pair, measure) {
        (1, (Contender::Apolo, Contender::Redis), Measure::P99) => Some(Goal::AtMost(0.5)),
        (64, (Contender::Apolo, Contender::Redis), Measure::P99) => Some(Goal::AtMost(1.0)),
        (64, (Contender::Apolo, Contender::Quinn), Measure::P99) => Some(Goal::AtMost(1.5)),
        (_, (Contender::Apolo, Contender::Redis), Measure::Rate) => Some(Goal::AtLeast(1.0)),
        _ => None,
    }
}

impl Measure {
    const fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Rate => "rate",
        }
    }

    fn of(self, turn: &Turn) -> f64 {
        match self {
            Self::P50 => quantile(&turn.took, 0.5),
            Self::P99 => quantile(&turn.took, 0.99),
            Self::Rate => turn.rate,
        }
    }
}
