//! What was measured, as a table and as JSON.

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

/// All that was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    figures: Vec<Figure>,
}

/// One line.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    name: String,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<Goal>,
    n: usize,
    p50: f64,
    p95: f64,
    p99: f64,
    min: f64,
    max: f64,
    /// Whether the median reaches the goal.
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<bool>,
}

/// What the median should be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_reached(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    fn words(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {}", number(least)),
            Self::AtMost(most) => format!("≤ {}", number(most)),
        }
    }
}

impl Report {
    /// Adds a figure.
    ///
    /// # Panics
    ///
    /// Without samples: a benchmark that measured nothing must not look like one that did.
    pub(crate) fn add(
        &mut self,
        name: impl Into<String>,
        unit: &'static str,
        goal: Option<Goal>,
        mut samples: Vec<f64>,
    ) {
        assert!(!samples.is_empty(), "nothing was measured");
        samples.sort_by(f64::total_cmp);
        let p50 = quantile(&samples, 0.5);
        let figure = Figure {
            name: name.into(),
            unit,
            goal,
            n: samples.len(),
            p50,
            p95: quantile(&samples, 0.95),
            p99: quantile(&samples, 0.99),
            min: samples[0],
            max: samples[samples.len() - 1],
            reached: goal.map(|goal| goal.is_reached(p50)),
        };
        eprintln!("  {}: {} {}", figure.name, number(figure.p50), figure.unit);
        self.figures.push(figure);
    }

    pub(crate) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["figure", "unit", "goal", "n", "p50", "p95", "p99", "min", "max", ""]);
        for figure in &self.figures {
            let numbers = [figure.p50, figure.p95, figure.p99, figure.min, figure.max].map(number);
            let goal = figure.goal.map(Goal::words).unwrap_or_default();
            let verdict = figure.reached.map_or("", |it| if it { "reached" } else { "SHORT" });
            let mut row = vec![Cell::new(&figure.name), Cell::new(figure.unit)];
            let right = [goal, figure.n.to_string()].into_iter().chain(numbers);
            row.extend(right.map(|text| Cell::new(text).set_alignment(CellAlignment::Right)));
            row.push(Cell::new(verdict));
            table.add_row(row);
        }
        table
    }
}

/// The smallest sample that is not below this part of all (nearest rank), of sorted ones.
pub(crate) fn quantile(sorted: &[f64], part: f64) -> f64 {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn number(value: f64) -> String {
    if value.abs() >= 1_000.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}
